//! Whether records are text.

use super::{ArrowError, Content, fetch};
use crate::error::Error;
use crate::list::{ListLayout, Part};
use crate::scratch::Scratch;
use crate::slot::LiveSlots;

/// Says which of some objects, if any, is no UTF-8.
///
/// # Errors
/// [`ArrowError::NotUtf8`] and [`ArrowError::NoMemory`].
///
/// # Safety
/// The list must lie in those slots, and its objects be mapped.
pub(crate) unsafe fn check_utf8(live: LiveSlots<'_>, layout: &ListLayout, part: Part) -> Result<(), ArrowError> {
    // SAFETY: the list lies in those slots, by contract.
    let mut text = Utf8::new(Content::Utf8, unsafe { layout.is_secret(live) })?;
    for (index, span) in layout.objects(part).enumerate() {
        // SAFETY: the list lies in those slots, by contract.
        let slot = unsafe { live.get(span.slot) };
        // SAFETY: the objects of a list lie within their slots.
        let bytes = unsafe { slot.at(span.offset) };
        // SAFETY: the objects are mapped, by contract, and this one has as many bytes as its span.
        if let Some(byte) = unsafe { text.check(bytes.as_ptr(), span.len) } {
            return Err(ArrowError::NotUtf8 { index, byte });
        }
    }
    Ok(())
}

/// Looks whether records are UTF-8. They are copied into a place of its own first, a part at a time: what may change
/// while it is looked at can be nothing to the compiler.
pub(super) struct Utf8(Scratch<u8>);

/// Bytes looked at in one go: what a fast cache holds.
const UTF8_CHECK_BYTES: usize = 16 * 1024;

impl Utf8 {
    /// Nothing is looked at, and no memory taken, where records may be any bytes.
    pub(super) fn new(content: Content, is_secret: bool) -> Result<Self, Error> {
        let looked_at = if content == Content::Utf8 { UTF8_CHECK_BYTES } else { 0 };
        Scratch::zeroed(is_secret, looked_at).map(Self)
    }

    /// Where a record that was copied stops being UTF-8; nothing if that is not asked for.
    #[inline(always)]
    pub(super) fn check_copied(&self, record: &[u8]) -> Option<usize> {
        if self.0.is_empty() { None } else { std::str::from_utf8(record).err().map(|error| error.valid_up_to()) }
    }

    /// Where a record in a group stops being UTF-8; nothing if that is not asked for.
    ///
    /// # Safety
    /// There must be `len` bytes at `from`.
    #[inline(always)]
    pub(super) unsafe fn check(&mut self, from: *const u8, len: usize) -> Option<usize> {
        // SAFETY: there are len bytes, by contract.
        if self.0.is_empty() { None } else { unsafe { self.look(from, len) } }
    }

    /// # Safety
    /// There must be `len` bytes at `from`.
    unsafe fn look(&mut self, from: *const u8, len: usize) -> Option<usize> {
        let place = &mut self.0[..];
        // Of a character that the last part had no end of, so many bytes stand at the beginning of the place.
        let (mut at, mut carried) = (0, 0);
        while at < len {
            let many = (len - at).min(place.len() - carried);
            // SAFETY: of the len bytes at from, as many lie behind the first at.
            unsafe { fetch(&mut place[carried..carried + many], from.wrapping_add(at)) };
            let there = carried + many;
            at += many;
            carried = match std::str::from_utf8(&place[..there]) {
                Ok(_) => 0,
                Err(error) if error.error_len().is_none() && at < len => {
                    place.copy_within(error.valid_up_to()..there, 0);
                    there - error.valid_up_to()
                }
                Err(error) => return Some(at - there + error.valid_up_to()),
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::Scatter;
    use super::super::views::views;
    use super::*;
    use crate::{List, MemGroup};
    use proptest::prelude::*;

    /// The slots of lists that are borrowed.
    fn live<'a>() -> LiveSlots<'a> {
        // SAFETY: the tests use it while they hold the group.
        unsafe { LiveSlots::new() }
    }

    fn checked(list: &List<'_>, part: Part) -> Result<(), ArrowError> {
        // SAFETY: the list keeps its objects mapped while it is borrowed.
        unsafe { check_utf8(live(), list.layout(), part) }
    }

    proptest! {
        #[test]
        fn text_is_what_std_takes_for_text(
            records in prop::collection::vec(
                prop_oneof![any::<String>().prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..20)], 1..20,
            ),
        ) {
            let group = MemGroup::new().unwrap();
            let sizes: Vec<_> = records.iter().map(Vec::len).collect();
            let mut list = group.alloc_many(&sizes).unwrap();
            list.fill_from(&records.concat()).unwrap();
            let bad = records.iter().enumerate().find_map(|(index, record)| {
                Some(ArrowError::NotUtf8 { index, byte: std::str::from_utf8(record).err()?.valid_up_to() })
            });
            let part = Part::all(sizes.len());
            // SAFETY: the list keeps its objects mapped while it is borrowed.
            let laid_out = unsafe { views(live(), list.layout(), part, Content::Utf8, Scatter::Allowed) };
            prop_assert_eq!(laid_out.err(), bad.clone());
            prop_assert_eq!(checked(&list, part).err(), bad);
        }
    }

    #[test]
    fn a_long_text_is_looked_at_across_the_parts() {
        let group = MemGroup::new().unwrap();
        let text = "a€".repeat(2 * UTF8_CHECK_BYTES); // each part ends within a character
        let mut list = group.alloc_many(&[text.len()]).unwrap();
        list[0].copy_from_slice(text.as_bytes());
        let part = Part::all(1);
        assert_eq!(checked(&list, part), Ok(()));
        for byte in [text.len() - 1, UTF8_CHECK_BYTES, UTF8_CHECK_BYTES + 1, 3 * UTF8_CHECK_BYTES - 1, 0] {
            list[0].copy_from_slice(text.as_bytes());
            list[0][byte] = 0xff;
            let expected = std::str::from_utf8(&list[0]).unwrap_err().valid_up_to();
            let found = checked(&list, part);
            assert_eq!(found, Err(ArrowError::NotUtf8 { index: 0, byte: expected }));
        }
    }
}
