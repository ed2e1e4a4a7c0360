//! The agent on the crate `spop`, from its public API and in the manner of its example
//! `agent_tcp`: a `Framed` stream, and an answer sent as soon as there is one.

use std::io;

use futures_util::{SinkExt as _, StreamExt as _};
use spop::actions::VarScope;
use spop::frame::FramePayload;
use spop::frames::{Ack, AgentDisconnect, AgentHello, FrameCapabilities, HaproxyHello};
use spop::{FrameType, MAX_FRAME_SIZE_LIMIT, SpopCodec, SpopFrame, StatusCode};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

use crate::listen;

type Socket = Framed<TcpStream, SpopCodec>;

pub(crate) async fn run(nodelay: bool) -> io::Result<()> {
    listen::each(move |stream| async move {
        if nodelay {
            stream.set_nodelay(true)?;
        }
        serve(Framed::new(stream, SpopCodec::default())).await
    })
    .await
}

async fn serve(mut socket: Socket) -> io::Result<()> {
    while let Some(frame) = socket.next().await {
        let frame = frame?;
        match frame.frame_type() {
            FrameType::HaproxyHello => {
                let hello = HaproxyHello::try_from(frame.payload()).map_err(io::Error::other)?;
                if !shake_hands(&mut socket, &hello).await? {
                    return Ok(());
                }
            }
            FrameType::Notify => {
                if let Some(ack) = answer(&*frame) {
                    socket.send(Box::new(ack)).await?;
                }
            }
            FrameType::HaproxyDisconnect => {
                return disconnect(&mut socket, StatusCode::None).await;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether there is more to come on this connection.
async fn shake_hands(socket: &mut Socket, hello: &HaproxyHello) -> io::Result<bool> {
    let Some(version) = hello.negotiate_version() else {
        disconnect(socket, StatusCode::BadVersion).await?;
        return Ok(false);
    };
    let max_frame_size = match hello.negotiate_max_frame_size(MAX_FRAME_SIZE_LIMIT) {
        Ok(size) => size,
        Err(status) => {
            disconnect(socket, status).await?;
            return Ok(false);
        }
    };
    socket.codec_mut().set_max_frame_size(max_frame_size);
    let answer = AgentHello {
        version,
        max_frame_size,
        capabilities: vec![FrameCapabilities::Pipelining],
    };
    socket.send(Box::new(answer)).await?;
    Ok(!hello.healthcheck.unwrap_or(false))
}

fn answer(frame: &dyn SpopFrame) -> Option<Ack> {
    let FramePayload::ListOfMessages(messages) = frame.payload() else {
        return None;
    };
    let ids = frame.metadata();
    let mut ack = Ack::new(ids.stream_id, ids.frame_id);
    for message in messages {
        if message.name == "check-rate" && message.get("ip_src").is_some() {
            ack = ack.set_var(VarScope::Session, "ip_score", 0_i32);
        }
    }
    Some(ack)
}

async fn disconnect(socket: &mut Socket, status: StatusCode) -> io::Result<()> {
    let goodbye = AgentDisconnect {
        status_code: status.to_u32(),
        message: status.message().to_owned(),
    };
    socket.send(Box::new(goodbye)).await?;
    socket.close().await
}
