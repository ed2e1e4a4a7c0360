//! What agents get wrong, and which cases find it.

mod answers;
mod checks;
mod ends;
mod fragments;
mod framing;
mod handshake;
mod hello;
mod notify;
mod pipelining;

use spop_codec::{Notify, TypedData};

use crate::broken::Broken;

pub(crate) use answers::faults as answers;
pub(crate) use checks::faults as checks;
pub(crate) use ends::faults as ends;
pub(crate) use fragments::faults as fragments;
pub(crate) use framing::faults as framing;
pub(crate) use handshake::faults as handshakes;
pub(crate) use hello::faults as hellos;
pub(crate) use notify::faults as notifies;
pub(crate) use pipelining::faults as pipelining;

/// A fault.
pub(crate) struct Fault {
    /// What is wrong, in a few words.
    pub(crate) what: &'static str,
    pub(crate) agent: Broken,
    /// The cases that find it, and what they say that they got.
    pub(crate) finds: Vec<(&'static str, &'static str)>,
}

fn fault(
    what: &'static str,
    agent: Broken,
    finds: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Fault {
    let finds = finds.into_iter().collect();
    Fault { what, agent, finds }
}

/// Several cases that get the same.
fn each<const N: usize>(
    ids: [&'static str; N],
    got: &'static str,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    ids.into_iter().map(move |id| (id, got))
}

const CLOSED: &str = "closed the connection without a word";
const NOTHING: &str = "nothing for";
const HELLO: &str = "AGENT-HELLO";

/// Every case that wants a goodbye with a certain status.
const REFUSALS: [&str; 24] = [
    "F3", "F4.1", "F4.2", "F4.3", "F8.3", "F9", "F13", "H2.3", "H2.4", "H2.5", "H3.2", "H3.3",
    "H4.2", "H8.2", "H9.2", "H10.1", "H10.2", "H11.1", "H11.2", "G4", "D6", "X1", "X2", "X6",
];

fn values(notify: &Notify) -> impl Iterator<Item = TypedData<'_>> {
    let args = notify.messages().flat_map(|message| message.args());
    args.map(|arg| arg.value)
}
