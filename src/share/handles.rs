//! Objects handed to other processes by somebody else's messages: a handle is the bytes of a message whose descriptors are asked for.
//!
//! Whoever has a handle asks the process that made it for the descriptors of what it does not know yet.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::os::fork::{self, NoFork, SharedPerProcess};
use crate::os::messages::MAX_DESCRIPTORS;
use crate::os::{ReceivedFile, SharedFile};
use crate::share::ShareError;
use crate::share::arrived::Arrived;
use crate::share::list::Outgoing;
use crate::share::wire::{Announcement, Message, SegmentId};

/// So many of those that were taken back last, each handle names.
const MAX_NAMED: usize = 16;

/// What this process has made handles of. Locked only while no fork is under way.
static EXPORTED: SharedPerProcess<Mutex<Exported>> = SharedPerProcess::new();

/// What it has got by handles.
static IMPORTED: SharedPerProcess<Mutex<HashMap<SegmentId, Weak<ReceivedFile>>>> = SharedPerProcess::new();

#[derive(Default)]
struct Exported {
    files: HashMap<SegmentId, Weak<SharedFile>>,
    ended: u64,
    retired: VecDeque<SegmentId>,
}

fn lock<T: Default + Send>(
    table: &'static SharedPerProcess<Mutex<T>>,
) -> Result<(NoFork, MutexGuard<'static, T>), ShareError> {
    let out_of_memory = || ShareError::Socket(libc::ENOMEM);
    let no_fork = fork::hold_off().ok_or_else(out_of_memory)?;
    let table = table.get().ok_or_else(out_of_memory)?;
    Ok((no_fork, table.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// The handle of an object. From now on [`exported`] finds its memory, for as long as the group has it.
///
/// # Errors
/// [`ShareError::Scattered`] for more than a handle can name.
pub(crate) fn encode(outgoing: Outgoing) -> Result<Vec<u8>, ShareError> {
    let Outgoing { object, files } = outgoing;
    let mut announced: Vec<Announcement> = Vec::new();
    let (_no_fork, mut exported) = lock(&EXPORTED)?;
    exported.find_retired();
    for file in &files {
        let segment = file.id();
        if announced.iter().all(|known| known.segment != segment) {
            announced.push(Announcement { segment, capacity: file.len() as u64 });
            file.lose_sight();
            exported.files.insert(segment, Arc::downgrade(file));
        }
    }
    if announced.len() > MAX_DESCRIPTORS {
        return Err(ShareError::Scattered { slots: announced.len(), most: MAX_DESCRIPTORS });
    }
    let retired = exported.retired.iter().copied().collect();
    Ok(Message { announced, retired, released: Vec::new(), object }.encode()?)
}

/// The file of that number, if this process has made a handle of it, and still has it.
pub(crate) fn exported(segment: SegmentId) -> Option<Arc<SharedFile>> {
    let (_no_fork, exported) = lock(&EXPORTED).ok()?;
    exported.files.get(&segment)?.upgrade()
}

impl Exported {
    fn find_retired(&mut self) {
        let ended = SharedFile::ended();
        if ended != self.ended {
            self.ended = ended;
            let retired = &mut self.retired;
            self.files.retain(|&segment, file| {
                let is_there = file.strong_count() > 0;
                if !is_there {
                    retired.push_back(segment);
                }
                is_there
            });
            retired.drain(..retired.len().saturating_sub(MAX_NAMED));
        }
    }
}

/// What of the memory of a handle this process does not have.
pub(crate) fn missing(handle: &Message) -> Result<Vec<SegmentId>, ShareError> {
    let (_no_fork, imported) = lock(&IMPORTED)?;
    let is_there = |segment: &SegmentId| imported.get(segment).is_some_and(|file| file.strong_count() > 0);
    let segments = handle.announced.iter().map(|announcement| announcement.segment);
    Ok(segments.filter(|segment| !is_there(segment)).collect())
}

/// Takes what a handle hands over, with the descriptors of what was missing.
///
/// # Errors
/// As [`Channel::receive`](crate::share::channel::Channel::receive).
pub(crate) fn import(handle: Message, new: Vec<(SegmentId, OwnedFd)>) -> Result<Arrived, ShareError> {
    let mut mapped = HashMap::new();
    for (segment, file) in new {
        let announced = handle.announced.iter().find(|announced| announced.segment == segment);
        let capacity = announced.and_then(|announced| usize::try_from(announced.capacity).ok());
        let file = ReceivedFile::map(file, capacity.ok_or(ShareError::Unknown)?)?;
        // A handle is part of a pickle: who sends one can have this process run any code.
        file.trust_sender();
        mapped.insert(segment, Arc::new(file));
    }
    let (_no_fork, mut imported) = lock(&IMPORTED)?;
    imported.retain(|_, file| file.strong_count() > 0);
    let memory = handle.object.segments().into_iter().map(|segment| {
        // Who came first keeps what it has mapped.
        let known = imported.get(&segment).and_then(Weak::upgrade);
        let file = known.or_else(|| mapped.get(&segment).cloned()).ok_or(ShareError::Unknown)?;
        imported.insert(segment, Arc::downgrade(&file));
        Ok(file)
    });
    let memory = memory.collect::<Result<Vec<_>, ShareError>>()?;
    Arrived::checked(handle.object, memory)
}
