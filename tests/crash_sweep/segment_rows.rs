//! Rows of a segment's life by name: who dies in a create, an open or a drop leaves nothing, or a whole
//! orphan, and the name free for the next. These are long: some points of each are swept in every form.

use crate::step::path_of;
use crate::sweep::{First, Outcome, Predecessor, Row, expect, timed};
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

pub(crate) struct SegmentRow {
    name: &'static str,
    operate: fn(&Names) -> bool,
    /// What is there when it has got through: the segment, or nothing.
    creates: bool,
}

const INIT: u64 = 7;

pub(crate) const ROWS: &[SegmentRow] = &[
    SegmentRow {
        name: "Value::create, by name",
        operate: |names| {
            // Left behind, as by a process that ends without its destructors.
            Value::create(&names.created, INIT).is_ok_and(|value| {
                std::mem::forget(value);
                true
            })
        },
        creates: true,
    },
    SegmentRow {
        name: "Value::create and its drop, by name",
        operate: |names| Value::create(&names.created, INIT).is_ok_and(|value| value.get() == INIT),
        creates: false,
    },
    SegmentRow {
        name: "Value::open and its drop, by name",
        operate: |names| Value::<u64>::open(&names.name).is_ok_and(|value| value.get() == INIT),
        creates: false,
    },
];

impl Row for SegmentRow {
    type Handle = Names;

    fn name(&self) -> &'static str {
        self.name
    }

    fn commits(&self) -> bool {
        self.creates
    }

    fn most_points(&self) -> usize {
        120
    }

    fn locks(&self) -> &'static [u64] {
        &[]
    }

    fn prepare(&self, name: &str) -> Result<Names, String> {
        Ok(Names {
            beside: Value::create(name, INIT).map_err(|error| error.to_string())?,
            name: name.to_owned(),
            created: format!("{name}-created"),
        })
    }

    fn predecessor(&self) -> Option<&Predecessor<Names>> {
        None
    }

    fn operate(&self, names: &Names) -> bool {
        (self.operate)(names)
    }

    fn judge(&self, names: Names, name: &str, first: First) -> Result<Outcome, String> {
        let created = &names.created;
        let is_there = match timed("inspect", || inspect(created))? {
            Ok(info) => {
                // A name leads to a whole segment, which the dead one holds no more.
                expect(
                    "an orphan",
                    (info.is_orphan(), info.element_size),
                    (true, 8),
                )?;
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
        let next = timed("create", || Value::create(created, 2 * INIT))?;
        let next = next.map_err(|error| format!("create: {error}"))?;
        let seen = timed("open", || Value::<u64>::open(created))?;
        let seen = seen.map_err(|error| format!("open: {error}"))?;
        expect("the next one's", seen.get(), 2 * INIT)?;
        timed("drop", || drop((next, seen)))?;
        expect(
            "the name is left",
            Path::new(&path_of(created)).exists(),
            false,
        )?;

        // Nor did the one beside it come to harm.
        let info = inspect(name).map_err(|error| format!("inspect: {error}"))?;
        expect("its holders", info.holders, 1)?;
        expect("its value", names.beside.get(), INIT)?;
        Ok(if is_there && self.creates {
            Outcome::After
        } else {
            Outcome::Before
        })
    }
}
