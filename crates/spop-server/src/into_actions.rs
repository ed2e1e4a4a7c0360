//! What a handler may return.

use std::fmt::Display;

use spop_codec::Actions;
use tracing::warn;

/// A handler's result, turned into the actions of the ACK.
///
/// * [`Actions`] as they are;
/// * `()` and `None`: no actions;
/// * `Err`: no actions, and a warning in the log. Whoever wants HAProxy to know sets a
///   variable before the `Err` becomes one.
pub trait IntoActions {
    /// The actions.
    fn into_actions(self) -> Actions;
}

impl IntoActions for Actions {
    fn into_actions(self) -> Actions {
        self
    }
}

impl IntoActions for () {
    fn into_actions(self) -> Actions {
        Actions::new()
    }
}

impl<T: IntoActions> IntoActions for Option<T> {
    fn into_actions(self) -> Actions {
        self.map_or_else(Actions::new, T::into_actions)
    }
}

impl<T: IntoActions, E: Display> IntoActions for Result<T, E> {
    fn into_actions(self) -> Actions {
        match self {
            Ok(actions) => actions.into_actions(),
            Err(error) => {
                warn!(%error, "a handler failed; its message is answered without actions");
                Actions::new()
            }
        }
    }
}
