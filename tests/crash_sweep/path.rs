//! The way through an operation, instruction by instruction, and jumps along it.
//!
//! To step a child to its nth instruction takes n stops, and a sweep of n points half of n². So the way
//! is stepped once and noted, and then a child runs until a breakpoint of the CPU's stops it shortly
//! before the nth, and is stepped from there.
//!
//! It comes the same way as it starts from the same state, alone, up to where it looks at a clock: so
//! the notes end there, and the rest is stepped. Where it stands is compared all the same; one that is
//! somewhere else is stepped all the way, from a new start.

use crate::step::{Child, State, Step};
use std::collections::HashMap;

/// How far before a point a child is stopped at most, to be stepped on.
const NEAR: usize = 64;

/// The states that a child is in after 0, 1, 2 … instructions.
#[derive(Debug, Default)]
pub(crate) struct Path {
    marks: Vec<Mark>,
    /// How often each instruction was come to.
    counts: HashMap<u64, usize>,
    has_ended: bool,
}

#[derive(Debug)]
struct Mark {
    state: State,
    /// How often its instruction was come to, up to here; none where it repeats itself, which stops
    /// at no breakpoint.
    arrivals: Option<usize>,
}

/// Where a child was brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// That many instructions far: not more than asked for.
    After(usize),
    /// Somewhere else.
    Astray,
}

impl Path {
    /// Notes the next state, of the child that shows the way.
    pub(crate) fn note(&mut self, child: &Child) -> Result<(), String> {
        if self.has_ended {
            return Ok(());
        }
        let state = child.state()?;
        let last = self.marks.last();
        let repeats = last.is_some_and(|last| last.state.next == state.next);
        let arrivals = (!repeats).then(|| {
            let count = self.counts.entry(state.next).or_default();
            *count += 1;
            *count
        });
        self.marks.push(Mark { state, arrivals });
        self.has_ended = child.looks_at_the_clock()?;
        Ok(())
    }

    /// How far the way is known.
    pub(crate) fn end(&self) -> usize {
        self.marks.len().saturating_sub(1)
    }

    /// The mark from which the `point`th state is reached with the fewest stops.
    fn mark_before(&self, point: usize) -> Option<(usize, usize, State)> {
        let last = point.min(self.end());
        let near = last.saturating_sub(NEAR).max(1)..=last;
        let marks = near.filter_map(|at| {
            let mark = self.marks.get(at)?;
            Some((at, mark.arrivals?, mark.state))
        });
        let stops = |&(at, arrivals, _): &(usize, usize, State)| arrivals + (point - at);
        marks.min_by_key(stops).filter(|mark| stops(mark) < point)
    }

    /// Brings a child that has just been started close to the `point`th state.
    pub(crate) fn jump(&self, child: &mut Child, point: usize) -> Result<Reached, String> {
        let Some((at, arrivals, mark)) = self.mark_before(point) else {
            return Ok(Reached::After(0));
        };
        // The two need not have been started from equally deep calls.
        let deeper = child.state()?.stack.wrapping_sub(self.marks[0].state.stack);
        if child.run_to(mark.next, arrivals)? == Step::Ended {
            return Ok(Reached::Astray);
        }
        let found = child.state()?;
        let came_right = found.next == mark.next && found.stack == mark.stack.wrapping_add(deeper);
        Ok(match came_right {
            true => Reached::After(at),
            false => Reached::Astray,
        })
    }
}
