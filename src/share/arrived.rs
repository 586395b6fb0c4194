//! What a step over a socket comes to, and the message that has come whole.

use std::sync::Arc;

use crate::os::ReceivedFile;
use crate::share::wire::Object;
use crate::share::{self, ShareError};

/// What a step that never waits has to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome<T> {
    Done(T),
    /// The socket must be waited for first.
    Wait,
}

/// A message that came, with the memory that it names.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) object: Object,
    /// In the order in which the object names it: its extent's first, all bytes of which are there.
    pub(crate) memory: Vec<Arc<ReceivedFile>>,
}

impl Arrived {
    /// An object and the memory that it names, if its extent is there.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn checked(object: Object, memory: Vec<Arc<ReceivedFile>>) -> Result<Self, ShareError> {
        if let Some(first) = memory.first() {
            share::range(first, &object.extent())?;
        }
        Ok(Self { object, memory })
    }
}
