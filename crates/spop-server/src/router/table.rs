//! Which route a message goes to.

use std::cmp::Ordering;
use std::sync::atomic::{self, AtomicBool};

use spop_codec::{Actions, Text};
use tracing::warn;

use super::route::{Route, RouteFuture};
use crate::request_ref::RequestRef;

/// A router that is not changed any more: routes by exact name, else by prefix.
///
/// Names are searched for, not hashed. They are few, most differ in length already, and
/// hashing alone in a way that holds against chosen names costs more than the search.
pub(super) struct Table {
    /// Sorted by length, then bytes.
    named: Box<[(Box<str>, Route)]>,
    /// Longest prefix first.
    fallbacks: Box<[(Box<str>, Route)]>,
    /// Whether any route answers on the spot.
    quick: bool,
    warned: AtomicBool,
}

impl Table {
    pub(super) fn new(
        named: impl Iterator<Item = (Box<str>, Route)>,
        fallbacks: impl Iterator<Item = (Box<str>, Route)>,
    ) -> Self {
        let mut named: Box<[_]> = named.collect();
        named.sort_by(|(a, _), (b, _)| compare(a, b.as_bytes()));
        let mut fallbacks: Box<[_]> = fallbacks.collect();
        fallbacks.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let routes = named.iter().chain(&fallbacks);
        Self {
            quick: routes.into_iter().any(|(_, route)| route.is_quick()),
            named,
            fallbacks,
            warned: AtomicBool::new(false),
        }
    }

    pub(super) const fn is_quick(&self) -> bool {
        self.quick
    }

    pub(super) fn answer(&self, request: &RequestRef<'_>) -> RouteFuture {
        let name = request.name();
        match self.find(name.as_bytes()) {
            Some(route) => route.answer(request),
            None => {
                self.warn(name);
                RouteFuture::ready(Actions::new())
            }
        }
    }

    /// Sets `actions` and says so, if the handler answers on the spot.
    #[inline]
    pub(super) fn answer_at_once(&self, request: &RequestRef<'_>, actions: &mut Actions) -> bool {
        self.find(request.name().as_bytes())
            .is_some_and(|route| route.answer_at_once(request, actions))
    }

    fn find(&self, name: &[u8]) -> Option<&Route> {
        let named = match &*self.named {
            // Most agents know one message.
            [only] if Text::new(name) == *only.0 => Some(only),
            [_] => None,
            named => named
                .binary_search_by(|(candidate, _)| compare(candidate, name))
                .ok()
                .and_then(|index| named.get(index)),
        };
        let by_prefix = || {
            let mut fallbacks = self.fallbacks.iter();
            fallbacks.find(|(prefix, _)| name.starts_with(prefix.as_bytes()))
        };
        named.or_else(by_prefix).map(|(_, route)| route)
    }

    #[cold]
    fn warn(&self, name: Text<'_>) {
        if !self.warned.swap(true, atomic::Ordering::Relaxed) {
            warn!(
                %name,
                "no route for a message; it is answered without actions, and further ones \
                 silently"
            );
        }
    }
}

fn compare(candidate: &str, name: &[u8]) -> Ordering {
    let by_length = candidate.len().cmp(&name.len());
    by_length.then_with(|| candidate.as_bytes().cmp(name))
}
