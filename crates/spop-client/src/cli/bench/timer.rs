//! Waits for a moment to the microsecond. Tokio's own timers round up to the next
//! millisecond, which is longer than most answers take.

use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

/// A timer of the kernel (timerfd), in tokio's poll loop.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct Timer {
    fd: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
    /// When the kernel will wake us.
    armed: Option<Instant>,
}

#[cfg(target_os = "linux")]
impl Timer {
    /// Must be called within a tokio runtime.
    pub(super) fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        use tokio::io::{Interest, unix::AsyncFd};

        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[allow(
            deprecated,
            reason = "it misses the promise that the descriptor stays the same, which an \
                      OwnedFd keeps; its successor is unsafe"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self { fd, armed: None })
    }

    /// Ready at `at`, which may change from call to call.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<io::Result<()>> {
        loop {
            if Instant::now() >= at {
                return Poll::Ready(Ok(()));
            }
            if self.armed != Some(at) {
                self.arm(at)?;
            }
            let mut ready = std::task::ready!(self.fd.poll_read_ready(cx))?;
            // Arming it anew is what makes the kernel forget that it expired.
            ready.clear_ready();
            self.armed = None;
        }
    }

    fn arm(&mut self, at: Instant) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

        let left = at.saturating_duration_since(Instant::now());
        let once = Itimerspec {
            it_interval: Timespec::default(),
            // Zero would disarm it.
            it_value: Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()).max(1),
            },
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once)?;
        self.armed = Some(at);
        Ok(())
    }
}

/// Tokio's timer where there is no better one: up to a millisecond late.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) struct Timer(std::pin::Pin<Box<tokio::time::Sleep>>);

#[cfg(not(target_os = "linux"))]
impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Box::pin(tokio::time::sleep(Default::default()))))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<io::Result<()>> {
        if self.0.deadline() != at.into() {
            self.0.as_mut().reset(at.into());
        }
        self.0.as_mut().poll(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn never_early_and_again() {
        let mut timer = Timer::new().unwrap();
        for micros in [0, 1, 300, 20_000, 50] {
            let at = Instant::now() + Duration::from_micros(micros);
            poll_fn(|cx| timer.poll(cx, at)).await.unwrap();
            assert!(Instant::now() >= at);
        }
    }

    #[tokio::test]
    async fn a_nearer_moment_replaces_a_farther_one() {
        let mut timer = Timer::new().unwrap();
        let far = Instant::now() + Duration::from_secs(3600);
        poll_fn(|cx| {
            assert!(timer.poll(cx, far).is_pending());
            Poll::Ready(())
        })
        .await;
        let near = Instant::now() + Duration::from_millis(1);
        poll_fn(|cx| timer.poll(cx, near)).await.unwrap();
        assert!(Instant::now() >= near);
    }
}
