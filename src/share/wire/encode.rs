//! Messages as bytes.

use super::{
    Announcement, Columns, Extent, HEADER, MAGIC, Malformed, Message, Object, Release, Result, TOO_LONG,
    TOO_MANY_DIMENSIONS, VERSION, View,
};

impl Message {
    /// The bytes of the message, the first [`HEADER`] of which are the header.
    ///
    /// # Errors
    /// It is too long, or not what its reader would take: too many dimensions, a format beyond [`MAX_FORMAT`].
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; HEADER];
        for Announcement { segment, capacity } in &self.announced {
            bytes.extend_from_slice(&segment.0);
            bytes.extend_from_slice(&capacity.to_le_bytes());
        }
        self.retired.iter().for_each(|segment| bytes.extend_from_slice(&segment.0));
        for Release { segment, messages } in &self.released {
            bytes.extend_from_slice(&segment.0);
            bytes.extend_from_slice(&messages.to_le_bytes());
        }
        match &self.object {
            Object::Block(_) => {}
            Object::Memory(segments) => segments.iter().for_each(|segment| bytes.extend_from_slice(&segment.0)),
            Object::View(_, view) | Object::Array(_, view) => view.encode(&mut bytes),
            Object::List(_, columns) => columns.encode(&mut bytes),
        }
        let (kind, dimensions) = self.object.kind();
        let Extent { segment, offset, len } = self.object.extent();
        let body = bytes.len() - HEADER;
        bytes[..4].copy_from_slice(MAGIC);
        (bytes[4], bytes[5]) = (VERSION, kind);
        bytes[6] = u8::try_from(dimensions).map_err(|_| Malformed(TOO_MANY_DIMENSIONS))?;
        bytes[8..12].copy_from_slice(&u32::try_from(body).map_err(|_| Malformed(TOO_LONG))?.to_le_bytes());
        for (at, count) in [(12, self.announced.len()), (14, self.retired.len()), (48, self.released.len())] {
            bytes[at..at + 2].copy_from_slice(&u16::try_from(count).map_err(|_| Malformed(TOO_LONG))?.to_le_bytes());
        }
        bytes[16..32].copy_from_slice(&segment.0);
        bytes[32..40].copy_from_slice(&offset.to_le_bytes());
        bytes[40..48].copy_from_slice(&len.to_le_bytes());
        // What the other end would refuse is refused here.
        Self::decode(&bytes).map(|_| bytes)
    }
}

impl View {
    fn encode(&self, bytes: &mut Vec<u8>) {
        for number in [self.origin, self.item_size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in self.shape.iter().chain(&self.strides) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.format);
    }
}

impl Columns {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let (size, stride) = self.uniform.unwrap_or_default();
        for number in [self.objects, self.runs, size, stride, self.align] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.segments.iter().for_each(|segment| bytes.extend_from_slice(&segment.0));
    }
}
