//! Rows of a segment's life by name: a death in a create, an open or a drop leaves nothing, or a whole orphan
//! whose name the next create takes. The operations are long, so every form sweeps only some of their points.

use crate::row::{Family, First, Outcome, Row, expect, succeed, text, timed};
use crate::step::path_of;
use shmkit::{Error, Value, inspect};
use std::path::Path;

/// The segment under the sweep's own name, and the other name, under which the operations create a segment.
pub(crate) struct Names {
    beside: Value<u64>,
    name: String,
    created: String,
}

/// The name is removed after a violation too. A child ends without its destructors.
impl Drop for Names {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(path_of(&self.created));
    }
}

/// An operation that gets through leaves a segment if it `creates`, and nothing otherwise.
pub(crate) struct Life {
    creates: bool,
}

const INIT: u64 = 7;

pub(crate) fn rows() -> [Row<Life>; 3] {
    let row = |name, operate, creates| Row::new(name, operate, Life { creates });
    [
        row(
            "Value::create, by name",
            |names| {
                // The segment stays, as after a process that ends without its destructors.
                Value::create(&names.created, INIT)
                    .map(std::mem::forget)
                    .is_ok()
            },
            true,
        ),
        row(
            "Value::create and its drop, by name",
            |names| Value::create(&names.created, INIT).is_ok_and(|value| value.get() == INIT),
            false,
        ),
        row(
            "Value::open and its drop, by name",
            |names| Value::<u64>::open(&names.name).is_ok_and(|value| value.get() == INIT),
            false,
        ),
    ]
}

impl Family for Life {
    type Handle = Names;
    const LOCKS: &'static [u64] = &[];
    const MOST_POINTS: usize = 120;

    fn commits(&self) -> bool {
        self.creates
    }

    fn prepare(&self, name: &str) -> Result<Names, String> {
        Ok(Names {
            beside: Value::create(name, INIT).map_err(text)?,
            name: name.to_owned(),
            created: format!("{name}-created"),
        })
    }

    fn judge(&self, names: Names, name: &str, first: First) -> Result<Outcome, String> {
        let created = &names.created;
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
        Ok(if is_there && self.creates {
            Outcome::After
        } else {
            Outcome::Before
        })
    }
}
