//! Frames of streams that come in pieces of all sizes.

use super::*;
use crate::io::framing::{ByteOrder, Misfit};
use proptest::prelude::*;

/// A format, and what writes its frames. Every byte that is not shown is 0xEE.
#[derive(Debug, Clone)]
struct Case {
    format: Format,
    before: usize,
    size: usize,
    is_big: bool,
    behind: usize,
    counted: usize,
    shows_header: bool,
    /// Bytes of a payload that are skipped with the header.
    skipped: usize,
    trailer: usize,
}

const LIMIT: usize = 400;

fn cases() -> impl Strategy<Value = Case> {
    (0..5usize, 0..9usize, any::<bool>(), 0..4usize, any::<bool>(), any::<bool>(), 0..5usize, 0..9usize).prop_map(
        |(before, size, is_big, behind, counts_all, shows_header, trailer, skipped)| {
            let behind = if size == 0 { 0 } else { behind };
            let header = before + size + behind;
            let format = if size == 0 { Format::varint() } else { Format::fixed(size).header(header) };
            let order = if is_big { ByteOrder::Big } else { ByteOrder::Little };
            let counted = if counts_all && size > 0 { header + trailer } else { 0 };
            let mut format = format.length_offset(before).byte_order(order).adjust(-(counted as i64));
            if shows_header {
                format = format.skip(0);
            }
            let skipped = if shows_header || size == 0 { 0 } else { skipped };
            if skipped > 0 {
                format = format.skip(header + skipped);
            }
            let format = format.trailer(trailer).limit(LIMIT);
            Case { format, before, size, is_big, behind, counted, shows_header, skipped, trailer }
        },
    )
}

impl Case {
    fn header(&self, payload: usize) -> Vec<u8> {
        let length = (payload + self.counted) as u64;
        let mut header = vec![0xEE; self.before];
        match self.size {
            0 => {
                let mut rest = length;
                while rest >= 0x80 {
                    header.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                header.push(rest as u8);
            }
            size if self.is_big => header.extend(&length.to_be_bytes()[8 - size..]),
            size => header.extend(&length.to_le_bytes()[..size]),
        }
        header.extend(vec![0xEE; self.behind]);
        header
    }

    /// What is shown of the frame with a payload, and all of its bytes.
    fn frame(&self, payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let header = self.header(payload.len());
        let front: &[u8] = if self.shows_header { &header } else { &[] };
        ([front, &payload[self.skipped..]].concat(), [&header[..], payload, &vec![0xEE; self.trailer]].concat())
    }

    /// Payloads that the length can say, and with enough bytes to skip.
    fn fits(&self, payload: &[u8]) -> bool {
        payload.len() >= self.skipped && (self.size != 1 || payload.len() + self.counted < 256)
    }
}

/// A reader that stores bodies in vectors.
struct Reader {
    frames: Frames,
    body: Vec<u8>,
}

impl Reader {
    fn new(format: Format, most: usize) -> Self {
        Self { frames: Frames::new(Decoder::new(format).unwrap(), most).unwrap(), body: Vec::new() }
    }

    /// The next body that is there.
    fn take(&mut self) -> Option<Vec<u8>> {
        if self.frames.body.is_some() {
            return None;
        }
        match self.frames.next().unwrap() {
            Next::Whole(extent) => {
                let whole = self.frames.whole(extent).to_vec();
                self.frames.pass(extent);
                return Some(whole);
            }
            Next::Begun(extent) => {
                self.body = vec![0; extent.size()];
                let begun = self.frames.begin(extent);
                self.body[..begun.len()].copy_from_slice(begun);
            }
            Next::Unknown => {}
        }
        None
    }

