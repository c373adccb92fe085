//! [`Outcome`]: the result types of a process's closure.

use super::family::current_name;
use crate::os;
use std::fmt::Debug;

/// The types that the closure of a [`Process`](crate::Process) may return.
///
/// | the closure returns | exit code |
/// |---|---|
/// | `()` | 0 |
/// | an `i32` | its lowest 8 bits |
/// | a `Result<(), E>` | 0, or 1 for an error, which the child prints to standard error |
/// | `!`: it runs for ever, or panics | 101 for a panic |
///
/// A closure that never returns is possible in every edition:
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
/// No other type is possible. A process that has a larger result puts it into a [`Queue`](crate::Queue) or a
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

    /// Gives a name to the return type of a function. Stable Rust has no other way to name `!`.
    pub trait ReturnType {
        type Type;
    }

    impl<R> ReturnType for fn() -> R {
        type Type = R;
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

impl sealed::Outcome for <fn() -> ! as sealed::ReturnType>::Type {
    #[inline]
    fn into_code(self) -> i32 {
        self
    }
}
