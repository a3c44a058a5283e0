//! Tells the keeper that the log has grown by much, so that it need not wait for its next turn. Within one process only: what another
//! one sealed is found by looking.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// How much was sealed since the last look.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    sealed: AtomicU64,
    more: Notify,
}

impl Growth {
    /// So many more events are sealed.
    pub(super) fn by(&self, events: u64) {
        self.0.sealed.fetch_add(events, Ordering::SeqCst);
        self.0.more.notify_one();
    }

    /// Waits until at least `events` were sealed since this was last waited for to its end or [`Growth::begin`] was called.
    pub(super) async fn reached(&self, events: u64) {
        while self.0.sealed.load(Ordering::SeqCst) < events {
            self.0.more.notified().await;
        }
    }

    /// Counts from 0 again.
    pub(super) fn begin(&self) {
        self.0.sealed.store(0, Ordering::SeqCst);
    }
}
