//! The table of offsets, and the one block of memory that it points into.

use super::ArrowError;
use crate::fallible;
use crate::list::{ListLayout, Part, Span};

/// Where each of some objects begins and the last ends, as if they lay one behind the other: numbers as wide as `T`.
///
/// # Errors
/// [`ArrowError::TooMuch`] and [`ArrowError::NoMemory`].
pub(crate) fn offsets<T: TryFrom<usize>>(layout: &ListLayout, part: Part) -> Result<Vec<T>, ArrowError> {
    let mut offsets = Vec::new();
    fallible::reserve(&mut offsets, part.len() + 1)?;
    let nbytes = nbytes(layout, part);
    // The last is the largest: if that fits, all do.
    let fits = |offset: usize| T::try_from(offset).map_err(|_| ArrowError::TooMuch { nbytes });
    let mut end = 0;
    offsets.push(fits(end)?);
    for index in 0..part.len() {
        end += layout.columns().size(part.object(index));
        offsets.push(fits(end)?);
    }
    Ok(offsets)
}

/// The sum of the sizes of some objects.
fn nbytes(layout: &ListLayout, part: Part) -> usize {
    (0..part.len()).map(|index| layout.columns().size(part.object(index))).sum()
}

/// The bytes of some objects where they lie one behind the other in one slot, with nothing between them; `None` where
/// they do not, or have none.
pub(crate) fn adjoining(layout: &ListLayout, part: Part) -> Option<Span> {
    let mut whole: Option<Span> = None;
    for span in layout.spans(part).filter(|span| span.len > 0) {
        whole = match whole {
            None => Some(span),
            Some(before) if before.slot == span.slot && before.offset + before.len == span.offset => {
                Some(Span { len: before.len + span.len, ..before })
            }
            Some(_) => return None,
        };
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemGroup;

    #[test]
    fn what_adjoins_is_one_stretch_and_what_does_not_is_none() {
        let group = MemGroup::new().unwrap();
        let adjoin = |sizes: &[usize], step: isize| {
            let list = group.alloc_many(sizes).unwrap();
            let len = sizes.len();
            let part = Part::all(len).part(if step < 0 { len - 1 } else { 0 }, step, len.div_ceil(step.unsigned_abs()));
            adjoining(list.layout(), part).map(|span| span.len)
        };
        assert_eq!(adjoin(&[16, 32, 48], 1), Some(96));
        assert_eq!(adjoin(&[16, 32, 47], 1), Some(95));
        assert_eq!(adjoin(&[16, 31, 48], 1), None);
        assert_eq!(adjoin(&[16, 32, 48], -1), None);
        assert_eq!(adjoin(&[16, 32, 48], 2), None);
        assert_eq!(adjoin(&[0, 0], 1), None);
        assert_eq!(adjoin(&[16, 0], 1), Some(16));
    }
}
