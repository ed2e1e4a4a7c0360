//! Agents that are sound but for one thing: the codec's state machine, with somebody in
//! between who changes what it hears and what it says.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use spop_codec::{Actions, AgentConfig, AgentConnection, Event, Frame, Notify};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::wire::Wire;

/// An agent with a fault, or with none.
#[derive(Clone)]
pub(crate) struct Broken {
    config: AgentConfig,
    answer: fn(&Notify) -> Actions,
    hears: Option<Hears>,
    says: Option<Says>,
    reads: Reads,
    ends: Ends,
    most_connections: usize,
}

type Hears = Arc<dyn Fn(&mut Past, &mut Wire) -> Fate + Send + Sync>;
type Says = Arc<dyn Fn(&Past, Vec<Wire>) -> Vec<Vec<u8>> + Send + Sync>;

/// What becomes of a frame that came in.
pub(crate) enum Fate {
    /// The sound agent gets it, as it is now.
    Hear,
    /// Nobody gets it.
    Ignore,
    /// These are written instead.
    Say(Vec<Wire>),
    /// The connection is closed, without a word.
    HangUp,
}

/// What a connection remembers, and what all of the agent's share.
#[derive(Default)]
pub(crate) struct Past {
    /// Frames heard on this connection.
    pub(crate) frames: usize,
    /// NOTIFYs among them.
    pub(crate) notifies: usize,
    /// Ids of those.
    pub(crate) ids: HashSet<(u64, u64)>,
    /// Whether the HELLO was a health check.
    pub(crate) check: bool,
    /// Whatever the fault wants to share between connections.
    pub(crate) shared: Arc<Mutex<HashSet<Vec<u8>>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Reads {
    Properly,
    /// Each read is taken for one frame, and what is behind it is lost.
    OneFrame,
    /// As above, and a part of a frame is an error.
    WholeFrames,
}

#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Properly,
    /// Goodbyes are neither said nor followed by a close.
    Mute,
    /// A close by the peer is not answered by one.
    HalfOpen,
    /// A reset ends the agent.
    DiesOfReset,
    /// A connection that is closed before a word ends the agent.
    DiesOfSilence,
}

/// How a connection's task ended.
#[derive(PartialEq)]
enum Ended {
    Alone,
    WithTheAgent,
}

/// Pads nothing, changes nothing: passes every case.
pub(crate) fn sound() -> Broken {
    Broken {
        config: AgentConfig::new().with_fragmentation(1 << 20),
        answer: |_| Actions::new(),
        hears: None,
        says: None,
        reads: Reads::Properly,
        ends: Ends::Properly,
        most_connections: usize::MAX,
    }
}

/// Does something else with what it hears.
pub(crate) fn hearing(
    hears: impl Fn(&mut Past, &mut Wire) -> Fate + Send + Sync + 'static,
) -> Broken {
    Broken {
        hears: Some(Arc::new(hears)),
        ..sound()
    }
}

/// Does something else with the HAPROXY-HELLO.
pub(crate) fn hearing_hello(
    hears: impl Fn(&mut Past, &mut Wire) -> Fate + Send + Sync + 'static,
) -> Broken {
    hearing(move |past, wire| match wire.frame_type {
        1 => hears(past, wire),
        _ => Fate::Hear,
    })
}

/// Does `fate` with each NOTIFY that `which` picks.
pub(crate) fn minding(
    which: impl Fn(&Past, &Notify) -> bool + Send + Sync + 'static,
    fate: fn() -> Fate,
) -> Broken {
    hearing(move |past, wire| match wire.decoded() {
        Some(Frame::Notify(notify)) if which(past, &notify) => fate(),
        _ => Fate::Hear,
    })
}

/// Says something else. What is given back are writes of their own.
pub(crate) fn saying(
    says: impl Fn(&Past, Vec<Wire>) -> Vec<Vec<u8>> + Send + Sync + 'static,
) -> Broken {
    Broken {
        says: Some(Arc::new(says)),
        ..sound()
    }
}

