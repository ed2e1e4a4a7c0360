//! An agent on std::net alone: a thread to each connection, no runtime.
//!
//! Answers the message `check-rate` with `sess.ip_score`, 100 for the addresses of 192.0.2.0/24
//! and 0 for any other. Try it from a second terminal:
//!
//! ```sh
//! spop notify 127.0.0.1:9000 check-rate ip_src=192.0.2.7
//! ```

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use spop_codec::{Actions, AgentConfig, AgentConnection, Event, Message, Scope};

/// The most bytes of one write. HAProxy 3.1 and later stall a connection for good when they find
/// 16 KiB unread on it.
const WRITE: usize = 8 * 1024;

fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1);
    let listener = TcpListener::bind(addr.as_deref().unwrap_or("127.0.0.1:9000"))?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept()?;
        thread::spawn(move || match serve(stream) {
            Ok(()) => println!("{peer} has left"),
            Err(error) => println!("{peer}: {error}"),
        });
    }
}

/// What one message asks for.
fn answer(message: &Message<'_>) -> Actions {
    match message.arg("ip_src").and_then(|value| value.to_ip()) {
        Some(IpAddr::V4(ip)) if message.name() == "check-rate" => {
            let listed = ip.octets().starts_with(&[192, 0, 2]);
            Actions::new().set_var(Scope::Session, "ip_score", if listed { 100 } else { 0 })
        }
        _ => Actions::new(),
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let start = Instant::now();
    let mut agent = AgentConnection::new(AgentConfig::new(), Duration::ZERO);
    let (mut input, mut chunk) = (BytesMut::new(), [0; 4096]);
    let mut closed = false;
    loop {
        while let Some(event) = agent.poll_event(start.elapsed(), &mut input) {
            match event {
                Event::Notify(ticket, notify) => {
                    let mut actions = Actions::new();
                    for message in notify.messages() {
                        actions.append(&answer(&message));
                    }
                    agent.ack(ticket, &actions);
                }
                Event::Closed(_) => closed = true,
                _ => {}
            }
        }
        let output = agent.transmit().split();
        for bytes in output.chunks(WRITE) {
            stream.write_all(bytes)?;
        }
        if !output.is_empty() {
            continue; // there may be room again for frames that were read before
        }
        if closed {
            return Ok(());
        }
        let due = agent.poll_timeout();
        let patience = due.map(|due| due.saturating_sub(start.elapsed()));
        stream.set_read_timeout(patience.map(|time| time.max(Duration::from_millis(1))))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => input.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                closed = agent.handle_timeout(start.elapsed()).is_some();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
