//! The entrance: connections whose CONNECT is not accepted yet. They are few, and a flood of them gives way to others.
//!
//! A flood comes again as fast as it is closed. So each connection has some time for its CONNECT, whichever others
//! come; nothing is accepted meanwhile, and the system keeps those who wait in their order. The longer a rush lasts,
//! the more of a flood waits before an honest client: so an origin with many connections then has less time for each.

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

/// From its first moment each has so long before it may have to give way. Then 640 pass in a second, and what a client
/// sent while it waited to be accepted is there at once.
const GRACE: Duration = Duration::from_millis(100);

/// The same in a rush, for a crowd: 6,400 pass in a second. Without it the accepting would go as fast as a flood
/// comes again, and take a processor.
const GRACE_OF_CROWD: Duration = Duration::from_millis(10);

/// An origin with more connections here is a crowd.
const CROWD: usize = MOST / 8;

/// After so many that gave way it is a rush. Fewer come if all clients behind one address connect at once: no more
/// have a place behind the entrance.
const RUSH: usize = 256;

/// After so long in which none gave way a rush is over.
const CALM: Duration = Duration::from_secs(10);

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
    /// The number that gave way without a calm between two, and the time of the last.
    gone: usize,
    last_gone: Option<Instant>,
}

struct Newcomer {
    origin: IpAddr,
    came: Instant,
    displaced: CancellationToken,
}

impl Here {
    /// Returns the one that gives way if one more comes, and when its time is over: the oldest of the origin that has the
    /// most here.
    fn next_to_go(&self) -> Option<(u64, Instant)> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for newcomer in self.all.values() {
            *counts.entry(newcomer.origin).or_default() += 1;
        }
        let most = counts.values().max()?;
        let is_of_the_most =
            |(_, newcomer): &(&u64, &Newcomer)| counts.get(&newcomer.origin) == Some(most);
        let (turn, newcomer) = self.all.iter().find(is_of_the_most)?;
        let grace =
            if *most > CROWD && self.gone_of_late() >= RUSH { GRACE_OF_CROWD } else { GRACE };
        Some((*turn, newcomer.came + grace))
    }

    fn gone_of_late(&self) -> usize {
        let is_over = self.last_gone.is_none_or(|last| last.elapsed() > CALM);
        if is_over { 0 } else { self.gone }
    }

    /// Has the next one give way.
    fn displace(&mut self) {
        let Some((turn, _)) = self.next_to_go() else { return };
        if let Some(newcomer) = self.all.remove(&turn) {
            newcomer.displaced.cancel();
            self.gone = self.gone_of_late().saturating_add(1);
            self.last_gone = Some(Instant::now());
        }
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
        here.next_to_go().map(|(_, until)| until).filter(|until| *until > Instant::now())
    }

    /// Notes one that came in. If there are too many with it, another one gives way.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> AtEntrance {
        let displaced = CancellationToken::new();
        let mut here = self.lock();
        if here.all.len() >= MOST {
            here.displace();
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
    use std::collections::VecDeque;

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

    /// Lets so many more of a flood in, and returns how long that took.
    async fn rush(
        entrance: &Arc<Entrance>,
        flood: &mut VecDeque<AtEntrance>,
        address: IpAddr,
        count: usize,
    ) -> Duration {
        let began = Instant::now();
        for _ in 0..count {
            entrance.open().await;
            flood.push_back(entrance.enter(address));
            if flood.len() > MOST {
                drop(flood.pop_front());
            }
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_behind_2500_of_a_flood_gets_in_soon() {
        let entrance = Arc::new(Entrance::default());
        let (attacker, mut flood) = (address("192.0.2.9"), VecDeque::new());
        // As many as one address may well have: all of them have the whole time.
        let fleet = rush(&entrance, &mut flood, attacker, RUSH).await;
        assert_eq!(fleet, GRACE * 3);
        let quiet = entrance.enter(address("192.0.2.1"));
        let took = rush(&entrance, &mut flood, attacker, 2_500).await;
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(took > Duration::from_millis(300), "it is accepted without a pause: {took:?}");
        assert!(!quiet.displaced.is_cancelled(), "who is one of few is let alone");
        // Others get the places of the flood; what is no crowd any more has the whole time in a rush, too.
        let few: Vec<_> = (0..MOST - 1 - CROWD)
            .map(|n| entrance.enter(address(&format!("198.51.100.{}", n / 4))))
            .collect();
        let began = Instant::now();
        entrance.open().await;
        assert!(began.elapsed() > GRACE / 2, "{:?}", began.elapsed());
        assert_eq!(here(&few), vec![true; few.len()]);
        // After a calm a fleet behind one address is not taken for a flood.
        drop((few, flood, quiet));
        tokio::time::advance(CALM * 2).await;
        let mut flood = VecDeque::new();
        assert_eq!(rush(&entrance, &mut flood, attacker, MOST + 1).await, GRACE);
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
