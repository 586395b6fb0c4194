//! What the machine refuses.

use super::{PageId, Prot, VmaId};

/// Every way in which a machine refuses an operation. Nothing has changed when one is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process is no longer, or is another machine's.
    #[error("process {pid} has exited: start another, by spawn() or fork()")]
    Exited {
        /// Its number.
        pid: u64,
    },

    /// No VMA holds the page.
    #[error("page {page} is not mapped in process {pid}: mmap it first")]
    Unmapped {
        /// The process.
        pid: u64,
        /// The page address.
        page: u64,
    },

    /// The VMA's protection forbids the access.
    #[error("page {page} of process {pid} is mapped {prot}, which does not allow {access}: mprotect it first")]
    Denied {
        /// The process.
        pid: u64,
        /// The page address.
        page: u64,
        /// How it is mapped.
        prot: Prot,
        /// What was tried.
        access: &'static str,
    },

    /// The pages asked for are taken.
    #[error("page {page} is mapped already in process {pid}: munmap it first, or let mmap choose")]
    Taken {
        /// The process.
        pid: u64,
        /// The first page address that is taken.
        page: u64,
    },

    /// No pages at all, or pages beyond the end of the address space.
    #[error(
        "{pages} pages at page {page} are no range: there must be one at least, and all of them below page {limit}"
    )]
    Range {
        /// The first page address.
        page: u64,
        /// How many pages.
        pages: u64,
        /// Pages in an address space.
        limit: u64,
    },

    /// Pages cannot be moved to where some of them are.
    #[error("pages {page} to {} and the same number from page {to} on overlap: move them elsewhere first", .page + .pages - 1)]
    Overlap {
        /// The first page address.
        page: u64,
        /// How many pages.
        pages: u64,
        /// The first page address that they were to get.
        to: u64,
    },

    /// The pages to be moved are of several VMAs.
    #[error(
        "the range from page {page} on is of several VMAs of process {pid}, the next from page {border} on: mremap each"
    )]
    Spans {
        /// The process.
        pid: u64,
        /// The first page address.
        page: u64,
        /// Where the next VMA begins.
        border: u64,
    },

    /// No hole in the address space is large enough.
    #[error("process {pid} has no {pages} pages in a row left: munmap something")]
    NoHole {
        /// The process.
        pid: u64,
        /// How many pages.
        pages: u64,
    },

    /// WIPEONFORK is for private mappings.
    #[error(
        "page {page} of process {pid} is in a shared mapping, which cannot be wiped on fork: only private ones can"
    )]
    WipeShared {
        /// The process.
        pid: u64,
        /// The page address.
        page: u64,
    },

    /// The page is no longer.
    #[error("page {} is gone: no process maps it or has it in swap", .page.number())]
    NoPage {
        /// The page.
        page: PageId,
    },

    /// The VMA is no longer.
    #[error("VMA {} is gone: unmapped, merged into a neighbour, or its process has exited", .vma.number())]
    NoVma {
        /// The VMA.
        vma: VmaId,
    },

    /// There is nothing to swap out.
    #[error("page {} is in no page table: it is swapped out already, or has not been faulted in yet", .page.number())]
    NotMapped {
        /// The page.
        page: PageId,
    },

    /// There are as many processes as there can be.
    #[error("{wanted} more processes do not fit beside {live}: Linux numbers {most} at most; let some exit")]
    TooManyProcesses {
        /// How many were asked for.
        wanted: u64,
        /// How many there are.
        live: u64,
        /// How many there can be.
        most: u64,
    },

    /// There are as many objects of a kind as the model can number.
    #[error("the model has no room for more {what}: let processes exit, or munmap something")]
    Full {
        /// Of what.
        what: &'static str,
    },

    /// The memory that the model itself lives in has come to its end.
    #[error(
        "there is no memory left for the model to grow: let processes exit, or munmap something; their places serve again"
    )]
    NoMemory,
}
