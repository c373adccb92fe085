//! A caller that has a handler for `SIGCHLD`, as many daemons do.

use crate::crew::{children_of, supervisor};
use crate::deaths::{die, killed, pool, works};

/// Waits for whoever of the children has ended.
extern "C" fn reap(_: i32) {
    // SAFETY: it takes numbers, and no room for a status; handlers may call it.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

pub(crate) fn set_handler(handler: extern "C" fn(i32)) {
    // SAFETY: a function that lives as long as the program.
    let before = unsafe { libc::signal(libc::SIGCHLD, handler as *const () as usize) };
    assert_ne!(before, libc::SIG_ERR);
}

pub(crate) fn a_callers_handler_waits_for_no_worker() {
    set_handler(reap);
    let pool = pool(1);
    for _ in 0..3 {
        works(&pool);
        let dead = killed(pool.apply(die, ()));
        assert!(!children_of(supervisor()).contains(&dead), "it was reaped");
    }
    works(&pool);
    drop(pool);
}
