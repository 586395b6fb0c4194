//! The free objects of a pool: several stacks, of which each thread uses one first.

use std::ptr;

use super::node::Node;
use super::stack::{FreeStack, set_link};
use crate::sync::{AtomicPtr, Ordering};

/// How many stacks there are. A thread uses one of them first, so that few threads contend for the same.
#[cfg(not(loom))]
const STACKS: usize = 8;
#[cfg(loom)]
const STACKS: usize = 2;

/// Free objects, in a cache line of their own.
#[repr(align(64))]
struct Stack<E> {
    /// Null, or the one that was given back last: exchanging it is all that most calls do, and a thread that takes it so cannot
    /// be wrong about what lies below.
    top: AtomicPtr<Node<E>>,
    below: FreeStack,
}

/// All free objects but those that are to be tended.
pub(super) struct FreeNodes<E> {
    stacks: [Stack<E>; STACKS],
}

impl<E> Default for FreeNodes<E> {
    fn default() -> Self {
        Self { stacks: std::array::from_fn(|_| Stack { top: AtomicPtr::default(), below: FreeStack::default() }) }
    }
}

impl<E> FreeNodes<E> {
    /// Takes one, if there is one. `node` finds one by its number.
    #[inline(always)]
    pub(super) fn pop<'n>(&self, node: impl Fn(u32) -> &'n Node<E>) -> Option<&'n Node<E>>
    where
        E: 'n,
    {
        let mine = my_stack();
        self.stacks[mine].take_top().or_else(|| self.pop_below(mine, node))
    }

    /// Takes one that was not given back last by a thread that uses this stack, nor taken from the top of another.
    #[inline(never)]
    fn pop_below<'n>(&self, mine: usize, node: impl Fn(u32) -> &'n Node<E>) -> Option<&'n Node<E>>
    where
        E: 'n,
    {
        let from_stack = |stack: &Stack<E>| stack.below.pop(|index| &node(index).link).map(&node);
        from_stack(&self.stacks[mine]).or_else(|| {
            (1..STACKS)
                .map(|step| &self.stacks[(mine + step) % STACKS])
                .find_map(|others| others.take_top().or_else(|| from_stack(others)))
        })
    }

    /// Adds one.
    ///
    /// # Safety
    /// It must live for as long as `node` of every later [`pop`](Self::pop) says that nodes do.
    #[inline(always)]
    pub(super) unsafe fn push(&self, node: &Node<E>) {
        let stack = &self.stacks[my_stack()];
        let last = stack.top.swap(ptr::from_ref(node).cast_mut(), Ordering::AcqRel);
        if !last.is_null() {
            // SAFETY: it was pushed, and lives, by the caller's promise.
            stack.push_below(unsafe { &*last });
        }
    }

    /// Adds more, the first of which is to be taken first.
    pub(super) fn push_all<'n>(&self, nodes: impl IntoIterator<Item = &'n Node<E>>)
    where
        E: 'n,
    {
        let mut nodes = nodes.into_iter();
        let Some(first) = nodes.next() else { return };
        let last = nodes.fold(first, |last, node| {
            set_link(&last.link, node.index());
            node
        });
        self.stacks[my_stack()].below.push(first.index(), &last.link);
    }

    /// How many there are, of at most `most`. Others that push and pop meanwhile make it inexact.
    pub(super) fn count<'n>(&self, most: usize, node: impl Fn(u32) -> &'n Node<E>) -> usize
    where
        E: 'n,
    {
        let count = |stack: &Stack<E>| {
            let has_top = !stack.top.load(Ordering::Relaxed).is_null();
            stack.below.count(most, |index| &node(index).link) + usize::from(has_top)
        };
        self.stacks.iter().map(count).sum()
    }
}

impl<E> Stack<E> {
    /// Takes the one that was given back last, if nobody has.
    #[inline(always)]
    fn take_top<'n>(&self) -> Option<&'n Node<E>> {
        // Acquire pairs with the Release in push: the last owner is done.
        let top = self.top.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: null, or it was pushed, and lives as long as push's caller has promised.
        unsafe { top.as_ref() }
    }

    /// Makes a node the one below the top.
    #[inline(never)]
    fn push_below(&self, node: &Node<E>) {
        self.below.push(node.index(), &node.link);
    }
}

/// The stack that this thread uses first.
#[inline(always)]
fn my_stack() -> usize {
    thread_number() % STACKS
}

#[cfg(not(loom))]
#[inline(always)]
fn thread_number() -> usize {
    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;

    static NEXT: AtomicUsize = AtomicUsize::new(1);
    thread_local! {
        /// 0 before it is asked for.
        static NUMBER: Cell<usize> = const { Cell::new(0) };
    }
    match NUMBER.get() {
        0 => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed).max(1);
            NUMBER.set(number);
            number
        }
        number => number,
    }
}

/// The first thread and all others.
#[cfg(loom)]
fn thread_number() -> usize {
    loom::thread_local! { static IS_KNOWN: std::cell::Cell<bool> = std::cell::Cell::new(false); }
    usize::from(IS_KNOWN.with(|is_known| is_known.replace(true)))
}