    /// Reads at most so many bytes of a stream, as `readv` would; a body that this made complete.
    fn read(&mut self, stream: &mut &[u8], most: usize) -> Option<Vec<u8>> {
        let Destination { from, lacking, ahead } = self.frames.room().unwrap();
        let count = most.min(lacking + ahead.len()).min(stream.len());
        assert!(lacking + ahead.len() > 0);
        let (now, later) = stream.split_at(count);
        let (to_body, to_ahead) = now.split_at(count.min(lacking));
        self.body[from..from + to_body.len()].copy_from_slice(to_body);
        ahead[..to_ahead.len()].copy_from_slice(to_ahead);
        *stream = later;
        self.frames.arrived(count).then(|| std::mem::take(&mut self.body))
    }
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_the_stream_is_split(
        case in cases(),
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        ahead in prop_oneof![Just(0), 1..9usize, 1..40usize, Just(5000)],
        reads in prop::collection::vec(1..300usize, 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let (bodies, wholes): (Vec<_>, Vec<_>) =
            payloads.iter().filter(|payload| case.fits(payload)).map(|payload| case.frame(payload)).unzip();
        let stream = wholes.concat();
        let end = cut.index(stream.len() + 1);
        let mut rest = &stream[..end];
        let mut reader = Reader::new(case.format.clone(), ahead);
        let mut found = Vec::new();
        let mut behind = 0;
        for most in reads.iter().cycle() {
            while let Some(body) = reader.take() {
                behind += wholes[found.len()].len();
                prop_assert!(end - rest.len() <= behind + ahead);
                found.push(body);
            }
            if rest.is_empty() {
                break;
            }
            if let Some(body) = reader.read(&mut rest, *most) {
                behind += wholes[found.len()].len();
                // Nothing beyond the frame was touched unless it was allowed.
                prop_assert!(end - rest.len() <= behind + ahead);
                found.push(body);
            }
        }
        prop_assert_eq!(&found[..], &bodies[..found.len()]);
        prop_assert_eq!(reader.frames.decoder.offset(), behind as u64);
        prop_assert_eq!(reader.frames.decoder.frames(), found.len() as u64);
        // What is left of the stream is what is unfinished.
        let front = |size| wholes[found.len()].len() - case.trailer - size;
        let left = match reader.frames.unfinished() {
            Unfinished::Nothing | Unfinished::Record { .. } => 0,
            Unfinished::Header { there, size } => {
                prop_assert!(there < size);
                prop_assert_eq!(reader.frames.ahead(), &stream[behind..end]);
                there
            }
            Unfinished::Body { there, size } => {
                prop_assert!(there < size);
                prop_assert_eq!(&reader.body[..there], &bodies[found.len()][..there]);
                front(size) + there
            }
            Unfinished::Trailer { there, size } => {
                prop_assert!(there < size);
                prop_assert_eq!(&reader.body, &bodies[found.len()]);
                wholes[found.len()].len() - size + there
            }
        };
        prop_assert_eq!(behind + left, end);
    }

    #[test]
    fn records_come_out_whatever_their_delimiter_and_the_pieces(
        records in prop::collection::vec(prop::collection::vec(b'a'..b'd', 0..60), 0..20),
        delimiter in prop::sample::select(vec![&b"\n"[..], b"\r\n", b"--x"]),
        ahead in prop_oneof![Just(0), 1..9usize, Just(5000)],
        reads in prop::collection::vec(1..70usize, 1..20),
    ) {
        let stream: Vec<u8> = records.iter().flat_map(|record| [record, delimiter].concat()).collect();
        let mut rest = &stream[..];
        let mut reader = Reader::new(Format::delimited(delimiter).limit(60), ahead);
        let mut found = Vec::new();
        let mut behind = 0;
        for most in reads.iter().cycle() {
            while let Some(record) = reader.take() {
                behind += record.len() + delimiter.len();
                prop_assert!(stream.len() - rest.len() <= behind + ahead);
                found.push(record);
            }
            if rest.is_empty() {
                break;
            }
            prop_assert!(reader.read(&mut rest, *most).is_none());
        }
        prop_assert_eq!(found, records);
        prop_assert_eq!(reader.frames.unfinished(), Unfinished::Nothing);
    }

    #[test]
    fn many_frames_are_found_at_once_and_stay_until_they_are_passed(
        case in cases(),
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
        most in 0..25usize,
        last in 0..25usize,
    ) {
        let (bodies, wholes): (Vec<_>, Vec<_>) =
            payloads.iter().filter(|payload| case.fits(payload)).map(|payload| case.frame(payload)).unzip();
        let mut reader = Reader::new(case.format, 10_000);
        let mut stream = &wholes.concat()[..];
        reader.read(&mut stream, usize::MAX);
        let is_last = |body: &[u8]| bodies.get(last).is_some_and(|last| body == last);
        let last = bodies.iter().position(|body| is_last(body)).map_or(usize::MAX, |last| last + 1);
        let expected = most.min(bodies.len()).min(last);
        for _ in 0..2 {
            let mut found = Vec::with_capacity(20);
            let all = reader.frames.find(most, is_last, &mut found).unwrap();
            prop_assert_eq!(found.len(), expected);
            prop_assert_eq!(all, Found { bytes: wholes[..expected].concat().len(), is_last: expected == last });
            for (place, body) in found.into_iter().zip(&bodies) {
                prop_assert_eq!(&reader.frames.ahead()[place], &body[..]);
            }
        }
        let bytes = wholes[..expected].concat().len();
        reader.frames.pass_many(expected, Found { bytes, is_last: false });
        prop_assert_eq!(reader.frames.decoder.offset(), bytes as u64);
        prop_assert_eq!(reader.frames.decoder.frames(), expected as u64);
        prop_assert_eq!(reader.take(), bodies.get(expected).cloned());
    }
}

/// A sequence of numbers that looks random, the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ mixed >> 27
    }

