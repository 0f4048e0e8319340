//! What the keeper has made, for those who look at it often and must not wait for it: making a volume takes seconds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jail::cgroup::Group;

use super::estate::Token;

/// One application's place.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) app: String,
    pub(crate) group: Group,
    pub(crate) limits: config::Limits,
    /// Where its volume is mounted.
    pub(crate) volume: Option<PathBuf>,
}

/// What all shared applications have together.
#[derive(Debug, Clone)]
pub(crate) struct SharedPool {
    pub(crate) group: Group,
    /// The limit of its memory, in bytes.
    pub(crate) memory: u64,
}

/// All places, shared between the keeper and whoever looks. Locked for no longer than it takes to copy an entry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Register(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    entries: BTreeMap<Token, Entry>,
    pool: Option<SharedPool>,
}

impl Register {
    /// All of them, in the order in which they were made.
    pub(crate) fn all(&self) -> Vec<(Token, Entry)> {
        self.places().entries.iter().map(|(token, entry)| (*token, entry.clone())).collect()
    }

    /// `None`: there are no control groups.
    pub(crate) fn pool(&self) -> Option<SharedPool> {
        self.places().pool.clone()
    }

    pub(super) fn set_pool(&self, pool: SharedPool) {
        self.places().pool = Some(pool);
    }

    pub(super) fn put(&self, token: Token, entry: Entry) {
        self.places().entries.insert(token, entry);
    }

    pub(super) fn adjust(&self, token: Token, limits: &config::Limits) {
        if let Some(entry) = self.places().entries.get_mut(&token) {
            entry.limits.clone_from(limits);
        }
    }

    pub(super) fn remove(&self, token: Token) {
        self.places().entries.remove(&token);
    }

    pub(super) fn clear(&self) {
        *self.places() = Places::default();
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Whoever panicked while holding it has left maps that are whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
