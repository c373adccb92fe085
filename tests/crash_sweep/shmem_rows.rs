//! Rows of `create_in`, in memory that exists before. A death in it leaves a whole value, or none and the
//! memory to the next `create_in`.

use crate::row::{Family, First, Outcome, Predecessor, Row, expect, succeed, text, timed};
use shmkit::memory::Memory;
use shmkit::shared_memory::{Shmem, ShmemConf};
use shmkit::{Error, ShmemMemory, Value};
use std::fmt::Display;
use std::sync::Arc;

type Wide = [u64; 8];

const INIT: Wide = [11, 12, 13, 14, 15, 16, 17, 18];
const LATER: Wide = [21, 22, 23, 24, 25, 26, 27, 28];

pub(crate) struct CreateIn;

const CREATE: fn(&Arc<ShmemMemory>) -> bool =
    |memory| Value::create_in(memory.clone(), INIT).is_ok();

const IN_CREATE_IN: Predecessor<Arc<ShmemMemory>> = Predecessor::when(
    |memory| Value::create_in(memory.clone(), LATER).is_ok(),
    |raw| raw.claimed() && raw.word(FIRST_SLOT) != 0,
);

pub(crate) fn rows() -> [Row<CreateIn>; 2] {
    [
        Row::new("Value::create_in", CREATE, CreateIn),
        Row::new("Value::create_in, after a death in it", CREATE, CreateIn).after(IN_CREATE_IN),
    ]
}

/// The offsets of the lock word and of the slot with the first value.
const LOCK: u64 = 0;
const FIRST_SLOT: u64 = 264;

fn hold(shmem: Result<Shmem, impl Display>) -> Result<Arc<ShmemMemory>, String> {
    let shmem = shmem.map_err(text)?;
    // SAFETY: the memory is new, and only this crate writes to it.
    let memory = unsafe { ShmemMemory::new(shmem) };
    memory.map(Arc::new).map_err(text)
}

/// The value in the memory, if there is one by now.
fn find(memory: &Arc<ShmemMemory>) -> Result<Option<Value<Wide>>, String> {
    match timed("open_in", || Value::open_in(memory.clone()))? {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(format!("open_in: {error}")),
    }
}

impl Family for CreateIn {
    type Handle = Arc<ShmemMemory>;
    const LOCKS: &'static [u64] = &[LOCK];

    fn prepare(&self, name: &str) -> Result<Arc<ShmemMemory>, String> {
        hold(ShmemConf::new().os_id(name).size(1024).create())
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
                let created = succeed("create_in", || Value::create_in(one.clone(), INIT))?;
                (created, Outcome::Before)
            }
        };
        let again = timed("create_in", || Value::create_in(other.clone(), LATER))?;
        if !matches!(again, Err(Error::AlreadyExists { .. })) {
            return Err(format!("laid out a second time: {again:?}"));
        }
        let seen = find(other)?.ok_or("the other finds nothing")?;
        let by_name = succeed("open", || Value::<Wide>::open(name))?;
        expect("what is there", seen.get(), INIT)?;
        let found = timed("update", || {
            value.update(|now| std::mem::replace(now, LATER))
        })?;
        expect("what an update finds", found, INIT)?;
        expect("after an update", by_name.get(), LATER)?;
        expect("the length", attached.len(), 1024)?;
        Ok(outcome)
    }
}
