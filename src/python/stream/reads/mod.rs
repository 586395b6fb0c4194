//! Many files, or many ranges of one, read into one list: `read_files` and `read_ranges` of a group.

mod file;
mod files;
mod paths;
mod ranges;
mod reading;

pub(crate) use files::read_files;
pub(crate) use ranges::read_ranges;
