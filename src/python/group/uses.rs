//! Who uses a group's memory: its views, and what may write through an address that it once gave out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::os::Refusal;
use crate::os::fork::{self, PerProcess};

/// The counts of a group that a strict end and `freeze` ask.
pub(crate) struct Uses {
    /// Shared with what outlives the group: memory lent to consumers that know nothing of Python.
    views: Arc<AtomicUsize>,
    /// Those of the views that cannot write, and blocks that can and may have given their address away.
    protected_views: AtomicUsize,
    writers: AtomicUsize,
    /// Views that no object but a call of this process has: a child has none of its parent's threads, so none of theirs.
    pins: PerProcess<AtomicUsize>,
}

impl Uses {
    pub(super) fn new() -> Result<Self, Refusal> {
        Ok(Self {
            views: Arc::default(),
            protected_views: AtomicUsize::new(0),
            writers: AtomicUsize::new(0),
            pins: PerProcess::new(AtomicUsize::new(0))?,
        })
    }

    pub(crate) fn add_view(&self) {
        self.views.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_view(&self) {
        self.views.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a view that cannot write.
    pub(crate) fn add_protected_view(&self) {
        self.protected_views.fetch_add(1, Ordering::Relaxed);
        self.add_view();
    }

    pub(crate) fn remove_protected_view(&self) {
        self.remove_view();
        self.protected_views.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a block that may have given out an address to write to.
    pub(crate) fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_writer(&self) {
        self.writers.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many views and blocks there are by which somebody can write.
    pub(crate) fn writers(&self) -> usize {
        let views = self.views().saturating_sub(self.protected_views.load(Ordering::Relaxed));
        views.max(self.writers.load(Ordering::Relaxed))
    }

    /// Counts a view of this process alone. Returns the process's generation, for [`remove_pin`](Self::remove_pin).
    pub(crate) fn add_pin(&self) -> u32 {
        // The page that tells processes apart is there since new(), so nothing is refused.
        if let Ok(pins) = self.pins.get_or_make(AtomicUsize::default) {
            pins.fetch_add(1, Ordering::Relaxed);
        }
        fork::generation()
    }

    /// Ends a view that [`add_pin`](Self::add_pin) counted, unless that was before a fork.
    pub(crate) fn remove_pin(&self, generation: u32) {
        if let Some(pins) = self.pins.get().filter(|_| generation == fork::generation()) {
            pins.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many views there are.
    pub(crate) fn views(&self) -> usize {
        let pins = self.pins.get().map_or(0, |pins| pins.load(Ordering::Relaxed));
        self.views.load(Ordering::Acquire) + pins
    }

    /// The count of views, to be raised and lowered by who must not need the group for it.
    pub(crate) fn shared_views(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.views)
    }
}
