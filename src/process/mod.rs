//! [`Process`]: a forked child that runs a closure, and the handle to wait for it and to end it.

mod child;
mod daemons;
mod family;
mod handle;
mod outcome;
mod start;

pub use family::current_name;
pub use handle::Process;
pub use outcome::Outcome;
pub use start::ProcessBuilder;
