//! The nodes of a pool by number: an array that grows and never moves.

use std::marker::PhantomData;
use std::ptr;

use super::node::Node;
use crate::error::Error;
use crate::sync::{self, AtomicPtr, Ordering};

/// The nodes of the first segment; every later one has twice as many as the one before.
const FIRST_NODES: usize = 64;

/// Segments for as many objects as [`MAX_OBJECTS`].
const SEGMENTS: usize = 26;

/// The most objects of a pool: what all segments hold.
pub(super) const MAX_OBJECTS: usize = FIRST_NODES * ((1 << SEGMENTS) - 1);

/// Nodes by number.
pub(super) struct Nodes<E> {
    /// Each null or the first node of a boxed slice.
    segments: [AtomicPtr<Node<E>>; SEGMENTS],
    owned: PhantomData<Node<E>>,
}

impl<E> Default for Nodes<E> {
    fn default() -> Self {
        Self { segments: Default::default(), owned: PhantomData }
    }
}

impl<E: Default> Nodes<E> {
    /// Sees to it that there are so many nodes, of which there is no less than one. Nobody else may do so meanwhile.
    pub(super) fn make(&self, many: usize) -> Result<(), Error> {
        let (last, _) = place(many - 1);
        for (segment, pointer) in self.segments.iter().enumerate().take(last + 1) {
            if pointer.load(Ordering::Relaxed).is_null() {
                let mut nodes = Vec::<Node<E>>::new();
                crate::fallible::reserve(&mut nodes, FIRST_NODES << segment)?;
                nodes.resize_with(FIRST_NODES << segment, Node::default);
                let nodes = Box::into_raw(nodes.into_boxed_slice());
                pointer.store(nodes.cast(), Ordering::Release);
            }
        }
        Ok(())
    }
}

impl<E> Nodes<E> {
    /// # Safety
    /// `index` must be below a number of nodes that [`make`](Self::make) was asked for, and has made.
    #[inline(always)]
    pub(super) unsafe fn get(&self, index: u32) -> &Node<E> {
        let (segment, at) = place(index as usize);
        let nodes = self.segments[segment].load(Ordering::Acquire);
        // SAFETY: the segment was made and is longer than this, by the caller's promise.
        let node = unsafe { nodes.add(at) };
        // SAFETY: the same; nodes are only shared, and go with self.
        unsafe { &*node }
    }
}

impl<E> Drop for Nodes<E> {
    fn drop(&mut self) {
        for (segment, pointer) in self.segments.iter_mut().enumerate() {
            let nodes = sync::take(pointer);
            if !nodes.is_null() {
                let nodes = ptr::slice_from_raw_parts_mut(nodes, FIRST_NODES << segment);
                // SAFETY: make got it from Box::into_raw, with as many nodes, and the only copy was just taken.
                drop(unsafe { Box::from_raw(nodes) });
            }
        }
    }
}

/// The segment that an object's node is in, and its place there.
#[inline(always)]
fn place(index: usize) -> (usize, usize) {
    let number = index + FIRST_NODES;
    let bit = number.ilog2();
    ((bit - FIRST_NODES.ilog2()) as usize, number & !(1 << bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_a_node_of_its_own() {
        let mut expected = (0, 0);
        for index in 0..10_000 {
            assert_eq!(place(index), expected);
            expected.1 += 1;
            if expected.1 == FIRST_NODES << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert_eq!(place(MAX_OBJECTS - 1), (SEGMENTS - 1, (FIRST_NODES << (SEGMENTS - 1)) - 1));
    }
}
