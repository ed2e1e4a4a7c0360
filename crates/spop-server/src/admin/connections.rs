//! So many connections at a time. Those that say nothing keep nobody out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::{AbortHandle, JoinSet, yield_now};

/// Connections at a time.
const MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Connections {
    open: JoinSet<()>,
    /// Those of them whose request has not come, the oldest first.
    silent: VecDeque<(Asked, AbortHandle)>,
}

/// Whether a connection's request has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked(Arc<AtomicBool>);

impl Asked {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Connections {
    /// Starts one. It comes in place of the oldest whose request has not come if there are as many
    /// as can be, and waits until one ends if all are being answered.
    pub(super) async fn start<F>(&mut self, connection: impl FnOnce(Asked) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.open.try_join_next().is_some() {}
        self.silent
            .retain(|(asked, task)| !asked.0.load(Ordering::Relaxed) && !task.is_finished());
        if self.open.len() >= MAX {
            if let Some((_, oldest)) = self.silent.pop_front() {
                oldest.abort();
            }
            self.open.join_next().await;
        }
        let asked = Asked::default();
        let task = self.open.spawn(connection(asked.clone()));
        self.silent.push_back((asked, task));
        // What has come of its request is read before others push it out.
        yield_now().await;
    }
}
