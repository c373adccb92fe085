//! The signals of a thread, and those of a new child.

use super::base::check;
use std::io;
use std::mem::zeroed;
use std::ptr::{null, null_mut};

/// Keeps every signal but faults from the calling thread until this is dropped, on both sides of a fork. Faults
/// still find their handlers: if they were blocked, the kernel would end the process.
pub(crate) struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    /// Blocks the signals.
    pub(crate) fn all() -> Self {
        // SAFETY: the set is of integers, for which zeros are valid.
        let mut every: libc::sigset_t = unsafe { zeroed() };
        // SAFETY: the set is alive.
        unsafe { libc::sigfillset(&raw mut every) };
        for fault in FAULTS {
            // SAFETY: the set is alive, and the signal exists.
            unsafe { libc::sigdelset(&raw mut every, fault) };
        }
        // SAFETY: as above.
        let mut before: libc::sigset_t = unsafe { zeroed() };
        // SAFETY: both sets are alive; the call fails only for other arguments.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const every, &raw mut before) };
        Self(before)
    }

    /// Gives a new child signals of its own, and then unblocks all of them. No handler of the parent has run
    /// in the child, if the signals have been blocked since before the fork.
    ///
    /// A handler that waits for a sent signal gives way to the default, as it does in an `exec`. Ignored
    /// signals stay ignored. Handlers of faults stay, because the code that needs them is the child's, too.
    pub(crate) fn end_in_child(mut self, at_request: AtRequest) {
        for signal in 1..=libc::SIGRTMAX() {
            let is_request = REQUESTS.contains(&signal) && at_request == AtRequest::GoOn;
            // The C library keeps a few signals for itself, and does not tell their actions.
            match action_of(signal) {
                Ok(action) if action.sa_sigaction == libc::SIG_IGN => {}
                Ok(_) if is_request => handle_with(signal, go_on as *const () as usize),
                Ok(action) if action.sa_sigaction != libc::SIG_DFL && !FAULTS.contains(&signal) => {
                    handle_with(signal, libc::SIG_DFL);
                }
                Ok(_) | Err(_) => {}
            }
        }
        // SAFETY: the set is alive. The drop makes it the thread's.
        unsafe { libc::sigemptyset(&raw mut self.0) };
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set is alive; the current set is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, null_mut()) };
    }
}

/// How a new child takes a signal that asks a whole group of processes to end (`SIGINT`, `SIGTERM`, `SIGHUP`,
/// `SIGQUIT`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AtRequest {
    /// The signal ends the child.
    #[default]
    End,
    /// The child goes on. A program that the child executes has the default again.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))] // the children of a pool
    GoOn,
}

/// The signals with which a terminal, or a manager of services, asks processes to end.
const REQUESTS: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// The signals that an instruction of the process itself raises: the standard library's handler tells of a
/// stack that overflowed, and sandboxes and generated code rest on theirs.
const FAULTS: [i32; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// The handler that does nothing. An ignored signal would stay ignored in programs that the process executes.
extern "C" fn go_on(_: i32) {}

/// Returns how a signal is handled.
fn action_of(signal: i32) -> io::Result<libc::sigaction> {
    // SAFETY: the fields are integers and addresses that may be 0, so zeros are valid.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: no new action is given, and `action` is alive and writable.
    check(unsafe { libc::sigaction(signal, null(), &raw mut action) })?;
    Ok(action)
}

/// Sets a signal's action: the default, or the handler at this address, which interrupts no system call that
/// can be restarted.
fn handle_with(signal: i32, handler: usize) {
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the action is alive; it is the default, or a function that any thread may run at any time.
    let set = check(unsafe { libc::sigaction(signal, &raw const action, null_mut()) });
    debug_assert!(set.is_ok(), "signal {signal}: {set:?}");
}

/// Returns whether the kernel throws away the statuses of ended children, so that nobody can wait for
/// them.
pub(crate) fn forgets_children() -> io::Result<bool> {
    let action = action_of(libc::SIGCHLD)?;
    Ok(action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0)
}
