//! What this process knows of a socket: which memory went over it, and which came.
//!
//! Memory is announced once: its descriptor goes with the first message that needs it, and later ones name it by its
//! number. So both ends remember, for as long as the socket is open. Nothing here ever waits: who has nothing to read,
//! or no room to write, is told so, and waits without a lock. A message that stops half-way goes on with the next call.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::os::fork::{self, SharedPerProcess};
use crate::os::messages::{self, MAX_DESCRIPTORS, Socket};
use crate::os::{ReceivedFile, SharedFile};
use crate::share::wire::{Announcement, HEADER, Header, MAX_BODY, MAX_RETIRED, Message, Object, SegmentId};
use crate::share::{self, ShareError};

/// The most memory that one socket may announce: whoever announces more without end means harm.
const MAX_SEGMENTS: usize = 4096;

/// The sockets of this process. Locked only while no fork is under way, and never while anybody waits.
static CHANNELS: SharedPerProcess<Mutex<Channels>> = SharedPerProcess::new();

#[derive(Default)]
struct Channels {
    open: BTreeMap<u64, Arc<Channel>>,
    /// So many there may be before it is found out which of them were closed.
    bound: usize,
}

/// What is known of one socket.
pub(crate) struct Channel {
    socket: Socket,
    outbox: Mutex<Outbox>,
    inbox: Mutex<Inbox>,
}

/// What was sent.
#[derive(Default)]
struct Outbox {
    announced: HashMap<SegmentId, Weak<SharedFile>>,
    /// Taken back, and still to be told.
    retired: Vec<SegmentId>,
    /// How many files had ended when that was last looked at.
    ended: u64,
    /// The rest of a message that there was no room for.
    rest: Vec<u8>,
}

/// What was received.
#[derive(Default)]
struct Inbox {
    segments: HashMap<SegmentId, Arc<ReceivedFile>>,
    /// What there is of a message.
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    is_cut: bool,
}

/// What a step that never waits has to say.
#[derive(Debug, PartialEq, Eq)]
enum Outcome<T> {
    Done(T),
    /// The socket must be waited for first.
    Wait,
}

/// A message that came, with the memory that it names.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) object: Object,
    /// In the order in which the object names it: its extent's first, all bytes of which are there.
    pub(crate) memory: Vec<Arc<ReceivedFile>>,
}

impl Channel {
    /// What is known of a socket.
    ///
    /// # Errors
    /// [`ShareError::Family`], or [`ShareError::Socket`] for what is no socket.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Arc<Self>, ShareError> {
        let out_of_memory = || ShareError::Socket(libc::ENOMEM);
        let _no_fork = fork::hold_off().ok_or_else(out_of_memory)?;
        let mut channels = lock(CHANNELS.get().ok_or_else(out_of_memory)?);
        let cookie = messages::cookie(fd);
        if let Some(channel) = cookie.ok().and_then(|cookie| channels.open.get(&cookie)) {
            return Ok(Arc::clone(channel));
        }
        let socket = Socket::of(fd).map_err(ShareError::Socket)?.ok_or(ShareError::Family)?;
        let (channel, closed) = channels.get(socket);
        drop(channels);
        // Unmaps, which takes a while.
        drop(closed);
        Ok(channel)
    }

    /// Sends an object, and the memory that it lies in where that has not gone over this socket yet. `wait` waits until
    /// the socket takes more; what it raises ends the call. A message of which a part has gone then goes on with the
    /// next call.
    ///
    /// # Errors
    /// [`ShareError::Malformed`] for more than a message can name, [`ShareError::Socket`].
    pub(crate) fn send<E: From<ShareError>>(
        &self,
        fd: BorrowedFd<'_>,
        files: &[Arc<SharedFile>],
        object: &Object,
        mut wait: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        while self.try_send(fd, files, object)? == Outcome::Wait {
            wait()?;
        }
        while self.try_flush(fd)? == Outcome::Wait {
            wait()?;
        }
        Ok(())
    }

    fn try_send(
        &self,
        fd: BorrowedFd<'_>,
        files: &[Arc<SharedFile>],
        object: &Object,
    ) -> Result<Outcome<()>, ShareError> {
        let _no_fork = fork::hold_off();
        let mut outbox = lock(&self.outbox);
        if outbox.flush(fd)? == Outcome::Wait {
            return Ok(Outcome::Wait);
        }
        outbox.find_retired();
        let new: Vec<&Arc<SharedFile>> = files.iter().filter(|file| !outbox.has_announced(file)).collect();
        let announced =
            new.iter().map(|file| Announcement { segment: id(file), capacity: file.len() as u64 }).collect();
        let retired: Vec<_> = outbox.retired.iter().take(MAX_RETIRED).copied().collect();
        let told = retired.len();
        let bytes = Message { announced, retired, object: object.clone() }.encode()?;
        let descriptors: Vec<_> = new.iter().map(|file| file.reader().as_raw_fd()).collect();
        // Before it goes: from then on somebody may have it.
        new.iter().for_each(|file| file.announce());
        match messages::send(fd, &bytes, &descriptors) {
            Ok(sent) => {
                outbox.announced.extend(new.into_iter().map(|file| (id(file), Arc::downgrade(file))));
                outbox.retired.drain(..told);
                outbox.rest = bytes[sent..].to_vec();
                Ok(Outcome::Done(()))
            }
            Err(libc::EAGAIN) => Ok(Outcome::Wait),
            Err(code) => Err(ShareError::Socket(code)),
        }
    }

    fn try_flush(&self, fd: BorrowedFd<'_>) -> Result<Outcome<()>, ShareError> {
        let _no_fork = fork::hold_off();
        lock(&self.outbox).flush(fd)
    }

    /// To how many receivers, each by a socket of its own, this process has announced a file.
    pub(crate) fn receivers_of(file: &SharedFile) -> usize {
        let Some(_no_fork) = fork::hold_off() else { return 0 };
        let Some(channels) = CHANNELS.get().map(|channels| lock(channels)) else { return 0 };
        let segment = SegmentId(file.id());
        channels.open.values().filter(|channel| lock(&channel.outbox).announced.contains_key(&segment)).count()
    }

    /// Receives an object. `wait` waits until there is something to read; what it raises ends the call. A message of
    /// which a part has come then goes on with the next call.
    ///
    /// # Errors
    /// Every one but [`ShareError::NotShared`]: why what came is refused. Nothing of it is kept, and the next message
    /// is the one behind it.
    pub(crate) fn receive<E: From<ShareError>>(
        &self,
        fd: BorrowedFd<'_>,
        mut wait: impl FnMut() -> Result<(), E>,
    ) -> Result<Arrived, E> {
        loop {
            match self.try_receive(fd)? {
                Outcome::Done(arrived) => return Ok(arrived),
                Outcome::Wait => wait()?,
            }
        }
    }

    fn try_receive(&self, fd: BorrowedFd<'_>) -> Result<Outcome<Arrived>, ShareError> {
        let _no_fork = fork::hold_off();
        let mut inbox = lock(&self.inbox);
        let result = inbox.receive(fd, self.socket.is_stream);
        if !matches!(result, Ok(Outcome::Wait)) {
            inbox.begin_anew();
        }
        result
    }
}

