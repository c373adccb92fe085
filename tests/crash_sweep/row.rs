//! A row of the sweep: an operation, the state that it finds, and the survivors' verdict on a death in it.

use crate::step::{BOUND, Raw};
use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::time::{Duration, Instant};

/// How far a child's operation had come when the child died, as the survivors find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing of the operation shows.
    Before,
    /// All of the operation shows.
    After,
}

/// The survivor that acts first, and so takes over the locks that the dead child held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// The survivor that was attached all along.
    Attached,
    /// The survivor that opened the segment by its name after the death.
    Newcomer,
}

impl First {
    /// The two survivors in the order in which they act.
    pub(crate) fn order<'a, S>(self, attached: &'a S, newcomer: &'a S) -> [&'a S; 2] {
        match self {
            Self::Attached => [attached, newcomer],
            Self::Newcomer => [newcomer, attached],
        }
    }
}

/// A child that is killed before the swept child begins, in an operation of its own.
#[derive(Debug)]
pub(crate) struct Predecessor<S> {
    pub(crate) operate: fn(&S) -> bool,
    pub(crate) dies: Dies,
}

impl<S> Predecessor<S> {
    pub(crate) const fn when(operate: fn(&S) -> bool, so: fn(&Raw) -> bool) -> Self {
        let dies = Dies::When(so);
        Self { operate, dies }
    }

    pub(crate) const fn when_disturbed(operate: fn(&S) -> bool, so: fn(&Raw) -> bool) -> Self {
        let dies = Dies::WhenDisturbed(so);
        Self { operate, dies }
    }

    pub(crate) const fn by_itself(operate: fn(&S) -> bool) -> Self {
        let dies = Dies::ByItself;
        Self { operate, dies }
    }
}

/// How a predecessor dies.
#[derive(Debug)]
pub(crate) enum Dies {
    /// The sweep kills the predecessor at the first point at which the function returns `true`.
    When(fn(&Raw) -> bool),
    /// As `When`, but the function also changes the control words, so it has to run behind every instruction.
    WhenDisturbed(fn(&Raw) -> bool),
    /// The predecessor kills itself with [`die`](crate::step::die).
    ByItself,
}

/// One row. The sweep runs `operate` in a child, kills the child, and asks the family for the verdict.
pub(crate) struct Row<F: Family> {
    pub(crate) name: &'static str,
    /// Returns whether the operation went as it should.
    pub(crate) operate: fn(&F::Handle) -> bool,
    pub(crate) predecessor: Option<Predecessor<F::Handle>>,
    /// The row is wrong on purpose, to show that the sweep finds the fault.
    pub(crate) is_control: bool,
    /// The state before the operation, and its possible outcomes.
    pub(crate) family: F,
}

impl<F: Family> Row<F> {
    pub(crate) fn new(name: &'static str, operate: fn(&F::Handle) -> bool, family: F) -> Self {
        Self {
            name,
            operate,
            predecessor: None,
            is_control: false,
            family,
        }
    }

    pub(crate) fn after(self, predecessor: Predecessor<F::Handle>) -> Self {
        Self {
            predecessor: Some(predecessor),
            ..self
        }
    }

    pub(crate) fn control(self) -> Self {
        Self {
            is_control: true,
            ..self
        }
    }
}

/// The rows that share a way to build their state, and a verdict.
pub(crate) trait Family {
    /// The child inherits the handle, and the survivor that is attached all along holds it.
    type Handle;

    /// The offsets of the lock words from the begin of the control words.
    const LOCKS: &'static [u64];

    /// Whether the CI form sweeps a row at its events alone: before and after each system call, and after each
    /// store to the segment. The instructions in between change nothing that anybody else can see.
    const BY_EVENTS: bool = false;

    /// Whether the operation has a commit: the sweep must then see deaths on both sides of it.
    fn commits(&self) -> bool {
        true
    }

    /// Builds the state that the operation finds, in a segment of that name.
    fn prepare(&self, name: &str) -> Result<Self::Handle, String>;

    /// The work of the attached survivor between any two of the child's instructions.
    fn meanwhile(&self) -> Option<fn(&Self::Handle, &Raw)> {
        None
    }

    /// The survivors' verdict. Nothing may be left under the name afterwards, and no lock word set.
    fn judge(&self, attached: Self::Handle, name: &str, first: First) -> Result<Outcome, String>;
}

thread_local! {
    /// The longest call of a survivor in this row so far.
    pub(crate) static LONGEST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Makes a survivor's call, which must return within [`BOUND`].
pub(crate) fn timed<R>(what: &str, call: impl FnOnce() -> R) -> Result<R, String> {
    let start = Instant::now();
    let result = call();
    let took = start.elapsed();
    LONGEST.set(LONGEST.get().max(took));
    if took > BOUND {
        return Err(format!("{what} took {took:?}"));
    }
    Ok(result)
}

/// Makes a survivor's call, which must return within [`BOUND`], and succeed.
pub(crate) fn succeed<R, E: Display>(
    what: &str,
    call: impl FnOnce() -> Result<R, E>,
) -> Result<R, String> {
    timed(what, call)?.map_err(|error| format!("{what}: {error}"))
}

/// Fails unless both sides are equal, and gives both in the text.
pub(crate) fn expect<T: PartialEq + Debug>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, found {found:?}"))
}

/// An error in words, as the sweep reports it.
pub(crate) fn text(error: impl Display) -> String {
    error.to_string()
}
