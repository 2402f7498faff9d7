//! File descriptors: as many as the system allows, some of them out of reach of connections.
//!
//! A modem that is plugged in needs descriptors at that moment, and connections may have filled the
//! table.

use std::os::fd::AsRawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most reserved descriptors: ports of some hundred modems, and the files of the queue.
const MOST: u64 = 256;

/// The reserved part of a low limit is a quarter; a listener may have as much.
const PART: u64 = 4;

/// Raises the limit of open files as far as this process may. A service manager commonly starts it
/// with 1,024 and allows many more (systemd.exec(5), `LimitNOFILE=`).
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // After a failure the lower limit holds, below which connections also stay.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// Reports whether a just accepted connection may keep its descriptor; otherwise it must be closed.
///
/// A new descriptor gets the lowest free number. So if each connection is checked, none has one of
/// the highest numbers. These stay free for other uses.
pub fn may_keep(connection: &impl AsRawFd) -> bool {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u64::try_from(connection.as_raw_fd()).is_ok_and(|number| number < first_kept_back(limit))
}

/// Returns the number of connections that a listener may have at the same time. It is at most a
/// quarter of the limit, so that two listeners leave half of it to other uses.
pub fn share(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / PART).map_or(wanted, |share| share.min(wanted))
}

/// Returns the lowest number that a connection may not have.
fn first_kept_back(limit: u64) -> u64 {
    limit - (limit / PART).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_kept_back_and_256_at_most() {
        for (limit, first) in [(0, 0), (64, 48), (256, 192), (1_024, 768), (524_288, 524_032)] {
            assert_eq!(first_kept_back(limit), first, "{limit}");
        }
        assert_eq!(first_kept_back(u64::MAX), u64::MAX - 256);
    }

    #[test]
    fn standard_error_may_be_kept_and_the_last_descriptor_may_not() {
        raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert!(may_keep(&std::io::stderr()));
        assert_eq!((share(3), share(usize::MAX) > 3), (3, true));
        let last = i32::try_from(limit.current.unwrap_or(u64::MAX)).map_or(i32::MAX, |n| n - 1);
        struct Last(i32);
        impl AsRawFd for Last {
            fn as_raw_fd(&self) -> i32 {
                self.0
            }
        }
        assert!(!may_keep(&Last(last)));
    }
}
