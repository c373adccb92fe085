//! Two ways to share a value, an array and a queue: a forked child inherits them, without names; any other
//! program opens them by name.
#![allow(clippy::approx_constant)] // 3.14 is just a number here, not pi

use crate::show::{Failure, Outcome, Program, check, name, rows, spaced};
use shmkit::{Array, Place, Process, Queue, Value};

/// The memory that both sides share.
struct Shared {
    value: Value<f64>,
    array: Array<i32>,
    queue: Queue<u64>,
}

impl Shared {
    /// `place` gives the place of each part.
    fn create(mut place: impl FnMut(&str) -> Place) -> Result<Self, Failure> {
        let elements: Vec<i32> = (0..10).collect();
        Ok(Self {
            value: Value::create(place("value"), 0.0)?,
            array: Array::create(place("array"), &elements)?,
            queue: Queue::create(place("queue"), 4)?,
        })
    }

    /// The other side's work, the same for a child and for a program.
    fn change(&self) -> Outcome {
        self.value.set(3.14);
        for element in self.array.lock()?.iter_mut() {
            *element = -*element;
        }
        Ok(self.queue.put(42)?)
    }

    /// Checks the changes as this side sees them, and returns them in words.
    fn check(&self) -> Result<[String; 3], Failure> {
        let (value, array, item) = (self.value.get(), self.array.to_vec(), self.queue.try_get()?);
        let changed: Vec<i32> = (0..10).map(|n: i32| -n).collect();
        check("the value", 3.14, value)?;
        check("the array", &changed, &array)?;
        check("the item", 42, item)?;
        Ok([value.to_string(), spaced(&array), item.to_string()])
    }
}

/// The step.
pub(crate) fn run() -> Outcome {
    // These have no name, so only a child can use them.
    let inherited = Shared::create(|_| Place::anonymous())?;
    let child = Process::spawn(|| inherited.change())?;
    child.join()?;
    check("the child's exit code", Some(0), child.exit_code())?;
    let by_fork = inherited.check()?;

    let names = ["value", "array", "queue"].map(|what| (what, name(what)));
    let named = Shared::create(|what| Place::named(name(what)))?;
    let args = names.each_ref().map(|(_, name)| name.as_str());
    let opener = Program::start("opener", &args)?;
    let opener_pid = opener.pid();
    opener.finish()?;
    let by_name = named.check()?;

    let mut all = vec![(
        String::new(),
        "set by the other side, seen by this one".to_owned(),
    )];
    for (who, saw) in [
        (format!("a child, pid {}", child.pid()), by_fork),
        (format!("a program, pid {opener_pid}"), by_name),
    ] {
        let mut who = who;
        for ((what, _), saw) in names.iter().zip(saw) {
            all.push((std::mem::take(&mut who), format!("{what}   {saw}")));
        }
    }
    rows(&all);
    Ok(())
}

/// The other program.
pub(crate) fn open(args: &[String]) -> Outcome {
    let shared = Shared {
        value: Value::open(args[0].as_str())?,
        array: Array::open(args[1].as_str())?,
        queue: Queue::open(args[2].as_str())?,
    };
    shared.change()
}
