//! What this process knows of a socket: which memory went over it, and which came.
//!
//! Memory is announced once: its descriptor goes with the first message that needs it, and later ones name it by its
//! number. So both ends remember, for as long as the socket is open. Nothing here ever waits: who has nothing to read,
//! or no room to write, is told so, and waits without a lock. A message that stops half-way goes on with the next call.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::os::fork::{self, SharedPerProcess};
use crate::os::messages::{self, Socket};
use crate::share::ShareError;
use crate::share::arrived::{Arrived, Outcome};
use crate::share::inbox::Inbox;
use crate::share::outbox::{Outbox, Sending};
use crate::share::wire::Object;

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
    /// Locked behind the inbox, if both are.
    outbox: Mutex<Outbox>,
    inbox: Mutex<Inbox>,
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

    /// Sends an object, and the memory that it lies in where that has not gone over this socket yet; and what is to be told
    /// besides. `wait` waits until the socket takes more; what it raises ends the call. A message of which a part has gone
    /// then goes on with the next call.
    ///
    /// # Errors
    /// [`ShareError::Scattered`], [`ShareError::Crowded`], [`ShareError::Malformed`] for more than a message can say, before anything
    /// is sent; [`ShareError::Socket`].
    pub(crate) fn send<E: From<ShareError>>(
        &self,
        fd: BorrowedFd<'_>,
        files: &[Sending],
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

    fn try_send(&self, fd: BorrowedFd<'_>, files: &[Sending], object: &Object) -> Result<Outcome<()>, ShareError> {
        let _no_fork = fork::hold_off();
        self.outbox_with_released().send(fd, files, object)
    }

    fn try_flush(&self, fd: BorrowedFd<'_>) -> Result<Outcome<()>, ShareError> {
        let _no_fork = fork::hold_off();
        lock(&self.outbox).flush(fd)
    }

    /// The outbox, which has what the inbox has found that nobody uses any more.
    fn outbox_with_released(&self) -> MutexGuard<'_, Outbox> {
        let released = lock(&self.inbox).find_released();
        let mut outbox = lock(&self.outbox);
        outbox.add_released(released);
        outbox
    }

    /// Tells the other end what of its memory nobody here uses any more, as far as the socket takes it at once: of how many
    /// slots.
    ///
    /// # Errors
    /// [`ShareError::Socket`].
    pub(crate) fn send_released(&self, fd: BorrowedFd<'_>) -> Result<usize, ShareError> {
        let _no_fork = fork::hold_off();
        let mut outbox = self.outbox_with_released();
        let before = outbox.released();
        while outbox.released() > 0 && outbox.send(fd, &[], &Object::Memory(Vec::new()))? != Outcome::Wait {}
        outbox.flush(fd)?;
        Ok(before - outbox.released())
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
            match self.try_receive(fd, &mut 0)? {
                Outcome::Done(arrived) => return Ok(arrived),
                Outcome::Wait => wait()?,
            }
        }
    }

    /// Takes what has come of what the other end is done with: of how many slots. An object that has come is kept for the next
    /// [`receive`](Self::receive).
    ///
    /// # Errors
    /// As for that.
    pub(crate) fn receive_released(&self, fd: BorrowedFd<'_>) -> Result<usize, ShareError> {
        let mut released = 0;
        if let Outcome::Done(arrived) = self.try_receive(fd, &mut released)? {
            let _no_fork = fork::hold_off();
            lock(&self.inbox).waiting = Some(arrived);
        }
        Ok(released)
    }

    /// The next object, and of how many slots the other end has said on the way that it is done with them.
    fn try_receive(&self, fd: BorrowedFd<'_>, released: &mut usize) -> Result<Outcome<Arrived>, ShareError> {
        let _no_fork = fork::hold_off();
        // Held throughout: objects keep their order.
        let mut inbox = lock(&self.inbox);
        if let Some(arrived) = inbox.waiting.take() {
            return Ok(Outcome::Done(arrived));
        }
        loop {
            let Outcome::Done((arrived, done)) = inbox.receive(fd, self.socket.is_stream)? else {
                return Ok(Outcome::Wait);
            };
            if !done.is_empty() {
                *released += lock(&self.outbox).note_released(&done);
            }
            if !arrived.object.is_none() {
                return Ok(Outcome::Done(arrived));
            }
        }
    }
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
