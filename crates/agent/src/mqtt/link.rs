//! The stream of a connection, and the signs of its other end that need no reading.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Silence after which the system asks the other end for a sign of life, by a packet without data.
const ASK_AFTER: Duration = Duration::from_secs(30);

/// Between two such questions.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// So many unanswered ones end the connection.
const ASK_AT_MOST: u32 = 3;

/// A stream of bytes with signs of its other end.
pub(super) trait Link: AsyncRead + AsyncWrite + Unpin {
    /// Reports whether no more bytes come: the other end has closed, or is lost.
    fn is_ended(&self) -> bool;

    /// Bytes that have come and are not read.
    fn unread(&self) -> usize;
}

impl Link for TcpStream {
    fn is_ended(&self) -> bool {
        // Bytes that wait hide the end from who would read it.
        let mut ends = [PollFd::new(self, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let seen = poll(&mut ends, Some(&at_once)).is_ok_and(|seen| seen > 0);
        let end = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        seen && ends.iter().any(|of| of.revents().intersects(end))
    }

    fn unread(&self) -> usize {
        // An error is seen by who reads.
        ioctl_fionread(self).ok().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
    }
}

/// Lets the system find out whether the other end is still there; best effort.
pub(super) fn watch(stream: &TcpStream) {
    let _ = sockopt::set_tcp_keepidle(stream, ASK_AFTER);
    let _ = sockopt::set_tcp_keepintvl(stream, ASK_AGAIN);
    let _ = sockopt::set_tcp_keepcnt(stream, ASK_AT_MOST);
    let _ = sockopt::set_socket_keepalive(stream, true);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream as Peer;

    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Peer::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().await.unwrap().0, peer)
    }

    #[tokio::test]
    async fn an_end_is_seen_behind_bytes_that_nobody_reads() {
        let (stream, mut peer) = pair().await;
        peer.write_all(&[7; 10]).unwrap();
        stream.readable().await.unwrap();
        assert_eq!((stream.is_ended(), stream.unread()), (false, 10));
        drop(peer);
        // On the loopback a close is there at once, but no rule says so.
        while !stream.is_ended() {
            tokio::task::yield_now().await;
        }
        assert_eq!(stream.unread(), 10);
    }

    #[tokio::test]
    async fn a_reset_is_seen_too() {
        let (stream, peer) = pair().await;
        sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
        drop(peer);
        while !stream.is_ended() {
            tokio::task::yield_now().await;
        }
    }
}
