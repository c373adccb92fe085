//! [`Deadline`] and [`Wait`]: how long a caller is willing to wait.

use crate::os;
use std::time::Duration;

/// The moment on `CLOCK_MONOTONIC` at which waiting ends, or no such moment.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Duration>);

impl Deadline {
    /// The deadline of a wait that does not end by itself.
    pub const NEVER: Self = Self(None);

    /// Returns the deadline `timeout` from now; [`NEVER`](Self::NEVER) if the clock can't count that far.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self(os::now().checked_add(timeout))
    }

    /// Returns this deadline, or `time` from now, whichever comes first.
    #[cfg(not(loom))]
    pub(super) fn or_after(self, time: Duration) -> Self {
        let other = os::now().saturating_add(time);
        Self(Some(self.0.map_or(other, |at| at.min(other))))
    }

    /// Returns whether waiting does not end by itself.
    #[must_use]
    pub fn is_never(self) -> bool {
        self.0.is_none()
    }

    /// Returns the time that is left: `None` once the deadline has passed, and the longest duration for
    /// [`NEVER`](Self::NEVER).
    #[must_use]
    pub fn left(self) -> Option<Duration> {
        match self.0 {
            None => Some(Duration::MAX),
            Some(at) => at
                .checked_sub(os::now())
                .filter(|left| *left > Duration::ZERO),
        }
    }
}

/// How long a caller waits, if at all.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// The caller does not wait, except for locks that are held for nanoseconds.
    Try,
    /// The caller waits until the deadline.
    Until(Deadline),
}

impl Wait {
    /// Waits as long as it takes.
    pub const FOREVER: Self = Self::Until(Deadline::NEVER);

    /// Waits until `timeout` from now.
    #[must_use]
    pub fn within(timeout: Duration) -> Self {
        Self::Until(Deadline::after(timeout))
    }
}
