//! P: many questions at once.

use spop_codec::Notify;

use super::{Fault, NOTHING, each, fault};
use crate::broken::{Fate, minding};

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        fault(
            "believes that HAProxy has 20 in flight",
            minding(|past, _| past.notifies >= 99, || Fate::HangUp),
            each(["P1", "P3"], ""),
        ),
        fault(
            "believes that ids are unique",
            minding(
                |past, notify| past.ids.contains(&ids(notify)),
                || Fate::Ignore,
            ),
            [("P5", NOTHING)],
        ),
        fault(
            "believes that ids are unique, on all connections",
            minding(
                |past, notify| {
                    let (stream_id, frame_id) = ids(notify);
                    let ids = format!("{stream_id} {frame_id}").into_bytes();
                    !past.shared.lock().unwrap().insert(ids)
                },
                || Fate::Ignore,
            ),
            [("P6", NOTHING)],
        ),
        fault(
            "keeps what it knows of a stream with the connection",
            minding(
                |past, notify| {
                    let (stream_id, frame_id) = ids(notify);
                    frame_id > 1 && !past.ids.contains(&(stream_id, frame_id - 1))
                },
                || Fate::Ignore,
            ),
            [("P8", NOTHING)],
        ),
        fault(
            "serves the busiest connection",
            minding(
                |past, _| {
                    let mut busy = past.shared.lock().unwrap();
                    if past.notifies > 500 {
                        busy.insert(b"busy".to_vec());
                    }
                    past.notifies < 500 && busy.contains(&b"busy"[..])
                },
                || Fate::Ignore,
            ),
            [("P9", NOTHING)],
        ),
    ]
}

fn ids(notify: &Notify) -> (u64, u64) {
    (notify.stream_id(), notify.frame_id())
}
