//! Rows of a segment's life by name: a death in a create, an open, a drop, a fork or an exit leaves nothing, or
//! a whole orphan whose name the next create takes. The CI form sweeps these long operations at their system
//! calls and stores.

use crate::row::{Family, First, Outcome, Predecessor, Row, expect, succeed, text, timed};
use crate::step::{self, BOUND, path_of};
use shmkit::{Error, Value, inspect, unlink};
use std::path::Path;
use std::time::{Duration, Instant};

/// The segment under the sweep's own name, and the other name, under which the operations create a segment.
pub(crate) struct Names {
    beside: Value<u64>,
    name: String,
    created: String,
    /// A segment under the other name, if the operation finds one that is held.
    held: Option<Value<u64>>,
}

/// The name is removed after a violation too. A child ends without its destructors.
impl Drop for Names {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(path_of(&self.created));
    }
}

/// The effect of an operation that gets through on the other name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// The operation leaves a segment there.
    Creates,
    /// The operation leaves nothing there, and found nothing.
    LeavesNothing,
    /// The operation removes the name of a segment that is held.
    RemovesHeld,
    /// The operation removes the orphan that its predecessor left.
    RemovesOrphan,
}

const INIT: u64 = 7;

/// Creates a segment and lets it be, as a process does that ends without its destructors.
fn create_and_keep(names: &Names) -> bool {
    Value::create(&names.created, INIT)
        .map(std::mem::forget)
        .is_ok()
}

/// Forks a child that exits at once, and waits for it.
fn fork_and_wait() -> bool {
    // SAFETY: this process has no other thread, and the child only exits.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: the call ends the process.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: the child is this process's own; its status is not asked for.
    pid > 0 && unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } == pid
}

pub(crate) fn rows() -> Vec<Row<Life>> {
    use Life::{Creates, LeavesNothing, RemovesHeld, RemovesOrphan};
    vec![
        Row::new("Value::create, by name", create_and_keep, Creates),
        Row::new(
            "Value::create and its drop, by name",
            |names| Value::create(&names.created, INIT).is_ok_and(|value| value.get() == INIT),
            LeavesNothing,
        ),
        Row::new(
            "Value::open and its drop, by name",
            |names| Value::<u64>::open(&names.name).is_ok_and(|value| value.get() == INIT),
            LeavesNothing,
        ),
        Row::new(
            "Value::open_or_create, of a new name",
            |names| {
                Value::open_or_create(&names.created, INIT)
                    .map(std::mem::forget)
                    .is_ok()
            },
            Creates,
        ),
        Row::new(
            "Value::open_or_create and its drop, of an old name",
            |names| Value::open_or_create(&names.name, 1).is_ok_and(|value| value.get() == INIT),
            LeavesNothing,
        ),
        Row::new(
            "unlink, of a held segment",
            |names| unlink(&names.created).is_ok(),
            RemovesHeld,
        ),
        Row::new(
            "sweep, of an orphan",
            |names| {
                let is_it = |left: &shmkit::SegmentInfo| left.name == names.created;
                shmkit::sweep().is_ok_and(|swept| swept.iter().any(is_it))
            },
            RemovesOrphan,
        )
        .after(Predecessor::by_itself(|names| {
            create_and_keep(names);
            step::die()
        })),
        Row::new(
            "fork, with an open segment",
            |_| fork_and_wait(),
            LeavesNothing,
        ),
        Row::new(
            "exit, of the last holder",
            |names| {
                if create_and_keep(names) {
                    step::answer_before_exit();
                }
                std::process::exit(0)
            },
            LeavesNothing,
        ),
    ]
}

impl Family for Life {
    type Handle = Names;
    const LOCKS: &'static [u64] = &[];
    const BY_EVENTS: bool = true;

    fn commits(&self) -> bool {
        *self != Self::LeavesNothing
    }

    fn prepare(&self, name: &str) -> Result<Names, String> {
        let created = format!("{name}-created");
        let held = match self {
            Self::RemovesHeld => Some(Value::create(&created, INIT).map_err(text)?),
            _ => None,
        };
        Ok(Names {
            beside: Value::create(name, INIT).map_err(text)?,
            name: name.to_owned(),
            created,
            held,
        })
    }

    fn judge(&self, mut names: Names, name: &str, first: First) -> Result<Outcome, String> {
        // A child of the dead child may still be on its way out.
        let began = Instant::now();
        while inspect(name).is_ok_and(|info| info.holders > 1) && began.elapsed() < BOUND {
            std::thread::sleep(Duration::from_micros(100));
        }
        let created = &names.created;
        let is_removed = !Path::new(&path_of(created)).exists();
        if let Some(held) = names.held.take() {
            // The holder goes on, with and without a name, and is the last one out.
            expect("the value of a held segment", held.get(), INIT)?;
            timed("drop", || drop(held))?;
            let left = Path::new(&path_of(created)).exists();
            expect("the name of the held segment is left", left, false)?;
        }
        let is_there = match timed("inspect", || inspect(created))? {
            Ok(info) => {
                // The name leads to a whole segment, which the dead child holds no more.
                let found = (info.is_orphan(), info.element_size);
                expect("an orphan", found, (true, 8))?;
                true
            }
            Err(Error::NotFound { .. }) => false,
            Err(error) => return Err(format!("inspect: {error}")),
        };
        // An open finds nothing. A create works with and without an open before it.
        if first == First::Attached {
            let opened = timed("open", || Value::<u64>::open(created))?;
            if !matches!(opened, Err(Error::NotFound { .. })) {
                return Err(format!(
                    "a segment that nobody holds was opened: {opened:?}"
                ));
            }
        }
        let next = succeed("create", || Value::create(created, 2 * INIT))?;
        let seen = succeed("open", || Value::<u64>::open(created))?;
        expect("the value of the next segment", seen.get(), 2 * INIT)?;
        timed("drop", || drop((next, seen)))?;
        let left = Path::new(&path_of(created)).exists();
        expect("the name is left", left, false)?;

        // The segment beside it came to no harm.
        let info = succeed("inspect", || inspect(name))?;
        expect("the holders of the other segment", info.holders, 1)?;
        expect("the value of the other segment", names.beside.get(), INIT)?;
        let is_after = match self {
            Self::Creates => is_there,
            Self::LeavesNothing => false,
            Self::RemovesHeld | Self::RemovesOrphan => is_removed,
        };
        Ok(if is_after {
            Outcome::After
        } else {
            Outcome::Before
        })
    }
}
