//! How objects lie in their memory: what a message says of views, arrays and lists.

use super::{OBJECT_BYTES, RUN_BYTES, SegmentId};

/// How the elements of a view lie in its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Offset in the bytes of the element with all indices 0.
    pub(crate) origin: u64,
    pub(crate) item_size: u64,
    pub(crate) shape: Vec<i64>,
    pub(crate) strides: Vec<i64>,
    /// What an element is: of a view in the notation of `struct`, of an array as numpy describes it.
    pub(crate) format: Vec<u8>,
}

/// How the objects of a list lie in their segments. The rest is in the table that the message names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) objects: u64,
    pub(crate) runs: u64,
    /// Size and distance, where all are of one size: then the table has none.
    pub(crate) uniform: Option<(u64, u64)>,
    pub(crate) align: u64,
    /// Those that the runs count in.
    pub(crate) segments: Vec<SegmentId>,
}

impl View {
    /// A row of so many bytes.
    pub(crate) fn of_bytes(len: usize) -> Self {
        Self { origin: 0, item_size: 1, shape: vec![len as i64], strides: vec![1], format: b"B".to_vec() }
    }

    /// Whether all elements lie within `len` bytes, and their count and size are numbers that a buffer can have.
    pub(super) fn fits(&self, len: u64) -> bool {
        let (mut first, mut last) = (i128::from(self.origin), i128::from(self.origin));
        let mut bytes = i128::from(self.item_size);
        for (&extent, &stride) in self.shape.iter().zip(&self.strides) {
            if extent < 0 {
                return false;
            }
            let reach = i128::from(extent.saturating_sub(1).max(0)) * i128::from(stride);
            (first, last) = (first + reach.min(0), last + reach.max(0));
            // An array of none may have other extents as large as it likes, but numpy multiplies those too.
            bytes = bytes.saturating_mul(i128::from(extent.max(1)));
        }
        let is_empty = self.shape.contains(&0);
        let is_within = match is_empty {
            true => i128::from(self.origin) <= i128::from(len),
            false => first >= 0 && last + i128::from(self.item_size) <= i128::from(len),
        };
        is_within && bytes <= i128::from(i64::MAX)
    }
}

impl Columns {
    /// Bytes in the table of such a list; `None` where there can be no such table.
    pub(crate) fn table_bytes(&self) -> Option<u64> {
        let objects = if self.uniform.is_some() { 0 } else { self.objects.checked_mul(OBJECT_BYTES)? };
        self.runs.checked_mul(RUN_BYTES)?.checked_add(objects)
    }
}
