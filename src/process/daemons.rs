//! The daemons of this process, which end when the process exits.
//!
//! The kernel ends a daemon with its parent too, but only after the parent's exit handlers. By then nobody is
//! left to remove the name of a segment of which the daemon is the last holder.

use super::child::Child;
use crate::os::{self, AsFd, Ask, Signal};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError, Weak};

static DAEMONS: Mutex<Vec<Weak<Child>>> = Mutex::new(Vec::new());

/// Ends this daemon when the process exits, if the daemon lives until then.
pub(super) fn end_at_exit(child: &Arc<Child>) {
    static WATCHING: OnceLock<()> = OnceLock::new();
    WATCHING.get_or_init(|| {
        os::on_exit(at_exit).expect("registering an exit handler needs a few bytes of memory");
    });
    let mut daemons = DAEMONS.lock().unwrap_or_else(PoisonError::into_inner);
    daemons.retain(|daemon| daemon.strong_count() > 0);
    daemons.push(Arc::downgrade(child));
}

/// Ends the daemons of this process. In a forked child, the list is a copy of its parent's, whose daemons are not
/// the child's to wait for.
pub(super) fn end_daemons() {
    let daemons = match DAEMONS.try_lock() {
        Ok(daemons) => daemons,
        Err(TryLockError::Poisoned(daemons)) => daemons.into_inner(),
        Err(TryLockError::WouldBlock) => return, // a signal handler exits in the middle of a start
    };
    for daemon in daemons.iter().filter_map(Weak::upgrade) {
        if let Ok(None) = daemon.status(Ask::Look) {
            let _ = os::signal(daemon.fd.as_fd(), Signal::Kill);
            let _ = daemon.status(Ask::Wait);
        }
    }
}

/// The exit handler. It was registered after the one that decides about names, and so runs before it.
extern "C" fn at_exit() {
    end_daemons();
}
