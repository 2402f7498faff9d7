//! A bound for the messages of a session that are published and not yet recorded as delivered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The window of a session, shared by all senders. A message takes a place before it is handed
/// over, and keeps it until its acknowledgement is on disk. So a kill of the agent repeats no more
/// messages than the window has places, however slow the disk is.
#[derive(Debug, Clone)]
pub struct Window {
    places: Arc<Semaphore>,
    size: usize,
}

/// A place in a window, which is free again once this is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Window {
    /// Creates a window with `size` places.
    pub fn new(size: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(size)), size }
    }

    /// Returns the number of its places.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Reports whether no place is free. A place that a waiter gets next is not free.
    pub fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// Takes a place if one is free and no caller waits for it.
    pub fn try_place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { _permit: permit })
    }

    /// Waits for a place, behind earlier callers.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its turn, and loses no place.
    pub fn place(&self) -> impl Future<Output = Place> + Send + use<> {
        let places = Arc::clone(&self.places);
        async move {
            match places.acquire_owned().await {
                Ok(permit) => Place { _permit: permit },
                // The semaphore is never closed.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_place_goes_to_the_one_who_waited_longest() {
        let window = Window::new(2);
        let (first, second) = (window.try_place(), window.try_place());
        assert!(first.is_some() && second.is_some() && window.is_full());
        let (mut one, mut other) = (Box::pin(window.place()), Box::pin(window.place()));
        assert!((&mut one).now_or_never().is_none() && (&mut other).now_or_never().is_none());
        drop(first);
        assert!(window.is_full() && window.try_place().is_none(), "it is promised");
        assert!((&mut other).now_or_never().is_none());
        let taken = one.now_or_never();
        assert!(taken.is_some());
        drop((taken, other, second));
        assert!(!window.is_full(), "who gave up waiting keeps no place");
    }
}
