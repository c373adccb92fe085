//! A caller that has a handler for `SIGCHLD`.

use crate::crew::{children_of, supervisor};
use crate::fork::reap_by_handler;
use crate::tasks::{die, killed, pool, works};

pub(crate) fn a_callers_handler_waits_for_no_worker() {
    reap_by_handler();
    let pool = pool(1);
    for _ in 0..3 {
        works(&pool);
        let dead = killed(pool.apply(die, ()));
        assert!(!children_of(supervisor()).contains(&dead), "it was reaped");
    }
    works(&pool);
    drop(pool);
}
