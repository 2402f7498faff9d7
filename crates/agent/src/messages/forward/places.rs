//! Turns of a lane at the windows of its sessions: for each path at most one, which waits or has a place.

use std::collections::btree_map::{BTreeMap, Entry};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use modem::session::{Place, Window};

/// A turn at a session's window.
enum Turn {
    Waits(Pin<Box<dyn Future<Output = Place> + Send>>),
    Has(Place),
}

/// The turns of a lane. A lane keeps no turn that none of its messages needs, since other lanes may need it.
#[derive(Default)]
pub(super) struct Places {
    turns: BTreeMap<usize, Turn>,
}

/// The answer to a lane that asks for a place.
#[derive(Debug)]
pub(super) enum Asked {
    /// A place that is free now.
    Free(Place),
    /// The window is full. `is_new`: this is the first time that the lane asks for this place.
    Full { is_new: bool },
}

impl Places {
    /// Takes a place in the window of a path's session. If the window is full, the lane gets a turn there.
    pub(super) fn take(&mut self, path: usize, window: &Window) -> Asked {
        match self.turns.entry(path) {
            Entry::Occupied(turn) => match turn.remove() {
                Turn::Has(place) => Asked::Free(place),
                waits @ Turn::Waits(_) => {
                    self.turns.insert(path, waits);
                    Asked::Full { is_new: false }
                }
            },
            Entry::Vacant(turn) => match window.try_place() {
                Some(place) => Asked::Free(place),
                None => {
                    turn.insert(Turn::Waits(Box::pin(window.place())));
                    Asked::Full { is_new: true }
                }
            },
        }
    }

    /// Gives up all turns but those that still wait at these paths.
    pub(super) fn keep(&mut self, is_wanted: impl Fn(usize) -> bool) {
        self.turns.retain(|path, turn| matches!(turn, Turn::Waits(_)) && is_wanted(*path));
    }

    /// Reports whether a message is ready that waits for a place.
    pub(super) fn is_waiting(&self) -> bool {
        self.turns.values().any(|turn| matches!(turn, Turn::Waits(_)))
    }

    /// Waits until a place is there for one of the turns.
    ///
    /// # Cancel safety
    /// Turns that wait go on waiting, and the place stays with its turn.
    pub(super) async fn come(&mut self) {
        poll_fn(|context| {
            for turn in self.turns.values_mut() {
                if let Turn::Waits(place) = turn
                    && let Poll::Ready(place) = place.as_mut().poll(context)
                {
                    *turn = Turn::Has(place);
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn free(asked: Asked) -> Place {
        match asked {
            Asked::Free(place) => place,
            Asked::Full { .. } => panic!("no place is free"),
        }
    }

    #[test]
    fn a_path_has_one_turn_and_a_place_that_came_is_given_up_unless_it_is_taken() {
        let (window, mut places) = (Window::new(1), Places::default());
        let first = free(places.take(0, &window));
        assert!(matches!(places.take(0, &window), Asked::Full { is_new: true }));
        assert!(matches!(places.take(0, &window), Asked::Full { is_new: false }));
        assert!(places.is_waiting() && places.come().now_or_never().is_none());
        drop(first);
        assert!(places.come().now_or_never().is_some() && !places.is_waiting());
        assert!(window.is_full(), "the place is the turn's");
        let second = free(places.take(0, &window));
        assert!(matches!(places.take(0, &window), Asked::Full { is_new: true }));
        drop(second);
        assert!(places.come().now_or_never().is_some());
        places.keep(|_| true);
        assert!(!window.is_full(), "no message needed the place that came");
    }

    #[test]
    fn a_turn_that_is_not_wanted_holds_up_no_other() {
        let (window, mut places) = (Window::new(1), Places::default());
        let taken = free(places.take(0, &window));
        assert!(matches!(places.take(0, &window), Asked::Full { is_new: true }));
        places.keep(|path| path != 0);
        drop(taken);
        assert!(window.try_place().is_some());
    }
}
