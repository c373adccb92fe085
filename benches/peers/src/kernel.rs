//! The kernel's: a POSIX message queue, and a pipe. Both sleep while they can't go on.

use crate::sides::{Measure, Setup, inherited, segment_name};
use std::ffi::CString;
use std::fs::read_to_string;
use std::io::{self, Error, Read, Write};

/// A message queue without a name: forked children have the descriptor.
struct Posix(libc::mqd_t);

impl Posix {
    fn create(capacity: usize) -> Result<Self, Error> {
        let name = CString::new(format!("/{}", segment_name("posix"))).expect("no zeros in it");
        // SAFETY: a structure of integers, for which zeros are valid.
        let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
        attributes.mq_maxmsg = capacity.try_into().map_err(Error::other)?;
        attributes.mq_msgsize = size_of::<u64>() as i64;
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        // SAFETY: the name and the attributes are alive.
        let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, &raw const attributes) };
        if queue == -1 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the name is alive.
        unsafe { libc::mq_unlink(name.as_ptr()) };
        Ok(Self(queue))
    }

    fn send(&self, item: u64) {
        let item = item.to_ne_bytes();
        // SAFETY: the bytes are alive.
        let sent = unsafe { libc::mq_send(self.0, item.as_ptr().cast(), item.len(), 0) };
        assert_eq!(sent, 0, "mq_send: {}", Error::last_os_error());
    }

    fn receive(&self) -> u64 {
        let mut item = [0; size_of::<u64>()];
        let (room, len) = (item.as_mut_ptr().cast(), item.len());
        // SAFETY: there is that much room.
        let received = unsafe { libc::mq_receive(self.0, room, len, std::ptr::null_mut()) };
        assert_eq!(received, 8, "mq_receive: {}", Error::last_os_error());
        u64::from_ne_bytes(item)
    }
}

impl Drop for Posix {
    fn drop(&mut self) {
        // SAFETY: opened by `create`, and used by nobody any more.
        unsafe { libc::mq_close(self.0) };
    }
}

/// The number of messages that a queue may have: the system has a limit for all but the privileged.
pub(crate) fn posix_capacity(wanted: usize) -> usize {
    if Posix::create(wanted).is_ok() {
        return wanted;
    }
    let limit = read_to_string("/proc/sys/fs/mqueue/msg_max").unwrap_or_default();
    limit.trim().parse().unwrap_or(10)
}

pub(crate) fn posix(setup: Setup) -> Result<Measure, String> {
    let queue = Posix::create(posix_capacity(setup.capacity));
    let queue = queue.map_err(|error| error.to_string())?;
    Ok(inherited(setup, queue, Posix::send, Posix::receive))
}

pub(crate) fn pipe(setup: Setup) -> Result<Measure, String> {
    type Pipe = (io::PipeReader, io::PipeWriter);
    let pipe = io::pipe().map_err(|error| error.to_string())?;
    let send = |(_, writer): &Pipe, item: u64| {
        let mut writer = writer;
        writer.write_all(&item.to_ne_bytes()).expect("write");
    };
    let receive = |(reader, _): &Pipe| {
        let (mut reader, mut item) = (reader, [0; size_of::<u64>()]);
        reader.read_exact(&mut item).expect("read");
        u64::from_ne_bytes(item)
    };
    Ok(inherited(setup, pipe, send, receive))
}
