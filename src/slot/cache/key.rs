//! Which slots memory can be kept for.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::os::Backing;

/// What decides which slot may reuse the memory of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CacheKey {
    is_anonymous: bool,
    wants_huge_pages: bool,
    capacity: usize,
    /// The name that the kernel shows of the memory, hashed. The last to be compared, because any name will do.
    name: u64,
}

impl CacheKey {
    /// The key of slots of that size; `None` for those that are never kept: files are for data that memory cannot hold.
    pub(crate) fn of(backing: &Backing, name: &str, capacity: usize, wants_huge_pages: bool) -> Option<Self> {
        let (is_anonymous, name) = match backing {
            Backing::Memfd => (false, hash(name)),
            Backing::Anonymous => (true, 0),
            Backing::Directory(_) => return None,
        };
        Some(Self { is_anonymous, wants_huge_pages, capacity, name })
    }

    /// The same with the first and the last name there can be.
    pub(super) fn of_any_name(self) -> (Self, Self) {
        (Self { name: 0, ..self }, Self { name: u64::MAX, ..self })
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
