//! Pipes, and passing descriptors to another process through a pair of sockets that both processes have
//! inherited. A message in a socket outlives its sender, and ends with the last process that has the
//! sockets.

use super::base::{AsRawFd, BorrowedFd, OwnedFd, PipeReader, PipeWriter, RawFd, check};
use super::descriptor::StandardTaken;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::FromRawFd;
use std::ptr;

/// Makes a pipe.
pub(crate) fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let _taken = StandardTaken::new()?;
    io::pipe()
}

/// The bytes that travel with a descriptor.
pub(crate) type Key = [u8; 8];

/// A control message of one descriptor, in the kernel's layout and alignment.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    bytes: [u8; Control::LEN],
}

impl Control {
    const FD_LEN: u32 = 4;
    // SAFETY: this computes a number.
    const LEN: usize = unsafe { libc::CMSG_SPACE(Self::FD_LEN) } as usize;
}

const _: () = assert!(size_of::<RawFd>() == Control::FD_LEN as usize);

/// Makes a pair of sockets for whole messages.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let _taken = StandardTaken::new()?;
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `pair` has space for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) })?;
    // SAFETY: both were just opened, and nobody else has them.
    let [one, other] = pair.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((one, other))
}

/// Runs `f` on a message of a key and space for one descriptor.
fn with_message<R>(key: &mut Key, f: impl FnOnce(&mut libc::msghdr) -> R) -> R {
    let mut control = Control {
        bytes: [0; Control::LEN],
    };
    let mut part = libc::iovec {
        iov_base: key.as_mut_ptr().cast(),
        iov_len: key.len(),
    };
    // SAFETY: the fields are numbers and pointers, so zeros are valid; they say that there is nothing.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = ptr::from_mut(&mut control).cast();
    message.msg_controllen = Control::LEN as _;
    f(&mut message)
}

fn retried(mut call: impl FnMut() -> libc::ssize_t) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(count),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Sends a descriptor, and waits while the sockets are full. The sender may close its descriptor then.
pub(crate) fn send_fd(socket: BorrowedFd<'_>, mut key: Key, fd: BorrowedFd<'_>) -> io::Result<()> {
    with_message(&mut key, |message| {
        // SAFETY: the message has space for one header of this length.
        let header = unsafe { libc::CMSG_FIRSTHDR(message) };
        // SAFETY: this computes a number.
        let len = unsafe { libc::CMSG_LEN(Control::FD_LEN) };
        let filled = libc::cmsghdr {
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
            // SAFETY: the fields and the padding are numbers, so zeros are valid.
            ..unsafe { zeroed() }
        };
        // SAFETY: the header lies inside the message's control buffer, aligned.
        unsafe { header.write(filled) };
        // SAFETY: as above.
        unsafe { (*header).cmsg_len = len as _ };
        // SAFETY: the data follows a header that was just written.
        let data = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: there is space for one descriptor, aligned or not.
        unsafe { data.cast::<RawFd>().write_unaligned(fd.as_raw_fd()) };
        // SAFETY: everything that the message points to is alive.
        retried(|| unsafe { libc::sendmsg(socket.as_raw_fd(), message, libc::MSG_NOSIGNAL) })
    })
    .map(drop)
}

/// Receives a key and a descriptor, if a message is there. The descriptor is missing if this process may
/// not open one more.
pub(crate) fn try_receive_fd(socket: BorrowedFd<'_>) -> io::Result<Option<(Key, Option<OwnedFd>)>> {
    let _taken = StandardTaken::new()?;
    let mut key = Key::default();
    let received: io::Result<_> = with_message(&mut key, |message| {
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: everything that the message points to is alive and writable.
        retried(|| unsafe { libc::recvmsg(socket.as_raw_fd(), message, flags) })?;
        // SAFETY: the kernel said how much of the control buffer it filled.
        let header = unsafe { libc::CMSG_FIRSTHDR(message) };
        if header.is_null() {
            return Ok(None);
        }
        // SAFETY: the header lies inside the message's control buffer, aligned.
        let found = unsafe { header.read() };
        // SAFETY: this computes a number.
        let len = unsafe { libc::CMSG_LEN(Control::FD_LEN) };
        let is_fd = (found.cmsg_level, found.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        if !is_fd || found.cmsg_len < len as _ {
            return Ok(None);
        }
        // SAFETY: the data follows a header that is there.
        let data = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: the data lies inside the control buffer, by the header's length.
        let fd = unsafe { data.cast::<RawFd>().read_unaligned() };
        // SAFETY: the kernel has just opened it for us.
        Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
    });
    match received {
        Ok(fd) => Ok(Some((key, fd))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::base::AsFd;
    use crate::os::base::File;
    use std::io::{Read, Write};

    #[test]
    fn a_descriptor_arrives_with_its_key_and_outlives_its_sender() {
        let (from, to) = socket_pair().unwrap();
        assert!(try_receive_fd(from.as_fd()).unwrap().is_none());
        for n in 0..3u64 {
            let (mut reader, mut writer) = io::pipe().unwrap();
            send_fd(to.as_fd(), n.to_ne_bytes(), writer.as_fd()).unwrap();
            writer.write_all(b"a").unwrap();
            drop(writer);
            let (key, fd) = try_receive_fd(from.as_fd()).unwrap().unwrap();
            assert_eq!(key, n.to_ne_bytes());
            File::from(fd.unwrap()).write_all(b"b").unwrap();
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "ab");
        }
        assert!(try_receive_fd(from.as_fd()).unwrap().is_none());
    }
}
