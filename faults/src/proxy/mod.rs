//! Destinations that lie: they do what they are asked and say that they did not, or half of it, or later. What they lie about is the
//! plan's business; they count, and tell how often they lied.

pub(crate) mod postgres;
pub(crate) mod postgrest;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::plan::{Lie, ToldLie};
use crate::timeline::Timeline;

/// What a sink is to lie about, shared by all its connections.
#[derive(Clone, Debug)]
pub(crate) struct Liar {
    name: &'static str,
    lies: Arc<Mutex<Vec<ToldLie>>>,
    seen: Arc<AtomicU64>,
    told: Arc<AtomicU64>,
    cut: watch::Sender<u64>,
    timeline: Timeline,
}

impl Liar {
    pub(crate) fn new(name: &'static str, timeline: &Timeline) -> Self {
        Self {
            name,
            lies: Arc::default(),
            seen: Arc::default(),
            told: Arc::default(),
            cut: watch::Sender::new(0),
            timeline: timeline.clone(),
        }
    }

    /// From now on these lies, counted from here.
    pub(crate) fn set(&self, lies: Vec<ToldLie>) {
        self.seen.store(0, Ordering::SeqCst);
        *self.lies.lock().unwrap_or_else(PoisonError::into_inner) = lies;
    }

    /// How many lies were told since the start.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    /// Cuts every connection.
    pub(crate) fn cut_all(&self) {
        self.timeline.note(format!("every connection to the {} sink is cut", self.name));
        self.cut.send_modify(|times| *times += 1);
    }

    /// Waits until every connection is to be cut.
    pub(crate) async fn cut(&self) {
        let mut cut = self.cut.subscribe();
        // The sender lives as long as this value.
        let _ = cut.changed().await;
    }

    /// Counts a commit or a request, and says what to do instead of the truth.
    pub(crate) fn next(&self) -> Option<Lie> {
        let at = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let lies = self.lies.lock().unwrap_or_else(PoisonError::into_inner);
        let lie = lies.iter().find(|told| told.at == at)?.lie;
        self.told.fetch_add(1, Ordering::SeqCst);
        self.timeline.note(format!("the {} sink lies about number {at}: {lie:?}", self.name));
        Some(lie)
    }
}
