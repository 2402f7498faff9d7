//! The entrance: connections whose CONNECT is not accepted yet. They are few, and a flood of them gives way to others.
//!
//! A flood comes again as fast as it is closed. So each connection has some time for its CONNECT, whoever else
//! comes; nothing is accepted meanwhile, and the system keeps those who wait in their order.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::origin;

/// Connections without an accepted CONNECT at the same time.
const MOST: usize = 64;

/// From its first moment each has so long before it may have to give way. In a flood 640 pass in a second, and what a
/// client sent while it waited to be accepted is there at once.
const GRACE: Duration = Duration::from_millis(100);

/// The connections at the entrance.
#[derive(Default)]
pub(super) struct Entrance {
    here: Mutex<Here>,
    left: Notify,
}

#[derive(Default)]
struct Here {
    next: u64,
    /// In the order they came.
    all: BTreeMap<u64, Newcomer>,
}

struct Newcomer {
    origin: IpAddr,
    came: Instant,
    displaced: CancellationToken,
}

impl Here {
    /// Returns the one that gives way if one more comes: the oldest of the origin that has the most here.
    fn next_to_go(&self) -> Option<(u64, &Newcomer)> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for newcomer in self.all.values() {
            *counts.entry(newcomer.origin).or_default() += 1;
        }
        let most = counts.values().max()?;
        let is_of_the_most =
            |(_, newcomer): &(&u64, &Newcomer)| counts.get(&newcomer.origin) == Some(most);
        self.all.iter().find(is_of_the_most).map(|(turn, newcomer)| (*turn, newcomer))
    }
}

impl Entrance {
    /// Waits until one more may come in: there is room, or the one that gives way had its time.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub(super) async fn open(&self) {
        while let Some(until) = self.closed_until() {
            tokio::select! {
                () = self.left.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    fn closed_until(&self) -> Option<Instant> {
        let here = self.lock();
        if here.all.len() < MOST {
            return None;
        }
        here.next_to_go()
            .map(|(_, newcomer)| newcomer.came + GRACE)
            .filter(|it| *it > Instant::now())
    }

    /// Notes one that came in. If there are too many with it, another one gives way.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> AtEntrance {
        let displaced = CancellationToken::new();
        let mut here = self.lock();
        if here.all.len() >= MOST
            && let Some((turn, _)) = here.next_to_go()
            && let Some(newcomer) = here.all.remove(&turn)
        {
            newcomer.displaced.cancel();
        }
        let turn = here.next;
        here.next = turn.wrapping_add(1);
        let newcomer = Newcomer {
            origin: origin::of(address),
            came: Instant::now(),
            displaced: displaced.clone(),
        };
        here.all.insert(turn, newcomer);
        AtEntrance { entrance: Arc::clone(self), turn, displaced }
    }

    fn lock(&self) -> MutexGuard<'_, Here> {
        // No code that holds the lock leaves it half changed.
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place at the entrance, until this is dropped.
pub(super) struct AtEntrance {
    entrance: Arc<Entrance>,
    turn: u64,
    /// Cancelled if it has to give way.
    pub(super) displaced: CancellationToken,
}

impl Drop for AtEntrance {
    fn drop(&mut self) {
        if self.entrance.lock().all.remove(&self.turn).is_some() {
            self.entrance.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn here(guests: &[AtEntrance]) -> Vec<bool> {
        guests.iter().map(|guest| !guest.displaced.is_cancelled()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_floods_gives_way_to_itself_and_to_others_once_each_had_its_time() {
        let entrance = Arc::new(Entrance::default());
        let quiet = entrance.enter(address("192.0.2.1"));
        tokio::time::advance(GRACE / 2).await;
        let mut flood: Vec<_> =
            (0..MOST - 1).map(|_| entrance.enter(address("192.0.2.9"))).collect();
        assert!(entrance.open().now_or_never().is_none(), "the flood's oldest has its time");
        let began = Instant::now();
        entrance.open().await;
        assert_eq!(began.elapsed(), GRACE);
        let another = entrance.enter(address("192.0.2.2"));
        flood.push(entrance.enter(address("192.0.2.9")));
        let gone = here(&flood).iter().filter(|is_here| !**is_here).count();
        assert_eq!((gone, here(&flood)[..3].to_vec()), (2, vec![false, false, true]));
        assert_eq!(here(&[quiet, another]), [true, true], "who is one of few is let alone");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_makes_room_at_once() {
        let entrance = Arc::new(Entrance::default());
        let mut all: Vec<_> = (0..MOST).map(|_| entrance.enter(address("::1"))).collect();
        let mut opens = Box::pin(entrance.open());
        assert!((&mut opens).now_or_never().is_none());
        drop(all.pop());
        let began = Instant::now();
        opens.await;
        assert!(began.elapsed().is_zero());
        assert_eq!(entrance.lock().all.len(), MOST - 1);
    }
}
