//! Why something of a group cannot be used, or its end is refused.

use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;

use crate::python::ffi::text::plural;

pub(super) fn check_unseen(views: usize, end: &'static str) -> Result<(), EndRefused> {
    if views == 0 { Ok(()) } else { Err(EndRefused::Views { views, end }) }
}

/// Why a block or a group cannot be used any more.
#[derive(Clone, Copy)]
pub(crate) enum Unavailable {
    Reset,
    Ended,
    Freed,
    Frozen,
    /// A block of a pool was given back.
    Returned,
}

impl Unavailable {
    #[cold]
    pub(crate) fn error(self, group: &str) -> PyErr {
        PyValueError::new_err(match self {
            Self::Reset => format!("this block was freed when its group {group:?} was reset: allocate a new one"),
            Self::Ended => format!("the group {group:?} has ended and is freed: use it within its with block"),
            Self::Freed => format!("the group {group:?} is freed: make a new one"),
            Self::Frozen => {
                format!("the group {group:?} is frozen and cannot allocate: reset it, or use another group")
            }
            Self::Returned => "this block was freed: its pool's alloc() gives a new one".into(),
        })
    }
}

/// Why the end of a group was refused.
pub(crate) enum EndRefused {
    Unavailable(Unavailable),
    /// So many views, and the end that they stand in the way of.
    Views {
        views: usize,
        end: &'static str,
    },
}

impl EndRefused {
    pub(crate) fn error(self, group: &str) -> PyErr {
        match self {
            Self::Unavailable(why) => why.error(group),
            Self::Views { views, end } => {
                let force = if end == "free" { ", or pass force=True" } else { "" };
                PyBufferError::new_err(format!(
                    "cannot {end} the group {group:?}, it has {views} live view{}: release memoryviews and delete \
                     arrays made from its blocks{force}",
                    plural(views),
                ))
            }
        }
    }
}
