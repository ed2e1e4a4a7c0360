//! HAProxy's side of SPOP on tokio, for tests of agents and for tools.
//!
//! Three levels, each built on the one below:
//!
//! * [`ping()`]: is the agent healthy? What `option spop-check` does.
//! * [`Client`]: a connection after the handshake. [`notify`](Client::notify) asks and waits
//!   for the answer; [`queue`](Client::queue), [`flush`](Client::flush) and
//!   [`recv`](Client::recv) keep many questions in flight.
//! * [`Connection`]: frames, and bytes that are no frames, over any tokio stream. It knows no
//!   protocol, so it can break it.
//!
//! The first two judge the agent as HAProxy does: what some version of HAProxy refuses is an
//! error here. Every wait ends after [`DEFAULT_TIMEOUT`] unless told otherwise, so that a test
//! cannot hang.
//!
//! ```no_run
//! use spop_client::Client;
//! use spop_client::spop_codec::{Status, TypedData};
//!
//! # async fn example() -> Result<(), spop_client::ClientError> {
//! let mut client = Client::connect("127.0.0.1:9000").await?;
//! let ack = client
//!     .notify("check-rate", [("ip_src", TypedData::Ipv4([192, 0, 2, 7].into()))])
//!     .await?;
//! for action in ack.actions() {
//!     println!("{action:?}");
//! }
//! client.disconnect(Status::NORMAL).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`conform`] puts an agent to the test, case by case.
//!
//! The package also holds `spop`, the command that does this from a shell: `spop --help`.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod client;
pub mod conform;
mod connection;
mod error;
mod hello;
mod ping;

pub use client::Client;
pub use connection::{Connection, DEFAULT_TIMEOUT};
pub use error::ClientError;
pub use hello::{MAX_FRAME_SIZE, haproxy_hello};
pub use ping::{Pong, health_check, ping};
pub use spop_codec;