/// Changes the frames of one type that it says.
pub(crate) fn changing(
    frame_type: u8,
    change: impl Fn(&Past, &mut Wire) + Send + Sync + 'static,
) -> Broken {
    saying(move |past, mut frames| {
        let ours = frames
            .iter_mut()
            .filter(|wire| wire.frame_type == frame_type);
        ours.for_each(|wire| change(past, wire));
        vec![frames.iter().flat_map(Wire::bytes).collect()]
    })
}

/// Answers with this payload, whatever was asked.
pub(crate) fn answering(payload: &'static [u8]) -> Broken {
    changing(103, move |_, ack| ack.payload = payload.to_vec())
}

impl Broken {
    pub(crate) fn with_config(mut self, config: AgentConfig) -> Self {
        self.config = config;
        self
    }

    pub(crate) fn with_answer(mut self, answer: fn(&Notify) -> Actions) -> Self {
        self.answer = answer;
        self
    }

    pub(crate) fn also_hearing(
        mut self,
        hears: impl Fn(&mut Past, &mut Wire) -> Fate + Send + Sync + 'static,
    ) -> Self {
        self.hears = Some(Arc::new(hears));
        self
    }

    pub(crate) fn with_most_connections(mut self, most: usize) -> Self {
        self.most_connections = most;
        self
    }

    pub(crate) fn reading_one_frame(mut self) -> Self {
        self.reads = Reads::OneFrame;
        self
    }

    pub(crate) fn reading_whole_frames(mut self) -> Self {
        self.reads = Reads::WholeFrames;
        self
    }

    pub(crate) fn mute(mut self) -> Self {
        self.ends = Ends::Mute;
        self
    }

    pub(crate) fn half_open(mut self) -> Self {
        self.ends = Ends::HalfOpen;
        self
    }

    pub(crate) fn dying_of_resets(mut self) -> Self {
        self.ends = Ends::DiesOfReset;
        self
    }

    pub(crate) fn dying_of_silence(mut self) -> Self {
        self.ends = Ends::DiesOfSilence;
        self
    }

