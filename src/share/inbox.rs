//! What came over a socket: which memory is mapped, and which of it nobody here uses any more.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::os::{ReceivedFile, fork, messages};
use crate::share::ShareError;
use crate::share::arrived::{Arrived, Outcome};
use crate::share::wire::{Announcement, HEADER, Header, MAX_BODY, MAX_SEGMENTS, Message, Release, SegmentId};

#[derive(Default)]
pub(super) struct Inbox {
    segments: HashMap<SegmentId, Received>,
    /// Those that were named since they were last released.
    in_use: Vec<SegmentId>,
    /// What came while releases were looked for.
    pub(super) waiting: Option<Arrived>,
    /// What there is of a message.
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    is_cut: bool,
}

/// Memory that came.
struct Received {
    file: Arc<ReceivedFile>,
    /// How many messages have named it.
    messages: u64,
    is_in_use: bool,
    /// How often this process had forked when it came into use.
    forks: u32,
    /// Whether a child may use it for ever.
    is_inherited: bool,
}

impl Received {
    fn new(file: Arc<ReceivedFile>) -> Self {
        Self { file, messages: 0, is_in_use: false, forks: 0, is_inherited: false }
    }
}

impl Inbox {
    /// Receives a message without waiting: what it hands over, and of which memory its sender says that it is done with it.
    pub(super) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        is_stream: bool,
    ) -> Result<Outcome<(Arrived, Vec<Release>)>, ShareError> {
        let result = self.receive_some(fd, is_stream);
        if !matches!(result, Ok(Outcome::Wait)) {
            self.bytes.clear();
            self.descriptors.clear();
            self.is_cut = false;
        }
        result
    }

    fn receive_some(
        &mut self,
        fd: BorrowedFd<'_>,
        is_stream: bool,
    ) -> Result<Outcome<(Arrived, Vec<Release>)>, ShareError> {
        loop {
            let missing = match is_stream {
                true => self.missing()?,
                // A socket of messages gives each of them whole.
                false if self.bytes.is_empty() => HEADER + MAX_BODY,
                false => 0,
            };
            if missing == 0 {
                return self.take().map(Outcome::Done);
            }
            let have = self.bytes.len();
            self.bytes.resize(have + missing, 0);
            let came = messages::receive(fd, &mut self.bytes[have..], &mut self.descriptors);
            self.bytes.truncate(have + came.as_ref().map_or(0, |came| came.bytes));
            match came {
                Ok(came) => {
                    self.is_cut |= came.is_cut;
                    if came.bytes == 0 {
                        if is_stream {
                            // Nothing will name it any more.
                            self.segments.clear();
                        }
                        return Err(if have == 0 { ShareError::Closed } else { ShareError::Cut { came: have } });
                    }
                }
                Err(libc::EAGAIN) => return Ok(Outcome::Wait),
                Err(code) => return Err(ShareError::Socket(code)),
            }
        }
    }

    /// How many bytes of the message are still to come.
    fn missing(&self) -> Result<usize, ShareError> {
        match self.bytes.first_chunk() {
            None => Ok(HEADER - self.bytes.len()),
            Some(header) => Ok(HEADER + Header::decode(header)?.body - self.bytes.len()),
        }
    }

    /// Takes the message that is there.
    fn take(&mut self) -> Result<(Arrived, Vec<Release>), ShareError> {
        let message = Message::decode(&self.bytes)?;
        let (came, announced) = (self.descriptors.len(), message.announced.len());
        if self.is_cut || came != announced {
            return Err(ShareError::Descriptors { came, announced });
        }
        let mut new = HashMap::new();
        for (announcement, file) in message.announced.iter().zip(self.descriptors.drain(..)) {
            let known = self.segments.get(&announcement.segment).map(|received| &received.file);
            new.insert(announcement.segment, map(known, announcement, file)?);
        }
        if self.segments.len() + new.len() > MAX_SEGMENTS {
            return Err(ShareError::Unfit(format!("it is more than {MAX_SEGMENTS} pieces over one socket")));
        }
        let segments = message.object.segments();
        let find = |segment: &SegmentId| {
            let known = || self.segments.get(segment).map(|received| &received.file);
            new.get(segment).or_else(known).cloned().ok_or(ShareError::Unknown)
        };
        let memory = segments.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let arrived = Arrived::checked(message.object, memory)?;
        // Nothing is refused any more.
        for segment in &message.retired {
            self.segments.remove(segment);
        }
        for (segment, file) in new {
            self.segments.entry(segment).or_insert_with(|| Received::new(file));
        }
        self.note_named(segments.into_iter().collect());
        Ok((arrived, message.released))
    }

    fn note_named(&mut self, segments: HashSet<SegmentId>) {
        for segment in segments {
            let Some(received) = self.segments.get_mut(&segment) else { continue };
            received.messages += 1;
            if !received.is_in_use {
                received.is_in_use = true;
                received.forks = fork::count();
                self.in_use.push(segment);
            }
        }
    }

    /// What nobody in this process uses any more, and no child of it, of what its sender has not been told.
    pub(super) fn find_released(&mut self) -> Vec<Release> {
        let Self { segments, in_use, .. } = self;
        let (mut released, forks) = (Vec::new(), fork::count());
        in_use.retain(|&segment| {
            let Some(received) = segments.get_mut(&segment) else { return false };
            // A child that was forked meanwhile has what this process had then, for as long as it likes.
            received.is_inherited |= received.forks != forks;
            // Only this inbox makes more of them, so that the last one stays the last.
            if received.is_inherited || Arc::strong_count(&received.file) > 1 {
                return !received.is_inherited;
            }
            received.is_in_use = false;
            released.push(Release { segment, messages: received.messages });
            false
        });
        // Whatever other threads have read of it they have read before the sender is told.
        fence(Ordering::Acquire);
        released
    }
}

/// Maps what was announced, unless it is known.
fn map(
    known: Option<&Arc<ReceivedFile>>,
    &Announcement { capacity, .. }: &Announcement,
    file: OwnedFd,
) -> Result<Arc<ReceivedFile>, ShareError> {
    match known {
        // Parent and child, who have the socket both, have announced it.
        Some(mapped) if mapped.is_same(file.as_fd()) => Ok(Arc::clone(mapped)),
        Some(_) => Err(ShareError::Unfit("other memory with the same number was received before".into())),
        None => {
            let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
            Ok(Arc::new(ReceivedFile::map(file, capacity)?))
        }
    }
}
