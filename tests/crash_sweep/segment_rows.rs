//! Rows of a segment's life by name: who dies in a create, an open or a drop leaves nothing, or a whole
//! orphan, and the name free for the next. These are long: some points of each are swept in every form.

use crate::row::{Family, First, Outcome, Row, expect, succeed, text, timed};
use crate::step::path_of;
use shmkit::{Error, Value, inspect};
use std::path::Path;

/// What stands under the sweep's own name all along, and the other name, which is created.
pub(crate) struct Names {
    beside: Value<u64>,
    name: String,
    created: String,
}

/// After a violation too. A child ends without its destructors.
impl Drop for Names {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(path_of(&self.created));
    }
}

/// The family. An operation that gets through leaves a segment, or nothing.
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
                // Left behind, as by a process that ends without its destructors.
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
                // A name leads to a whole segment, which the dead one holds no more.
                let found = (info.is_orphan(), info.element_size);
                expect("an orphan", found, (true, 8))?;
                true
            }
            Err(Error::NotFound { .. }) => false,
            Err(error) => return Err(format!("inspect: {error}")),
        };
        // An open is told that there is nothing; a create needs not ask.
        if first == First::Attached {
            let opened = timed("open", || Value::<u64>::open(created))?;
            if !matches!(opened, Err(Error::NotFound { .. })) {
                return Err(format!("what nobody holds was opened: {opened:?}"));
            }
        }
        let next = succeed("create", || Value::create(created, 2 * INIT))?;
        let seen = succeed("open", || Value::<u64>::open(created))?;
        expect("the next one's", seen.get(), 2 * INIT)?;
        timed("drop", || drop((next, seen)))?;
        let left = Path::new(&path_of(created)).exists();
        expect("the name is left", left, false)?;

        // Nor did the one beside it come to harm.
        let info = succeed("inspect", || inspect(name))?;
        expect("its holders", info.holders, 1)?;
        expect("its value", names.beside.get(), INIT)?;
        Ok(if is_there && self.creates {
            Outcome::After
        } else {
            Outcome::Before
        })
    }
}
