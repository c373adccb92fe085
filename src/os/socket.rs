//! Passing descriptors to another process, through a pair of sockets that both have inherited. What is
//! in there outlives its sender, and ends with the last who has one of the sockets.

use super::check;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// What goes with a descriptor.
pub(crate) type Word = [u8; 8];

/// Room for one descriptor as the kernel wants it, aligned as it wants it.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    bytes: [u8; Control::LEN],
}

impl Control {
    const FD_LEN: u32 = 4;
    // SAFETY: both compute a number.
    const LEN: usize = unsafe { libc::CMSG_SPACE(Self::FD_LEN) } as usize;
}

const _: () = assert!(size_of::<RawFd>() == Control::FD_LEN as usize);

/// A pair of sockets for whole messages.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) })?;
    // SAFETY: both were just opened, and nobody else has them.
    let [one, other] = pair.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((one, other))
}

/// Runs `f` on a message of a word and room for one descriptor.
fn with_message<R>(word: &mut Word, f: impl FnOnce(&mut libc::msghdr) -> R) -> R {
    let mut control = Control {
        bytes: [0; Control::LEN],
    };
    let mut part = libc::iovec {
        iov_base: word.as_mut_ptr().cast(),
        iov_len: word.len(),
    };
    // SAFETY: numbers and pointers: zeros are valid, and say that there is nothing.
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

/// Sends a descriptor, which the sender may close then; waits while the sockets are full.
pub(crate) fn send_fd(
    socket: BorrowedFd<'_>,
    mut word: Word,
    fd: BorrowedFd<'_>,
) -> io::Result<()> {
    with_message(&mut word, |message| {
        // SAFETY: the message has room for one header of this length.
        let header = unsafe { libc::CMSG_FIRSTHDR(message) };
        // SAFETY: it computes a number.
        let len = unsafe { libc::CMSG_LEN(Control::FD_LEN) };
        let filled = libc::cmsghdr {
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
            // SAFETY: numbers, and where there is padding, more of them: zeros are valid.
            ..unsafe { zeroed() }
        };
        // SAFETY: inside the message's control, and aligned.
        unsafe { header.write(filled) };
        // SAFETY: as above.
        unsafe { (*header).cmsg_len = len as _ };
        // SAFETY: behind a header that was just written.
        let data = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: room for one descriptor, aligned or not.
        unsafe { data.cast::<RawFd>().write_unaligned(fd.as_raw_fd()) };
        // SAFETY: everything that the message leads to is alive.
        retried(|| unsafe { libc::sendmsg(socket.as_raw_fd(), message, libc::MSG_NOSIGNAL) })
    })
    .map(drop)
}

/// Receives a descriptor, if there is one; without the descriptor, where this process may not open one
/// more.
pub(crate) fn try_receive_fd(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(Word, Option<OwnedFd>)>> {
    let mut word = Word::default();
    let received: io::Result<_> = with_message(&mut word, |message| {
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: everything that the message leads to is alive, and writable.
        retried(|| unsafe { libc::recvmsg(socket.as_raw_fd(), message, flags) })?;
        // SAFETY: the kernel says how much of the control it filled.
        let header = unsafe { libc::CMSG_FIRSTHDR(message) };
        if header.is_null() {
            return Ok(None);
        }
        // SAFETY: inside the message's control, and aligned.
        let found = unsafe { header.read() };
        // SAFETY: it computes a number.
        let len = unsafe { libc::CMSG_LEN(Control::FD_LEN) };
        let is_fd = (found.cmsg_level, found.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        if !is_fd || found.cmsg_len < len as _ {
            return Ok(None);
        }
        // SAFETY: behind a header that is there.
        let data = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: inside the control, by the header's length.
        let fd = unsafe { data.cast::<RawFd>().read_unaligned() };
        // SAFETY: the kernel has just opened it for us.
        Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
    });
    match received {
        Ok(fd) => Ok(Some((word, fd))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_arrives_with_its_word_and_outlives_its_sender() {
        let (from, to) = socket_pair().unwrap();
        assert!(try_receive_fd(from.as_fd()).unwrap().is_none());
        for n in 0..3u64 {
            let (mut reader, mut writer) = io::pipe().unwrap();
            send_fd(to.as_fd(), n.to_ne_bytes(), writer.as_fd()).unwrap();
            writer.write_all(b"a").unwrap();
            drop(writer);
            let (word, fd) = try_receive_fd(from.as_fd()).unwrap().unwrap();
            assert_eq!(word, n.to_ne_bytes());
            File::from(fd.unwrap()).write_all(b"b").unwrap();
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "ab");
        }
        assert!(try_receive_fd(from.as_fd()).unwrap().is_none());
    }
}
