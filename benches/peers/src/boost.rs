//! `boost::interprocess::message_queue`, through `boost.cpp`.

use crate::sides::{Measure, Pause, Setup, inherited, segment_name};
use std::ffi::{CStr, CString, c_char};

/// A `message_queue`, behind the border to the other language.
#[repr(C)]
struct Raw {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    safe fn peer_boost_version() -> *const c_char;
    fn peer_boost_create(
        name: *const c_char,
        capacity: usize,
        why: *mut c_char,
        why_len: usize,
    ) -> *mut Raw;
    fn peer_boost_drop(queue: *mut Raw);
    fn peer_boost_send(queue: *mut Raw, item: u64) -> bool;
    fn peer_boost_receive(queue: *mut Raw, item: *mut u64) -> bool;
    fn peer_boost_try_send(queue: *mut Raw, item: u64) -> bool;
    fn peer_boost_try_receive(queue: *mut Raw, item: *mut u64) -> bool;
}

struct MessageQueue(*mut Raw);

impl MessageQueue {
    fn create(capacity: usize) -> Result<Self, String> {
        let name = CString::new(segment_name("boost")).expect("no zeros in it");
        let mut why = [0; 256];
        let room = why.len();
        // SAFETY: the name and the room for an explanation are alive.
        let raw =
            unsafe { peer_boost_create(name.as_ptr(), capacity, why.as_mut_ptr().cast(), room) };
        if raw.is_null() {
            let why = CStr::from_bytes_until_nul(&why).unwrap_or_default();
            return Err(why.to_string_lossy().into_owned());
        }
        Ok(Self(raw))
    }

    fn send(&self, item: u64) {
        // SAFETY: alive until dropped.
        assert!(unsafe { peer_boost_send(self.0, item) }, "send");
    }

    fn receive(&self) -> u64 {
        let mut item = 0;
        // SAFETY: alive until dropped, and so is `item`.
        let received = unsafe { peer_boost_receive(self.0, &raw mut item) };
        assert!(received, "receive");
        item
    }

    fn try_send(&self, item: u64) -> bool {
        // SAFETY: alive until dropped.
        unsafe { peer_boost_try_send(self.0, item) }
    }

    fn try_receive(&self) -> Option<u64> {
        let mut item = 0;
        // SAFETY: alive until dropped, and so is `item`.
        let received = unsafe { peer_boost_try_receive(self.0, &raw mut item) };
        received.then_some(item)
    }
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        // SAFETY: made by `create`, and used by nobody any more.
        unsafe { peer_boost_drop(self.0) };
    }
}

pub(crate) fn version() -> String {
    // SAFETY: a literal of the other side.
    let version = unsafe { CStr::from_ptr(peer_boost_version()) };
    version.to_string_lossy().replace('_', ".")
}

/// Sleeps while it can't go on.
pub(crate) fn blocking(setup: Setup) -> Result<Measure, String> {
    let queue = MessageQueue::create(setup.capacity)?;
    Ok(inherited(
        setup,
        queue,
        MessageQueue::send,
        MessageQueue::receive,
    ))
}

/// Tries again while it can't go on.
pub(crate) fn spinning(setup: Setup, pause: Pause) -> Result<Measure, String> {
    let queue = MessageQueue::create(setup.capacity)?;
    Ok(inherited(
        setup,
        queue,
        move |queue, item| pause.until(|| queue.try_send(item).then_some(())),
        move |queue| pause.until(|| queue.try_receive()),
    ))
}
