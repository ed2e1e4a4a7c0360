//! The task that keeps the map of a topology true: it asks at the start, every ten seconds,
//! when a lane reports that the map looks old, and again and again while a node of the map
//! does not answer, since a replica may be promoted any moment. It never stops asking, and a
//! map that was true once stays until there is a newer one.
//!
//! Usually it asks over a lane's connection, which costs the server some 50 µs. A node that
//! takes its time is not waited for: the next one is asked, too.

use std::sync::Weak;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::backoff::{Backoff, jittered};
use super::connector::reason;
use super::layout::{Address, Layout, Standing, ask};
use super::topology::{Candidate, Topology};

/// The map is renewed at least this often.
const PERIOD: Duration = Duration::from_secs(10);
/// And no two renewals are closer than this, however many lanes ask for one.
const GAP: Duration = Duration::from_millis(50);
/// Who has not answered by then has company.
const HEDGE: Duration = Duration::from_millis(25);

/// Renews the map until the topology is dropped.
pub(super) async fn keep_true(
    topology: Weak<Topology>,
    mut woken: mpsc::Receiver<Option<Address>>,
) {
    let mut named = None;
    let mut in_use = Standing::default();
    let mut failures = Backoff::connecting();
    let mut failing = false;
    let mut watching = Backoff::watching();
    loop {
        let renewed = renew(&topology, named.as_ref(), &mut in_use).await;
        let pause = match renewed.zip(topology.upgrade()) {
            None => return,
            Some((Ok(told), topology)) => {
                // As loud as the beginning.
                if told && std::mem::take(&mut failing) {
                    warn!("found out from Valkey which servers there are");
                }
                failures = Backoff::connecting();
                if topology.is_settled() {
                    watching = Backoff::watching();
                    jittered(PERIOD)
                } else {
                    watching.pause()
                }
            }
            Some((Err(reason), _)) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(%reason, "cannot find out from Valkey which servers there are; still asking");
                }
                failures.pause()
            }
        };
        sleep(GAP).await;
        named = tokio::select! {
            () = sleep(pause) => None,
            woken = woken.recv() => match woken {
                Some(named) => named,
                None => return,
            },
        };
    }
}

/// Asks one candidate after the other until one knows more than is known, or as much and leaves
/// alone what works. If none does, the best word counts: that of the largest standing, and of
/// those again one that leaves alone what works. After a redirection, something does not:
/// whoever it named is asked first, and believed. `None`: the topology is gone. `false`: there
/// was nobody to ask, since each of them has been reported lost.
async fn renew(
    topology: &Weak<Topology>,
    named: Option<&Address>,
    in_use: &mut Standing,
) -> Option<Result<bool, String>> {
    // Nothing holds the topology while the network is waited for.
    let mut candidates = topology.upgrade()?.candidates(named).into_iter();
    let mut asked = FuturesUnordered::new();
    let mut best: Option<(Candidate, Layout, (Standing, bool))> = None;
    let mut failure = None;
    loop {
        asked.extend(candidates.next().map(|candidate| async {
            let connection = candidate.connection.clone();
            let said = ask(&candidate.info, connection).await;
            (candidate, said)
        }));
        let Ok(answer) = timeout(HEDGE, asked.next()).await else {
            continue;
        };
        let Some((candidate, said)) = answer else {
            break; // that was all of them
        };
        match said {
            Ok((layout, standing)) if topology.upgrade()?.accepts(&candidate.info, &layout) => {
                let fits = named.is_some() || topology.upgrade()?.keeps_what_works(&layout);
                let word = (standing, fits);
                if best.as_ref().is_none_or(|(.., best)| word > *best) {
                    best = Some((candidate, layout, word));
                }
                if standing > *in_use || fits && standing == *in_use {
                    break;
                }
            }
            Ok(_) => {
                let addr = candidate.info.addr();
                failure = Some(format!(
                    "{addr} is part of no cluster: give one server, or nodes of one cluster"
                ));
            }
            Err(reason) => failure = Some(format!("{}: {reason}", candidate.info.addr())),
        }
    }
    let topology = topology.upgrade()?;
    Some(match (best, failure) {
        (Some((candidate, layout, (standing, _))), _) => {
            *in_use = standing;
            let installed = topology.install(&candidate.info, layout, named);
            installed.map(|()| true).map_err(|error| reason(&error))
        }
        (None, None) => Ok(false),
        (None, Some(failure)) => Err(failure),
    })
}
