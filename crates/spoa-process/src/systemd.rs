//! What systemd is told of a service with `Type=notify` (sd_notify(3)). Without the variable
//! NOTIFY_SOCKET, which systemd sets for those, nobody is told anything.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// For what no timeout counts: the end of the process, a machine that is busy.
const MARGIN: Duration = Duration::from_secs(5);

/// It serves; or what it has read again is in force. `status` is one line for
/// `systemctl status`.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its files again, until it is [`ready`] or has [`reloaded`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd from 253 on wants to know when.
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "cannot tell systemd the time"),
    }
}

/// It has read its files again; the line for `systemctl status` stays as it was.
pub fn reloaded() {
    notify(&[NotifyState::Ready]);
}

/// It stops, which takes at most so long: longer than `TimeoutStopSec=`, if need be.
pub fn stopping(longest: Duration) {
    let micros = longest.saturating_add(MARGIN).as_micros();
    notify(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(micros.try_into().unwrap_or(u32::MAX)),
        NotifyState::Status("stopping: health checks fail, requests in flight are answered"),
    ]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "cannot tell systemd");
    }
}
