//! Warm memory for a process that knows how much it will need.

use std::io;
use std::thread;

use super::{MemGroup, Options};
use crate::error::Error;
use crate::layout::SlotSizes;
use crate::os;
use crate::slot::cache;

/// The largest block that is taken at once: a huge page, on the machines that have any.
const MAX_PREWARM_BLOCK: usize = 2 * 1024 * 1024;

/// Fills the [warm memory](crate::warm_memory) with so many bytes, but no more than its limit: the next groups with the default
/// base find the memory there.
///
/// ```
/// memgroup::set_warm_limit(64 << 20);
/// memgroup::prewarm(10 << 20)?;
/// assert!(memgroup::warm_memory().committed >= 10 << 20);
/// # Ok::<(), memgroup::Error>(())
/// ```
///
/// # Errors
/// As [`MemGroup::alloc`], where the machine has less. What it had stays warm.
pub fn prewarm(bytes: usize) -> Result<(), Error> {
    let bytes = bytes.min(cache::warm_memory().limit);
    // The limit leaves nothing to be committed ahead, which would not be kept.
    let group = Options::new().limit(bytes.next_multiple_of(os::page_size())).open()?;
    let mut left = bytes;
    for size in block_sizes(group.sizes) {
        if left == 0 {
            break;
        }
        let size = size.min(left);
        touch(&group, size)?;
        left -= size;
    }
    Ok(())
}

/// The same in a thread of its own, without an error if the machine has too little memory.
///
/// # Errors
/// The thread could not be started.
pub fn prewarm_in_background(bytes: usize) -> io::Result<()> {
    let work = move || {
        let _short = prewarm(bytes);
    };
    thread::Builder::new().name("memgroup-prewarm".into()).spawn(work).map(drop)
}

/// Sizes of blocks that fill one slot after the other.
fn block_sizes(sizes: SlotSizes) -> impl Iterator<Item = usize> {
    sizes.indices().map(move |index| sizes.size_of(index)).flat_map(|slot| {
        let block = slot.min(MAX_PREWARM_BLOCK);
        std::iter::repeat_n(block, slot / block)
    })
}

/// Takes a block, and touches each page of it that was not found as it was committed.
fn touch(group: &MemGroup, size: usize) -> Result<(), Error> {
    let mut block = group.alloc(size)?;
    block.iter_mut().step_by(os::page_size()).for_each(|byte| *byte = 0);
    Ok(())
}
