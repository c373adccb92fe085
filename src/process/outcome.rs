//! [`Outcome`]: the result types of a process's closure.

use super::family::current_name;
use crate::os;
use std::fmt::Debug;

/// The types that the closure of a [`Process`](crate::Process) may return: `()`, which is exit code 0; `i32`,
/// which is the exit code (the system keeps its lowest 8 bits); and `Result<(), E>`, whose error is printed
/// to standard error and is exit code 1.
///
/// The closure may also return `!`, so that it can run for ever, or end in a panic, in every edition:
///
/// ```edition2021
/// # fn main() -> shmkit::Result<()> {
/// let endless = shmkit::Process::spawn(|| loop { std::thread::park(); })?;
/// endless.kill()?;
/// endless.join()?;
/// assert_eq!(endless.exit_code(), Some(-9));
/// let panicking = shmkit::Process::spawn(|| panic!("its text goes to standard error"))?;
/// panicking.join()?;
/// assert_eq!(panicking.exit_code(), Some(101));
/// # Ok(())
/// # }
/// ```
/// ```edition2024
/// # fn main() -> shmkit::Result<()> {
/// # let endless = shmkit::Process::spawn(|| loop { std::thread::park(); })?;
/// # endless.kill()?;
/// # endless.join()?;
/// # assert_eq!(endless.exit_code(), Some(-9));
/// # let panicking = shmkit::Process::spawn(|| panic!("its text goes to standard error"))?;
/// # panicking.join()?;
/// # assert_eq!(panicking.exit_code(), Some(101));
/// # Ok(())
/// # }
/// ```
///
/// No other type is possible. A process that has more to say uses a [`Queue`](crate::Queue) or a
/// [`Value`](crate::Value).
///
/// ```compile_fail,E0277
/// let answer = shmkit::Process::spawn(|| "42".to_owned());
/// ```
#[diagnostic::on_unimplemented(
    message = "a process can't end with `{Self}`",
    note = "its closure returns `()`, an `i32` (the exit code) or a `Result<(), E>` whose error is `Debug`",
    note = "pass anything else to the parent through a `Queue` or a `Value` that the closure captures"
)]
pub trait Outcome: sealed::Outcome {}

impl<T: sealed::Outcome> Outcome for T {}

pub(super) mod sealed {
    pub trait Outcome {
        /// Prints an error, if there is one, and returns the exit code.
        fn into_code(self) -> i32;
    }

    /// Names the type that a function returns: the only way to name `!` so far.
    pub trait Returns {
        type It;
    }

    impl<R> Returns for fn() -> R {
        type It = R;
    }
}

impl sealed::Outcome for () {
    #[inline]
    fn into_code(self) -> i32 {
        0
    }
}

impl sealed::Outcome for i32 {
    #[inline]
    fn into_code(self) -> i32 {
        self
    }
}

impl<E: Debug> sealed::Outcome for Result<(), E> {
    fn into_code(self) -> i32 {
        match self {
            Ok(()) => 0,
            Err(error) => {
                os::complain(&format!("{}: error: {error:?}\n", current_name()));
                1
            }
        }
    }
}

impl sealed::Outcome for <fn() -> ! as sealed::Returns>::It {
    #[inline]
    fn into_code(self) -> i32 {
        self
    }
}