    /// Serves on a free loopback port until it dies or the test's runtime ends.
    pub(crate) async fn listen(self) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let shared = Arc::default();
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((io, _)) = listener.accept() => {
                        if connections.len() < self.most_connections {
                            let past = Past { shared: Arc::clone(&shared), ..Past::default() };
                            connections.spawn(self.clone().serve(io, past));
                        }
                    }
                    Some(ended) = connections.join_next() => {
                        if ended.is_ok_and(|ended| ended == Ended::WithTheAgent) {
                            return;
                        }
                    }
                }
            }
        });
        addr
    }

    async fn serve(self, mut io: TcpStream, mut past: Past) -> Ended {
        let result = self.run(&mut io, &mut past).await;
        match self.ends {
            Ends::Properly => {}
            Ends::Mute => while matches!(io.read(&mut [0; 4096]).await, Ok(1..)) {},
            Ends::HalfOpen => std::future::pending().await,
            Ends::DiesOfReset if result.is_err() => return Ended::WithTheAgent,
            Ends::DiesOfSilence if past.frames == 0 => return Ended::WithTheAgent,
            Ends::DiesOfReset | Ends::DiesOfSilence => {}
        }
        // Closing with bytes unread would reset the connection.
        io.shutdown().await.ok();
        let the_rest = async { while matches!(io.read(&mut [0; 4096]).await, Ok(1..)) {} };
        tokio::time::timeout(Duration::from_secs(1), the_rest)
            .await
            .ok();
        Ended::Alone
    }

    /// Until the connection ends. An error is a reset.
    async fn run(&self, io: &mut TcpStream, past: &mut Past) -> io::Result<()> {
        let origin = Instant::now();
        let mut agent = AgentConnection::new(self.config.clone(), Duration::ZERO);
        let mut unheard = BytesMut::new();
        let mut input = BytesMut::new();
        loop {
            if self
                .hear(&mut unheard, &mut input, io, past)
                .await?
                .is_break()
            {
                return Ok(());
            }
            // Having written makes room for more.
            while self.answer(&mut agent, &mut input, origin) {
                self.say(agent.transmit(), io, past).await?;
            }
            self.say(agent.transmit(), io, past).await?;
            if agent.is_closed() {
                // A check is closed by whoever is first. To die of a reset after it, wait.
                if past.check && self.ends == Ends::DiesOfReset {
                    while io.read(&mut [0; 64]).await? > 0 {}
                }
                return Ok(());
            }
            let due = agent.poll_timeout().unwrap_or(Duration::MAX);
            let left = due.saturating_sub(origin.elapsed());
            unheard.reserve(65_536);
            match tokio::time::timeout(left, io.read_buf(&mut unheard)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => drop(agent.handle_timeout(origin.elapsed())),
            }
        }
    }

    /// Moves what came in to where the sound agent reads.
    async fn hear(
        &self,
        unheard: &mut BytesMut,
        input: &mut BytesMut,
        io: &mut TcpStream,
        past: &mut Past,
    ) -> io::Result<std::ops::ControlFlow<()>> {
        use std::ops::ControlFlow::{Break, Continue};
        while let Some(mut wire) = Wire::cut(unheard) {
            past.frames += 1;
            past.check |= wire.frame_type == 1 && wire.value("healthcheck") == Some(&[0x11]);
            let fate = match &self.hears {
                Some(hears) => hears(past, &mut wire),
                None => Fate::Hear,
            };
            if wire.frame_type == 3 {
                past.notifies += 1;
                past.ids.insert(wire.ids);
            }
            match fate {
                Fate::Hear => input.put_slice(&wire.bytes()),
                Fate::Ignore => {}
                Fate::Say(frames) => {
                    let bytes: Vec<u8> = frames.iter().flat_map(Wire::bytes).collect();
                    io.write_all(&bytes).await?;
                }
                Fate::HangUp => return Ok(Break(())),
            }
            if self.reads != Reads::Properly {
                unheard.clear();
            }
        }
        if self.reads == Reads::WholeFrames && !unheard.is_empty() {
            return Ok(Break(()));
        }
        // What cannot be cut is for the sound agent to judge. A part of a frame waits here,
        // unless nobody is in between.
        if Wire::is_broken(unheard) || (self.hears.is_none() && self.reads == Reads::Properly) {
            input.put_slice(&unheard.split());
        }
        Ok(Continue(()))
    }

    /// Answers what is there, in the reverse order. Whether there may be more.
    fn answer(&self, agent: &mut AgentConnection, input: &mut BytesMut, origin: Instant) -> bool {
        let mut asked = Vec::new();
        while let Some(event) = agent.poll_event(origin.elapsed(), input) {
            if let Event::Notify(ticket, notify) = event {
                asked.push((ticket, notify));
            }
        }
        let some = !asked.is_empty();
        for (ticket, notify) in asked.into_iter().rev() {
            agent.ack(ticket, &(self.answer)(&notify));
        }
        some
    }

    async fn say(
        &self,
        transmit: &mut BytesMut,
        io: &mut TcpStream,
        past: &Past,
    ) -> io::Result<()> {
        let mut frames: Vec<Wire> = std::iter::from_fn(|| Wire::cut(transmit)).collect();
        if self.ends == Ends::Mute {
            frames.retain(|wire| wire.frame_type != 102);
        }
        let writes = match &self.says {
            Some(says) if !frames.is_empty() => says(past, frames),
            _ => vec![frames.iter().flat_map(Wire::bytes).collect()],
        };
        for (index, bytes) in writes.iter().enumerate() {
            if index > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            io.write_all(bytes).await?;
        }
        Ok(())
    }
}
