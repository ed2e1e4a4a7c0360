//! An agent on crate `spop`, written as its own examples are: somebody else's codec, and
//! somebody else's idea of how an agent behaves.

use std::io;
use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use spop::actions::VarScope;
use spop::frame::FramePayload;
use spop::frames::{Ack, AgentDisconnect, AgentHello, FrameCapabilities, HaproxyHello};
use spop::{FrameType, MAX_FRAME_SIZE_LIMIT, SpopCodec, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::Framed;

/// The one message that it answers with a variable.
pub(crate) const MESSAGE: &str = "check-rate";

/// Answers connections on a free loopback port until the test's runtime ends.
pub(crate) async fn listen() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            // How it ends is not of interest: the suite sees it from outside.
            tokio::spawn(async { serve(io).await.ok() });
        }
    });
    addr
}

async fn serve(io: TcpStream) -> io::Result<()> {
    let mut socket = Framed::new(io, SpopCodec::default());
    while let Some(frame) = socket.next().await {
        let frame = frame?;
        match frame.frame_type() {
            FrameType::HaproxyHello => {
                let hello = HaproxyHello::try_from(frame.payload()).map_err(io::Error::other)?;
                let Some(version) = hello.negotiate_version() else {
                    return disconnect(&mut socket, StatusCode::BadVersion).await;
                };
                let max_frame_size = match hello.negotiate_max_frame_size(MAX_FRAME_SIZE_LIMIT) {
                    Ok(size) => size,
                    Err(status) => return disconnect(&mut socket, status).await,
                };
                socket.codec_mut().set_max_frame_size(max_frame_size);
                let answer = AgentHello {
                    version,
                    max_frame_size,
                    capabilities: vec![FrameCapabilities::Pipelining],
                };
                socket.send(Box::new(answer)).await?;
                if hello.healthcheck.unwrap_or(false) {
                    return Ok(());
                }
            }
            FrameType::HaproxyDisconnect => {
                return disconnect(&mut socket, StatusCode::None).await;
            }
            FrameType::Notify => {
                let ids = frame.metadata();
                let mut ack = Ack::new(ids.stream_id, ids.frame_id);
                if let FramePayload::ListOfMessages(messages) = frame.payload() {
                    for message in messages {
                        if message.name == MESSAGE {
                            ack = ack.set_var(VarScope::Session, "ip_score", 100_u32);
                        }
                    }
                }
                socket.send(Box::new(ack)).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn disconnect(
    socket: &mut Framed<TcpStream, SpopCodec>,
    status: StatusCode,
) -> io::Result<()> {
    let goodbye = AgentDisconnect {
        status_code: status.to_u32(),
        message: status.message().to_owned(),
    };
    socket.send(Box::new(goodbye)).await?;
    socket.close().await
}
