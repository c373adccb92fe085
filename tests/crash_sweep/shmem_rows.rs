//! Rows of `create_in`, in memory that there is before: who dies in it leaves a whole value or none, and
//! in that case the memory to the next.

use crate::step::Raw;
use crate::sweep::{Dies, First, Outcome, Predecessor, Row, expect, timed};
use shmkit::memory::Memory;
use shmkit::shared_memory::{Shmem, ShmemConf};
use shmkit::{Error, ShmemMemory, Value};
use std::sync::Arc;

type Wide = [u64; 8];

const INIT: Wide = [11, 12, 13, 14, 15, 16, 17, 18];
const LATER: Wide = [21, 22, 23, 24, 25, 26, 27, 28];

pub(crate) struct ShmemRow {
    name: &'static str,
    after: Option<Predecessor<Arc<ShmemMemory>>>,
}

pub(crate) const ROWS: &[ShmemRow] = &[
    ShmemRow {
        name: "Value::create_in",
        after: None,
    },
    ShmemRow {
        name: "Value::create_in, after a death in it",
        after: Some(Predecessor {
            operate: |memory| Value::create_in(memory.clone(), LATER).is_ok(),
            dies: Dies::When(|raw| raw.claimed() && raw.word(FIRST_SLOT) != 0),
        }),
    },
];

/// Words of the value's control words: its lock, and the slot that the first value stands in.
const LOCK: u64 = 0;
const FIRST_SLOT: u64 = 264;

fn hold(shmem: Result<Shmem, impl ToString>) -> Result<Arc<ShmemMemory>, String> {
    let shmem = shmem.map_err(|error| error.to_string())?;
    // SAFETY: new, and written through the crate alone.
    let memory = unsafe { ShmemMemory::new(shmem) };
    memory.map(Arc::new).map_err(|error| error.to_string())
}

/// What is to be found in the memory by now, if anything.
fn find(memory: &Arc<ShmemMemory>) -> Result<Option<Value<Wide>>, String> {
    match timed("open_in", || Value::open_in(memory.clone()))? {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(format!("open_in: {error}")),
    }
}

impl Row for ShmemRow {
    type Handle = Arc<ShmemMemory>;

    fn name(&self) -> &'static str {
        self.name
    }

    fn commits(&self) -> bool {
        true
    }

    fn locks(&self) -> &'static [u64] {
        &[LOCK]
    }

    fn prepare(&self, name: &str) -> Result<Arc<ShmemMemory>, String> {
        hold(ShmemConf::new().os_id(name).size(1024).create())
    }

    fn predecessor(&self) -> Option<&Predecessor<Arc<ShmemMemory>>> {
        self.after.as_ref()
    }

    fn operate(&self, memory: &Arc<ShmemMemory>) -> bool {
        Value::create_in(memory.clone(), INIT).is_ok()
    }

    fn judge(
        &self,
        attached: Arc<ShmemMemory>,
        name: &str,
        first: First,
    ) -> Result<Outcome, String> {
        let newcomer = hold(ShmemConf::new().os_id(name).open())?;
        let [one, other] = first.order(&attached, &newcomer);

        let (value, outcome) = match find(one)? {
            Some(value) => (value, Outcome::After),
            None => {
                let created = timed("create_in", || Value::create_in(one.clone(), INIT))?;
                let value = created.map_err(|error| format!("create_in: {error}"))?;
                (value, Outcome::Before)
            }
        };
        let again = timed("create_in", || Value::create_in(other.clone(), LATER))?;
        if !matches!(again, Err(Error::AlreadyExists { .. })) {
            return Err(format!("laid out a second time: {again:?}"));
        }
        let seen = find(other)?.ok_or("the other finds nothing")?;
        let by_name = timed("open", || Value::<Wide>::open(name))?;
        let by_name = by_name.map_err(|error| format!("open: {error}"))?;
        expect("what is there", seen.get(), INIT)?;
        let found = timed("update", || {
            value.update(|now| std::mem::replace(now, LATER))
        })?;
        expect("what an update finds", found, INIT)?;
        expect("after an update", by_name.get(), LATER)?;
        let raw = Raw::open(name)?;
        expect("the lock word at the end", raw.word(LOCK), 0)?;
        expect("the length", attached.len(), 1024)?;
        Ok(outcome)
    }
}
