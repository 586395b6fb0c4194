//! How a group is to be made.

use crate::layout::DEFAULT_BASE;
use crate::os::Backing;

/// How a group is to be made. The methods chain; [`open`](Options::open) ends the chain.
///
/// ```
/// let group = memgroup::Options::new().base(1 << 20).limit(64 << 20).name("results").open()?;
/// # Ok::<(), memgroup::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) base: usize,
    pub(super) limit: Option<usize>,
    pub(super) backing: Backing,
    pub(super) name: String,
    pub(super) secret: bool,
    pub(super) shared: bool,
    pub(super) huge_pages: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            base: DEFAULT_BASE,
            limit: None,
            backing: Backing::default(),
            name: "memgroup".into(),
            secret: false,
            shared: false,
            huge_pages: true,
        }
    }
}

impl Options {
    /// The defaults: a base of 64 KiB, no limit, memfd backing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Size of the first slot in bytes, rounded up to whole pages; every later slot is twice the one before.
    pub fn base(mut self, bytes: usize) -> Self {
        self.base = bytes;
        self
    }

    /// The most bytes the group may commit.
    pub fn limit(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.limit = bytes.into();
        self
    }

    /// Where the memory comes from.
    pub fn backing(mut self, backing: Backing) -> Self {
        self.backing = backing;
        self
    }

    /// A name for messages and for `/proc/PID/maps`, where memory that was kept from another group goes on under its
    /// name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whether the group holds secrets: locked in memory, left out of core dumps, and overwritten with zeros when the
    /// group is reset or freed.
    ///
    /// ```
    /// let group = memgroup::Options::new().secret(true).open()?;
    /// let key = group.copy(b"correct horse")?;
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    pub fn secret(mut self, secret: bool) -> Self {
        self.secret = secret;
        self
    }
    /// Whether the group's objects can be sent to other processes, which read them: see
    /// [`MemGroup::send`](crate::MemGroup::send). Such a group keeps two descriptors for each of its slots, and its
    /// memory is never kept for other groups.
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// Whether large slots are committed in huge pages where the kernel gives them, as they are unless this says
    /// `false`. The environment variable `MEMGROUP_HUGE_PAGES=0` says so for a whole process.
    pub fn huge_pages(mut self, huge_pages: bool) -> Self {
        self.huge_pages = huge_pages;
        self
    }
}
