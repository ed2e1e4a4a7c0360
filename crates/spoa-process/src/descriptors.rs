//! How many files, sockets among them, the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spop_server::Config;
use tracing::warn;

/// Kept for all that is not a connection of HAProxy's: admin listener, Valkey, files that are
/// read again.
const RESERVE: usize = 128;

/// Raises the limit as far as this process may, and takes no more connections than it has room
/// for. Else a crowd of them would keep out those who come to see what is wrong.
pub(crate) fn fitted(config: Config) -> Config {
    let Some(limit) = raised() else { return config };
    let room = room(limit);
    if room >= config.max_connections() {
        return config;
    }
    warn!(
        "at most {room} connections, not {}: this process may have {limit} files open \
         (ulimit -n, LimitNOFILE=)",
        config.max_connections()
    );
    config.with_max_connections(room)
}

/// Of a limit that is small itself, half.
fn room(limit: usize) -> usize {
    limit.saturating_sub(RESERVE).max(limit / 2).max(1)
}

/// The limit, once it is as high as it may be. `None`: there is none.
fn raised() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let in_force = match setrlimit(Resource::Nofile, highest) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // One that does not fit is none.
    in_force.and_then(|limit| limit.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_left_for_others() {
        for (limit, expected) in [(0, 1), (1, 1), (60, 30), (1024, 896), (16384, 16256)] {
            assert_eq!(room(limit), expected);
        }
        assert_eq!(room(usize::MAX), usize::MAX - RESERVE);
    }
}
