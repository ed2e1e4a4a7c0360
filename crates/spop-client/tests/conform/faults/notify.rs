//! N1 to N11: what is asked.

use spop_codec::{Frame, Notify, TypedData};

use super::{CLOSED, Fault, NOTHING, each, fault, values};
use crate::broken::{Fate, hearing, minding, sound};
use crate::wire::Wire;

pub(crate) fn faults() -> Vec<Fault> {
    let hangs_up = |which: fn(&Notify) -> bool| minding(move |_, n| which(n), || Fate::HangUp);
    let ignores = |which: fn(&Notify) -> bool| minding(move |_, n| which(n), || Fate::Ignore);
    let minds_value = |which: fn(&TypedData<'_>) -> bool| {
        minding(
            move |_, n| values(n).any(|value| which(&value)),
            || Fate::HangUp,
        )
    };
    vec![
        fault(
            "takes stream-id 0 for none",
            ignores(|notify| notify.stream_id() == 0),
            [("N1", NOTHING)],
        ),
        fault(
            "answers messages, not NOTIFYs",
            hearing(|_, wire| match wire.decoded() {
                Some(Frame::Notify(notify)) => {
                    Fate::Say(vec![Wire::ack(wire.ids); notify.messages().count()])
                }
                _ => Fate::Hear,
            }),
            [("N3", NOTHING), ("N4", "one for stream-id 1")],
        ),
        fault(
            "wants a name, and another one, for each argument",
            hangs_up(|notify| {
                let names = notify.messages().flat_map(|message| message.args());
                let names: Vec<_> = names.map(|arg| arg.name).collect();
                names.iter().any(|name| name.is_empty())
                    || names.windows(2).any(|pair| pair[0] == pair[1])
            }),
            [("N5", CLOSED)],
        ),
        fault(
            "wants values",
            minds_value(|value| value.is_null()),
            [("N6", CLOSED)],
        ),
        fault(
            "answers what it knows",
            ignores(|notify| {
                let mut names = notify.messages().map(|message| message.name());
                names.any(|name| name == "spop-conform-unknown")
            }),
            [("N7", NOTHING)],
        ),
        fault(
            "has never seen an IPv6 address",
            minds_value(|value| matches!(value, TypedData::Ipv6(_))),
            each(["N8", "N10.1"], CLOSED),
        ),
        fault(
            "wants arguments",
            hangs_up(|notify| {
                let mut messages = notify.messages();
                messages.any(|message| message.args().count() == 0)
            }),
            each(["N7", "N9.1"], CLOSED),
        ),
        fault(
            "has room for 100 arguments",
            ignores(|notify| values(notify).count() > 100),
            [("N9.2", NOTHING)],
        ),
        fault("says nothing", sound().mute(), [("N9.3", NOTHING)]),
        fault(
            "knows no negative numbers",
            minds_value(|value| value.to_i64().is_some_and(i64::is_negative)),
            each(["N8", "N10.1"], CLOSED),
        ),
        fault(
            "knows the types that HAProxy sends",
            minds_value(|value| {
                use TypedData::{Int32, Uint32, Uint64};
                matches!(value, Int32(_) | Uint32(_) | Uint64(_))
            }),
            [("N10.2", CLOSED)],
        ),
        fault(
            "takes every text for UTF-8",
            minds_value(|value| value.to_text().is_some_and(|text| text.to_str().is_err())),
            [("N11", CLOSED)],
        ),
    ]
}
