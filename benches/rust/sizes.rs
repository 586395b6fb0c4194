//! The requests: the same sequence of sizes for every peer, in every run.

use std::alloc::Layout;
use std::ops::RangeInclusive;

/// Requests in one round.
pub const ROUND: usize = 10_000;

/// Small objects, and anything up to a page.
pub const RANGES: [RangeInclusive<usize>; 2] = [16..=143, 1..=4096];

/// Alignment of every request: the default of a group and of `malloc`.
const ALIGN: usize = memgroup::DEFAULT_ALIGN;

/// A round of layouts with sizes spread evenly over `range`.
///
/// They come from a table, so that no optimiser can know a size or an alignment while it compiles.
pub fn layouts(range: &RangeInclusive<usize>) -> Vec<Layout> {
    let choices = range.end() - range.start() + 1;
    let sizes = pseudo_random().map(|number| range.start() + number % choices);
    sizes.filter_map(|size| Layout::from_size_align(size, ALIGN).ok()).take(ROUND).collect()
}

/// Marsaglia's xorshift, from a fixed seed: enough to keep branch predictors from learning the sizes.
fn pseudo_random() -> impl Iterator<Item = usize> {
    let numbers = std::iter::successors(Some(0x9e37_79b9_7f4a_7c15_u64), |&last| {
        let mut next = last;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        Some(next)
    });
    // The upper half: the better mixed one, and a usize on every machine.
    numbers.map(|number| (number >> 32) as usize)
}
