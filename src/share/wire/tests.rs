//! Messages that come back as they were, and bytes that are none.

use super::*;
use proptest::prelude::*;

fn extent(len: u64) -> Extent {
    Extent { segment: SegmentId([7; 16]), offset: 4096, len }
}

fn ids() -> impl Strategy<Value = SegmentId> {
    any::<[u8; 16]>().prop_map(SegmentId)
}

fn objects() -> impl Strategy<Value = Object> {
    let view = (0..500u64, 0..9u64, prop::collection::vec((0..5i64, -20..20i64), 0..4), "[a-zA-Z<>=:]{0,9}").prop_map(
        |(origin, item_size, dimensions, format)| {
            let (shape, strides) = dimensions.into_iter().unzip();
            View { origin, item_size, shape, strides, format: format.into_bytes() }
        },
    );
    let list = (0..900u64, 0..5u64, prop::option::of((0..30u64, 1..40u64)), prop::collection::vec(ids(), 0..5))
        .prop_map(|(objects, runs, uniform, segments)| {
            let runs = if objects == 0 { 0 } else { runs.clamp(1, objects) };
            let uniform = uniform.map(|(size, stride)| (size, stride.max(size)));
            Columns { objects, runs, uniform, align: 16, segments }
        });
    prop_oneof![
        (0..1u64 << 40).prop_map(|len| Object::Block(extent(len))),
        view.clone().prop_map(|view| Object::View(extent(1000), view)),
        view.prop_map(|view| Object::Array(extent(1000), view)),
        list.prop_map(|columns| Object::List(extent(columns.table_bytes().unwrap()), columns)),
        prop::collection::vec(ids(), 0..9).prop_map(Object::Memory),
    ]
}

fn messages() -> impl Strategy<Value = Message> {
    let announcement = (ids(), 1..1u64 << 46).prop_map(|(segment, capacity)| Announcement { segment, capacity });
    let release = (ids(), any::<u64>()).prop_map(|(segment, messages)| Release { segment, messages });
    let some = |segments| prop::collection::vec(segments, 0..9);
    (some(ids()), prop::collection::vec(announcement, 0..9), prop::collection::vec(release, 0..9), objects())
        .prop_map(|(retired, announced, released, object)| Message { announced, retired, released, object })
}

#[test]
fn a_block_is_a_header() {
    let message =
        Message { announced: Vec::new(), retired: Vec::new(), released: Vec::new(), object: Object::Block(extent(5)) };
    assert_eq!(message.encode().unwrap().len(), HEADER);
}

#[test]
fn what_is_out_of_its_range_is_refused() {
    let block = |offset, len| Object::Block(Extent { offset, len, ..extent(0) });
    for object in [block(u64::MAX, 1), block(1, u64::MAX), block(0, (1 << 46) + 1), block(1 << 46, 1)] {
        let message = Message { announced: Vec::new(), retired: Vec::new(), released: Vec::new(), object };
        assert_eq!(message.encode(), Err(Malformed("its bytes are beyond the end of any slot")));
    }
    let view = |origin, item_size, shape: &[i64], strides: &[i64]| {
        let view = View { origin, item_size, shape: shape.to_vec(), strides: strides.to_vec(), format: b"B".to_vec() };
        Message {
            announced: Vec::new(),
            retired: Vec::new(),
            released: Vec::new(),
            object: Object::View(extent(100), view),
        }
        .encode()
    };
    assert!(view(99, 1, &[], &[]).is_ok() && view(100, 1, &[], &[]).is_err());
    assert!(view(99, 1, &[100], &[-1]).is_ok() && view(98, 1, &[100], &[-1]).is_err());
    assert!(view(0, 1, &[100], &[1]).is_ok() && view(0, 1, &[101], &[1]).is_err());
    assert!(view(0, 8, &[i64::MAX], &[0]).is_err() && view(0, 1, &[i64::MAX], &[i64::MIN]).is_err());
    assert!(view(0, 1, &[i64::MAX, i64::MAX, 0], &[1, 1, 1]).is_err());
    assert!(view(0, u64::MAX, &[], &[]).is_err() && view(0, 1, &[-1], &[1]).is_err());
    assert!(view(100, 8, &[0], &[8]).is_ok() && view(101, 8, &[0], &[8]).is_err());
}

/// As many messages as the environment variable says, or a quick ten thousand.
fn cases() -> u32 {
    std::env::var("MEMGROUP_FUZZ_MESSAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn a_message_comes_back_as_it_was(message in messages()) {
        if let Ok(bytes) = message.encode() {
            prop_assert_eq!(Message::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn damaged_messages_are_refused_or_consistent(
        message in messages(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let Ok(mut bytes) = message.encode() else { return Ok(()) };
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check_consistent(&bytes)?;
    }

    #[test]
    fn any_bytes_are_refused_or_consistent(head in any::<[u8; 64]>(), body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = [&head[..], &body[..]].concat();
        bytes[..4].copy_from_slice(MAGIC);
        (bytes[4], bytes[5]) = (VERSION, 1 + bytes[5] % 5);
        bytes[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
        (bytes[13], bytes[15], bytes[49]) = (0, 0, 0);
        check_consistent(&bytes)?;
    }
}

/// What is decoded is encoded to the same bytes, but for those that mean nothing, and stays within its bounds.
fn check_consistent(bytes: &[u8]) -> std::result::Result<(), TestCaseError> {
    let Ok(message) = Message::decode(bytes) else { return Ok(()) };
    let again = message.encode().unwrap();
    prop_assert_eq!(again.len(), bytes.len());
    prop_assert_eq!(Message::decode(&again), Ok(message.clone()));
    let extent = message.object.extent();
    prop_assert!(extent.offset + extent.len <= MAX_SLOT_BYTES as u64);
    if let Object::View(_, view) | Object::Array(_, view) = &message.object {
        prop_assert!(view.fits(extent.len));
    }
    Ok(())
}
