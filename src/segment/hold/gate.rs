//! The gate: who may decide about a segment's name.

use super::Exclusive;
use crate::os::{self, AsFd};
use crate::sync::Deadline;
use std::io;
use std::time::Duration;

/// The gate's byte: beyond any file's end, with space above it for every number.
pub(super) const GATE: u64 = 1 << 62;

/// How long a process tries to enter a gate. A live process is inside for microseconds.
pub(crate) const GATE_TIMEOUT: Duration = Duration::from_secs(1);

/// The right to decide about a segment's name; dropping it leaves the gate. It contains a descriptor of the
/// open file description that locked the gate's byte. The descriptor is borrowed, unless the file moves
/// elsewhere meanwhile: a process that leaves a segment must be able to enter without a new descriptor.
#[derive(Debug)]
pub(crate) struct Gate<F: AsFd>(F);

impl<F: AsFd> Gate<F> {
    /// Enters the gate of the segment behind `fd`: tries, backs off, tries again. Returns `None` at the
    /// deadline: a stopped process may be inside.
    pub(crate) fn enter(_: &Exclusive, fd: F, deadline: Deadline) -> io::Result<Option<Self>> {
        let mut pause = Duration::from_micros(10);
        loop {
            if os::try_lock_byte(fd.as_fd(), GATE)? {
                return Ok(Some(Self(fd)));
            }
            if deadline.left().is_none() {
                return Ok(None);
            }
            os::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }
}

impl<F: AsFd> Drop for Gate<F> {
    fn drop(&mut self) {
        // Unlocking fails only for an invalid descriptor. Closing the file leaves the gate as well.
        let fd = self.0.as_fd();
        let left = os::unlock_byte(fd, GATE);
        debug_assert!(left.is_ok(), "{fd:?}: {left:?}");
    }
}
