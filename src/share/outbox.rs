//! What was sent over a socket: which memory the other end has, and which of it is not to be used again until it says so.

use std::collections::HashMap;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Weak};

use crate::os::SharedFile;
use crate::os::messages::{self, MAX_DESCRIPTORS};
use crate::share::ShareError;
use crate::share::arrived::Outcome;
use crate::share::wire::{
    Announcement, MAX_NAMED, MAX_RELEASED, MAX_RETIRED, MAX_SEGMENTS, Message, Object, Release, SegmentId,
};

/// Memory that is being sent: a reset does not use it again meanwhile. To be made while the group cannot be reset.
#[derive(Debug)]
pub(crate) struct Sending(Arc<SharedFile>);

impl Sending {
    pub(crate) fn new(file: Arc<SharedFile>) -> Self {
        file.add_reader();
        Self(file)
    }

    pub(crate) fn id(&self) -> SegmentId {
        SegmentId(self.0.id())
    }
}

impl Deref for Sending {
    type Target = Arc<SharedFile>;

    fn deref(&self) -> &Arc<SharedFile> {
        &self.0
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.remove_reader();
    }
}

#[derive(Default)]
pub(super) struct Outbox {
    announced: HashMap<SegmentId, Announced>,
    /// Taken back, and still to be told.
    retired: Vec<SegmentId>,
    /// Memory of the other end that is not used any more here, and still to be told.
    released: Vec<Release>,
    /// How many files had ended when that was last looked at.
    ended: u64,
    /// The rest of a message that there was no room for.
    rest: Vec<u8>,
}

/// Memory that the other end has.
struct Announced {
    file: Weak<SharedFile>,
    /// How many messages have named it.
    messages: u64,
    /// Whether the other end has not said that it is done with all of them.
    is_read: bool,
}

impl Announced {
    fn new(file: &Arc<SharedFile>) -> Self {
        Self { file: Arc::downgrade(file), messages: 0, is_read: false }
    }
}

impl Outbox {
    /// Sends a message without waiting, and before it what it needs of memory that is more than it can carry.
    ///
    /// # Errors
    /// [`ShareError::Scattered`] and [`ShareError::Crowded`] before anything is sent, [`ShareError::Malformed`], [`ShareError::Socket`].
    pub(super) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        files: &[Sending],
        object: &Object,
    ) -> Result<Outcome<()>, ShareError> {
        let named = object.named();
        if named > MAX_NAMED {
            return Err(ShareError::Scattered { slots: named, most: MAX_NAMED });
        }
        self.find_retired();
        let files = distinct(files);
        let mut new: Vec<_> = files.iter().copied().filter(|file| !self.announced.contains_key(&file.id())).collect();
        let all = self.announced.len() + new.len();
        if all > MAX_SEGMENTS {
            return Err(ShareError::Crowded { slots: all });
        }
        let nothing = Object::Memory(Vec::new());
        while all + self.retired.len() > MAX_SEGMENTS {
            if self.post(fd, &[], &nothing)? == Outcome::Wait {
                return Ok(Outcome::Wait);
            }
        }
        while new.len() > MAX_DESCRIPTORS {
            let rest = new.split_off(MAX_DESCRIPTORS);
            if self.post(fd, &new, &nothing)? == Outcome::Wait {
                return Ok(Outcome::Wait);
            }
            new = rest;
        }
        let outcome = self.post(fd, &new, object)?;
        if outcome != Outcome::Wait {
            files.into_iter().for_each(|file| self.note_named(file));
        }
        Ok(outcome)
    }

    /// Sends one message that announces `new`, as far as the socket takes it at once.
    fn post(&mut self, fd: BorrowedFd<'_>, new: &[&Sending], object: &Object) -> Result<Outcome<()>, ShareError> {
        if self.flush(fd)? == Outcome::Wait {
            return Ok(Outcome::Wait);
        }
        let announcement = |file: &&Sending| Announcement { segment: file.id(), capacity: file.len() as u64 };
        let message = Message {
            announced: new.iter().map(announcement).collect(),
            retired: self.retired.iter().take(MAX_RETIRED).copied().collect(),
            released: self.released.iter().take(MAX_RELEASED).copied().collect(),
            object: object.clone(),
        };
        let bytes = message.encode()?;
        let descriptors: Vec<_> = new.iter().map(|file| file.reader().as_raw_fd()).collect();
        match messages::send(fd, &bytes, &descriptors) {
            Ok(sent) => {
                new.iter().for_each(|file| drop(self.announced.insert(file.id(), Announced::new(file))));
                self.retired.drain(..message.retired.len());
                self.released.drain(..message.released.len());
                self.rest = bytes[sent..].to_vec();
                Ok(Outcome::Done(()))
            }
            Err(libc::EAGAIN) => Ok(Outcome::Wait),
            Err(code) => Err(ShareError::Socket(code)),
        }
    }

    /// Notes that a message has named memory, which `file` has kept from being used again until now.
    fn note_named(&mut self, file: &Sending) {
        let announced = self.announced.entry(file.id()).or_insert_with(|| Announced::new(file));
        announced.messages += 1;
        if !announced.is_read {
            announced.is_read = true;
            file.add_reader();
        }
    }

    /// Notes what the other end has said that it is done with: of how much memory that is true. A message that is still under
    /// way to it, or that another process got, it has not counted.
    pub(super) fn note_released(&mut self, released: &[Release]) -> usize {
        let mut done = 0;
        for release in released {
            let Some(announced) = self.announced.get_mut(&release.segment) else { continue };
            if announced.is_read && announced.messages == release.messages {
                announced.is_read = false;
                if let Some(file) = announced.file.upgrade() {
                    file.remove_reader();
                    done += 1;
                }
            }
        }
        done
    }

    /// Adds to what the other end is to be told.
    pub(super) fn add_released(&mut self, released: Vec<Release>) {
        self.released.extend(released);
    }

    /// How much it is to be told that this end is done with.
    pub(super) fn released(&self) -> usize {
        self.released.len()
    }

    /// Finds the files that have ended since, which will never be named again.
    fn find_retired(&mut self) {
        let ended = SharedFile::ended();
        if ended != self.ended {
            self.ended = ended;
            let retired = &mut self.retired;
            self.announced.retain(|&segment, announced| {
                let is_there = announced.file.strong_count() > 0;
                if !is_there {
                    retired.push(segment);
                }
                is_there
            });
        }
    }

    /// Sends the rest of a message.
    pub(super) fn flush(&mut self, fd: BorrowedFd<'_>) -> Result<Outcome<()>, ShareError> {
        while !self.rest.is_empty() {
            match messages::send(fd, &self.rest, &[]) {
                Ok(sent) => drop(self.rest.drain(..sent)),
                Err(libc::EAGAIN) => return Ok(Outcome::Wait),
                Err(code) => return Err(ShareError::Socket(code)),
            }
        }
        Ok(Outcome::Done(()))
    }
}

/// Each file once: a list's table may lie where its objects do.
fn distinct(files: &[Sending]) -> Vec<&Sending> {
    let is_first = |&(index, file): &(usize, &Sending)| files[..index].iter().all(|other| other.id() != file.id());
    files.iter().enumerate().filter(is_first).map(|(_, file)| file).collect()
}
