//! The order in which the elements of an array lie.

use pyo3::prelude::*;

use crate::python::view::array::Array;

/// In which order the elements of an array lie.
pub(super) enum ElementOrder {
    /// The last index varies fastest.
    C,
    /// The first index varies fastest.
    F,
    /// The index of the last of these axes varies fastest.
    Axes(Vec<usize>),
}

impl ElementOrder {
    /// That of a copy as numpy makes it, of an array that `order` had a say in already.
    pub(super) fn of_copy(array: &Array<'_, '_>, order: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let order = order.filter(|order| !order.is_none()).map(|order| order.extract::<char>()).transpose()?;
        Ok(match order.unwrap_or('K').to_ascii_uppercase() {
            'C' => Self::C,
            'F' => Self::F,
            _ if array.is_c_contiguous() => Self::C,
            _ if array.is_f_contiguous() => Self::F,
            'A' => Self::C,
            _ => {
                let strides = array.strides();
                let mut axes: Vec<_> = (0..strides.len()).collect();
                axes.sort_by_key(|&axis| std::cmp::Reverse(strides[axis].unsigned_abs()));
                Self::Axes(axes)
            }
        })
    }

    /// The axes of an array of so many dimensions, from the one whose index varies slowest to the fastest.
    pub(super) fn axes(&self, dimensions: usize) -> Vec<usize> {
        match self {
            Self::C => (0..dimensions).collect(),
            Self::F => (0..dimensions).rev().collect(),
            Self::Axes(axes) => axes.clone(),
        }
    }
}

/// Strides without gaps, the index of the last axis varying fastest.
pub(super) fn packed(shape: &[isize], axes: &[usize], size: usize) -> Vec<isize> {
    let (mut strides, mut stride) = (vec![0; shape.len()], size as isize);
    for &axis in axes.iter().rev() {
        strides[axis] = stride;
        stride *= shape[axis];
    }
    strides
}
