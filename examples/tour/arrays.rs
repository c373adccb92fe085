//! A forked child can change an array that both processes share, but not its parent's plain vector, of which
//! the child has a copy.

use crate::show::{Outcome, check, say, spaced};
use shmkit::{Array, Process};

fn row(who: &str, plain: &[i32], shared: &Array<i32>) {
    let (plain, shared) = (spaced(plain), spaced(&shared.to_vec()));
    say(format!("   {who:20}   {plain:19}   {shared:19}").trim_end());
}

/// The step.
pub(crate) fn run() -> Outcome {
    let mut plain: Vec<i32> = (0..10).collect();
    let shared = Array::new(&plain)?;
    say(format!("   {:20}   {:19}   Array<i32>", "", "plain vector"));
    row("this process, before", &plain, &shared);
    let child = Process::spawn(|| {
        plain[0] = 5;
        let set = shared.set(0, 5);
        row("its child sets", &plain, &shared);
        set
    })?;
    child.join()?;
    row("this process, after", &plain, &shared);
    check("the child's exit code", Some(0), child.exit_code())?;
    let unchanged: Vec<i32> = (0..10).collect();
    check("the plain vector", unchanged, plain)?;
    let changed = vec![5, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    check("the shared array", changed, shared.to_vec())
}