    fn below(&mut self, most: u64) -> usize {
        (self.next() % most) as usize
    }
}

#[test]
fn a_million_random_headers_announce_nothing_beyond_the_limit() {
    let mut noise = Noise(1);
    let mut outcomes = [0; 4];
    for _ in 0..10_000 {
        let (before, size, behind) = (noise.below(6), 1 + noise.below(8), noise.below(6));
        let adjust = match noise.below(4) {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => noise.next() as i64 >> noise.below(64),
        };
        let (format, most_skipped) = match noise.below(4) {
            0 => (Format::varint(), before as u64),
            _ => (Format::fixed(size).header(before + size + behind), 40),
        };
        let format = format.length_offset(before).adjust(adjust).trailer(noise.below(9)).limit(noise.below(1 << 20));
        let skip = noise.below(most_skipped + 1);
        let limit = format.longest_record() - format.least_buffer();
        let mut decoder = Decoder::new(format.skip(skip)).unwrap();
        for _ in 0..100 {
            let mut header: Vec<u8> = (0..3).flat_map(|_| noise.next().to_le_bytes()).collect();
            if noise.below(2) == 0 {
                header.fill([0, 0xFF][noise.below(2)]);
            }
            header.truncate(noise.below(25));
            let outcome = match decoder.peek(&header) {
                Ok(Known::Whole(extent) | Known::Begun(extent)) => {
                    assert!(extent.start <= extent.end && extent.end <= extent.len && extent.size() <= limit);
                    0
                }
                Ok(Known::Unknown(missing)) => {
                    assert!((1..=40).contains(&missing));
                    1
                }
                Err(OutOfStep { misfit: Misfit::TooLarge { size, .. }, offset, frame }) => {
                    assert!(size > limit as u64 && (offset, frame) == (0, 0));
                    2
                }
                Err(_) => 3,
            };
            outcomes[outcome] += 1;
        }
    }
    assert_eq!(outcomes.iter().sum::<i32>(), 1_000_000);
    assert!(outcomes.iter().all(|&count| count > 1000), "{outcomes:?}");
}

#[test]
fn a_header_that_cannot_be_one_is_told_with_its_place_and_stays() {
    let mut reader = Reader::new(Format::fixed(2).limit(10), 64);
    let mut stream = &b"\0\x03abc\0\0\x01\0..."[..];
    reader.read(&mut stream, 64);
    assert_eq!(reader.take().unwrap(), b"abc");
    assert_eq!(reader.take().unwrap(), b"");
    for _ in 0..2 {
        let misfit = Misfit::TooLarge { size: 256, limit: 10 };
        assert_eq!(reader.frames.next(), Err(OutOfStep { offset: 7, frame: 2, misfit }));
        assert_eq!(reader.frames.ahead(), b"\x01\0...");
    }
}

#[test]
fn a_long_record_is_searched_once_and_no_longer_than_the_limit() {
    let mut reader = Reader::new(Format::delimited(*b"\n").limit(100_000), 64);
    let mut stream = &vec![b'x'; 300_000][..];
    let misfit = loop {
        reader.read(&mut stream, 64);
        if let Err(OutOfStep { misfit, .. }) = reader.frames.next() {
            break misfit;
        }
    };
    assert!(matches!(misfit, Misfit::NoDelimiter { size, limit: 100_000 } if size == 100_001));
    assert!(reader.frames.buffer.len() <= 100_001);
}

#[test]
fn little_is_read_behind_a_large_body() {
    let mut frames = Frames::new(Decoder::new(Format::fixed(4)).unwrap(), 65536).unwrap();
    assert_eq!(frames.room().unwrap().ahead.len(), 65536);
    frames.room().unwrap().ahead[..4].copy_from_slice(&100_000_u32.to_be_bytes());
    frames.arrived(4);
    let Next::Begun(extent) = frames.next().unwrap() else { panic!("it is not there") };
    assert_eq!(frames.begin(extent), b"");
    let Destination { from, lacking, ahead } = frames.room().unwrap();
    assert_eq!((from, lacking, ahead.len()), (0, 100_000, READ_BEHIND_LARGE_BYTES));
    assert!(frames.arrived(100_000));
    assert_eq!(frames.room().unwrap().ahead.len(), READ_BEHIND_LARGE_BYTES);
    // A small one behind it, and all is as before.
    frames.room().unwrap().ahead[..4].copy_from_slice(&0_u32.to_be_bytes());
    frames.arrived(4);
    let Next::Whole(extent) = frames.next().unwrap() else { panic!("it is there") };
    frames.pass(extent);
    assert_eq!(frames.room().unwrap().ahead.len(), 65536);
}
