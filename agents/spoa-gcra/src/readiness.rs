//! When an agent that has to ask Valkey is of use to HAProxy.
//!
//! Under the failure policies `local` and `open` it always is: without Valkey it limits by
//! itself, or lets pass. Under `closed` it denies everybody, so one that has just started is
//! not ready until it has reached Valkey: a rollout with a wrong address or password stops at
//! its first agent. HAProxy's health checks are answered all the same, so where HAProxy finds
//! that agent it denies its share of the requests until it is taken away.
//!
//! Once ready it stays so, whatever becomes of Valkey. If all agents dropped out at once,
//! HAProxy would have nobody to ask and let every request pass, which is what `closed` is to
//! prevent. Its health checks do not follow Valkey at all, for the same reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use crate::policy::Policies;
use crate::store::failure::FailurePolicy;
use crate::store::valkey::ValkeyStore;

/// Whether there was a connection to Valkey since the start, or no policy in force needs one.
/// For [`Admin::ready_if`](spop_server::admin::Admin::ready_if).
pub fn valkey_was_reached(
    policies: Arc<ArcSwap<Policies>>,
    store: ValkeyStore,
) -> impl Fn() -> bool {
    let reached = AtomicBool::new(false);
    move || {
        if reached.load(Ordering::Relaxed) {
            return true;
        }
        let connected = store.primaries().iter().any(|node| node.connections > 0);
        if connected {
            reached.store(true, Ordering::Relaxed);
        }
        connected || !denies_without_valkey(&policies.load())
    }
}

fn denies_without_valkey(policies: &Policies) -> bool {
    policies.all().iter().any(|named| {
        let policy = &named.policy;
        policy.failure == FailurePolicy::Closed && !policy.limits().is_empty()
    })
}
