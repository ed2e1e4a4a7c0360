//! What hostile peers cost, each by itself, and that nobody else waits for them.

use std::iter::repeat_n;
use std::time::Duration;

use allocation_counter::measure;
use bytes::BytesMut;
use spop_client::spop_codec::{Flags, FrameType, HaproxyHello};
use spop_server::{AgentConfig, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, split};
use tokio::time::{Instant, sleep};

use crate::support::{notify, only};
use crate::{Agent, frame, hello};

/// Bytes between the two ends, each way.
const PIPE: usize = 4096;

/// Hostile peers at a time.
const CROWD: usize = 10;

#[derive(Debug, Clone, Copy)]
enum Hostile {
    /// Says nothing.
    Silent,
    /// Takes forever for its HELLO.
    Dripping,
    /// Announces a large frame, and sends nearly all of it.
    Incomplete,
    /// Asks as fast as it can, and never reads.
    Deaf,
    /// The same, and no handler ever answers.
    Waiting,
    /// Sends fragments of a NOTIFY without end.
    Fragments,
    /// Sends frames that mean nothing.
    Unknown,
}

/// With the most KiB that one may cost, its pipe and itself included.
const ALL: [(Hostile, u64); 7] = [
    (Hostile::Silent, 12),
    (Hostile::Dripping, 16),
    // A frame of 64 KiB, and as much again for the next read.
    (Hostile::Incomplete, 192),
    // 64 KiB of answers, in a buffer that doubles, and a read.
    (Hostile::Deaf, 192),
    // 64 handlers.
    (Hostile::Waiting, 48),
    // A NOTIFY of 20000 bytes.
    (Hostile::Fragments, 64),
    (Hostile::Unknown, 24),
];

#[test]
fn hostile_peers_cost_little_and_delay_nobody() {
    for (hostile, most) in ALL {
        let without = peak(hostile, 0);
        let with = peak(hostile, CROWD);
        let each = (with - without) / CROWD as u64;
        assert!(each <= most << 10, "{hostile:?}: {each} bytes");
    }
}

/// The most bytes that are allocated at any time.
fn peak(hostile: Hostile, count: usize) -> u64 {
    let measured = measure(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(scene(hostile, count));
    });
    measured.bytes_max
}

/// Somebody asks now and then for a while, in the presence of hostile peers.
async fn scene(hostile: Hostile, count: usize) {
    let settings = AgentConfig::new().with_fragmentation(20_000);
    let agent = Agent::start(Config::new().with_agent(settings));
    let mut bystander = agent.client(hello()).await;
    let crowd: Vec<_> = repeat_n(hostile, count)
        .map(|hostile| tokio::spawn(hostile.play(agent.pipe(PIPE))))
        .collect();
    for _ in 0..40 {
        sleep(Duration::from_millis(100)).await;
        let asked = Instant::now();
        let ack = bystander.notify("ready", []).await.unwrap();
        assert_eq!(only(&ack), "sess.how=ready");
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
    for peer in crowd {
        peer.abort();
    }
}

impl Hostile {
    async fn play(self, io: DuplexStream) {
        let (mut input, mut output) = split(io);
        let mut hello = BytesMut::new();
        HaproxyHello::new(1 << 16, "hostile").encode(&mut hello);
        let mut piece = BytesMut::new();
        let mut pause = Duration::ZERO;
        match self {
            Self::Silent => return sleep(Duration::MAX).await,
            Self::Dripping => {
                piece.extend_from_slice(&hello.split_off(1)[..1]);
                pause = Duration::from_secs(1);
            }
            Self::Incomplete => {
                hello.extend_from_slice(&(1_u32 << 16).to_be_bytes());
                hello.extend_from_slice(&[3, 0, 0, 0, 1, 1, 1]);
                piece.extend_from_slice(&[0; 1000]);
                pause = Duration::from_millis(70);
            }
            Self::Deaf => notify(1, "ready").encode(&mut piece),
            Self::Waiting => notify(1, "never").encode(&mut piece),
            Self::Fragments => {
                hello.unsplit(frame(FrameType::NOTIFY, Flags(0), &[0; 10]));
                piece = frame(FrameType::UNSET, Flags(0), &[0; 3000]);
                pause = Duration::from_millis(1);
            }
            Self::Unknown => {
                piece = frame(FrameType(77), Flags::FIN, &[0; 3000]);
                pause = Duration::from_millis(1);
            }
        }
        let read = async {
            let mut discarded = [0; 512];
            while !matches!(self, Self::Deaf) && matches!(input.read(&mut discarded).await, Ok(1..))
            {
            }
            sleep(Duration::MAX).await;
        };
        let write = async {
            output.write_all(&hello).await.ok();
            while output.write_all(&piece).await.is_ok() {
                if !pause.is_zero() {
                    sleep(pause).await;
                }
            }
        };
        tokio::join!(read, write);
    }
}
