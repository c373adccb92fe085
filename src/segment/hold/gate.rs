//! The gate: who may decide about a segment's name.

use super::{Exclusive, exclusive};
use crate::os::{self, AsFd};
use std::io;
use std::time::Duration;

/// The gate's byte: beyond any file's end, with space above it for every number.
pub(super) const GATE: u64 = 1 << 62;

/// How long a process tries to enter a gate. A live process is inside for microseconds; for longer if it looks
/// through a large folder for the name of a file that came as a descriptor.
pub(crate) const GATE_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// The right to decide about a segment's name; dropping it leaves the gate. It contains a descriptor of the
/// open file description that locked the gate's byte. The descriptor is borrowed, unless the file moves
/// elsewhere meanwhile: a process that leaves a segment must be able to enter without a new descriptor.
#[derive(Debug)]
pub(crate) struct Gate<F: AsFd>(F);

impl<F: AsFd> Gate<F> {
    /// Enters the gate of the segment behind `fd`, unless another process is inside. This never waits: see
    /// [`in_turns`].
    pub(crate) fn try_enter(_: &Exclusive, fd: F) -> io::Result<Option<Self>> {
        // A leaver that can't enter would leave the name, and can tell nobody.
        let entered = os::insist(|| os::try_lock_byte(fd.as_fd(), GATE))?;
        Ok(entered.then_some(Self(fd)))
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

/// Makes attempts at something that needs a gate, until one returns a result. Returns `None` once
/// [`GATE_TIMEOUT`] has been spent on waiting: a stopped process may be inside.
///
/// Each attempt has the process-wide lock, and one that finds the gate shut returns `None` without keeping a
/// descriptor. So no fork copies half of anything, and the other threads' forks, opens and drops go on
/// between the attempts.
pub(crate) fn in_turns<T>(mut attempt: impl FnMut(&mut Exclusive) -> Option<T>) -> Option<T> {
    let mut pause = Duration::from_micros(10);
    let mut waited = Duration::ZERO;
    loop {
        let done = attempt(&mut exclusive());
        if done.is_some() || waited >= GATE_TIMEOUT {
            return done;
        }
        os::sleep(pause);
        waited += pause;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