fn id(file: &SharedFile) -> SegmentId {
    SegmentId(file.id())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channels {
    /// The channel of a socket, and those of sockets that were closed.
    fn get(&mut self, socket: Socket) -> (Arc<Channel>, Vec<Arc<Channel>>) {
        const FIRST_BOUND: usize = 16;

        if let Some(channel) = self.open.get(&socket.cookie) {
            return (Arc::clone(channel), Vec::new());
        }
        let mut closed = Vec::new();
        if self.open.len() >= self.bound.max(FIRST_BOUND)
            && let Some(open) = messages::open_sockets()
        {
            let is_closed = |channel: &Channel| !open.contains(&channel.socket.inode);
            let gone: Vec<_> =
                self.open.values().filter(|channel| is_closed(channel)).map(|channel| channel.socket).collect();
            closed.extend(gone.iter().filter_map(|socket| self.open.remove(&socket.cookie)));
            self.bound = 2 * self.open.len();
        }
        let channel = Arc::new(Channel { socket, outbox: Mutex::default(), inbox: Mutex::default() });
        self.open.insert(socket.cookie, Arc::clone(&channel));
        (channel, closed)
    }
}

impl Outbox {
    fn has_announced(&self, file: &SharedFile) -> bool {
        self.announced.contains_key(&id(file))
    }

    /// Finds the files that have ended since, which will never be named again.
    fn find_retired(&mut self) {
        let ended = SharedFile::ended();
        if ended != self.ended {
            self.ended = ended;
            let retired = &mut self.retired;
            self.announced.retain(|&segment, file| {
                let is_there = file.strong_count() > 0;
                if !is_there {
                    retired.push(segment);
                }
                is_there
            });
        }
    }

    fn flush(&mut self, fd: BorrowedFd<'_>) -> Result<Outcome<()>, ShareError> {
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

impl Inbox {
    fn begin_anew(&mut self) {
        self.bytes.clear();
        self.descriptors.clear();
        self.is_cut = false;
    }

    fn receive(&mut self, fd: BorrowedFd<'_>, is_stream: bool) -> Result<Outcome<Arrived>, ShareError> {
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
    fn take(&mut self) -> Result<Arrived, ShareError> {
        let message = Message::decode(&self.bytes)?;
        let (came, announced) = (self.descriptors.len(), message.announced.len());
        if self.is_cut || came != announced {
            return Err(ShareError::Descriptors { came, announced });
        }
        let new = message.announced.iter().zip(self.descriptors.drain(..));
        let new =
            new.map(|(announcement, file)| map(&self.segments, announcement, file)).collect::<Result<Vec<_>, _>>()?;
        if self.segments.len() + new.len() > MAX_SEGMENTS {
            return Err(ShareError::Unfit(format!("there is more than {MAX_SEGMENTS} of it over one socket")));
        }
        let find = |segment: &SegmentId| match new.iter().find(|(id, _)| id == segment) {
            Some((_, memory)) => Ok(Arc::clone(memory)),
            None => self.segments.get(segment).cloned().ok_or(ShareError::Unknown),
        };
        let memory = message.object.segments().iter().map(find).collect::<Result<Vec<_>, _>>()?;
        if let Some(first) = memory.first() {
            share::range(first, message.object.extent())?;
        }
        // Nothing is refused any more.
        for segment in &message.retired {
            self.segments.remove(segment);
        }
        self.segments.extend(new);
        Ok(Arrived { object: message.object, memory })
    }
}

/// Maps what was announced, unless it is known.
fn map(
    known: &HashMap<SegmentId, Arc<ReceivedFile>>,
    &Announcement { segment, capacity }: &Announcement,
    file: OwnedFd,
) -> Result<(SegmentId, Arc<ReceivedFile>), ShareError> {
    match known.get(&segment) {
        // Parent and child, who have the socket both, have announced it.
        Some(mapped) if mapped.is_same(file.as_fd()) => Ok((segment, Arc::clone(mapped))),
        Some(_) => Err(ShareError::Unfit("other memory of the same number came before".into())),
        None => {
            let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
            Ok((segment, Arc::new(ReceivedFile::map(file, capacity)?)))
        }
    }
}

const _: () = assert!(MAX_DESCRIPTORS * 24 + MAX_RETIRED * 16 < MAX_BODY / 2);
