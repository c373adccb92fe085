//! The path through an operation, instruction by instruction, and jumps along it.
//!
//! A child that is stepped to its nth instruction stops n times, and a sweep of n points stops n²/2 times. So
//! the sweep steps one child through the path, and notes it. Each later child runs until a breakpoint of the
//! CPU stops it shortly before its point, and is stepped from there.
//!
//! Children take the same path, because they start from the same state and nobody else acts, until they look at
//! a clock. There the notes end, and the children are stepped. The sweep still compares where a child stopped
//! with the notes. If the two differ, a new child is stepped all the way.

use crate::step::{Child, Raw, State, Step};
use std::collections::HashMap;

/// A child is stopped at most so many instructions before its point.
const NEAR: usize = 64;

/// The states that a child is in after 0, 1, 2 … instructions.
#[derive(Debug, Default)]
pub(crate) struct Path {
    marks: Vec<Mark>,
    /// How often the path came to each instruction.
    counts: HashMap<u64, usize>,
    has_ended: bool,
    /// After how many instructions a child is killed if the row is swept by its events, in order.
    events: Vec<usize>,
    /// The segment's first bytes when the last state was noted.
    segment: Option<[u8; 1024]>,
}

#[derive(Debug)]
struct Mark {
    state: State,
    /// How often the path came to this instruction up to here. `None` where an instruction repeats itself, since
    /// a breakpoint does not stop a repetition.
    arrivals: Option<usize>,
}

/// Where a jump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// So many instructions into the operation, and not beyond the point.
    After(usize),
    /// Off the path.
    Astray,
}

impl Path {
    /// Notes the state of the child that shows the path.
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

    /// Notes whether the state after so many instructions is an event: a system call comes or has just been
    /// made, or the segment has just changed.
    pub(crate) fn note_events(
        &mut self,
        child: &Child,
        segment: &Raw,
        instructions: usize,
    ) -> Result<(), String> {
        let now = segment.start();
        let before = self.segment.replace(now);
        if before.is_some_and(|before| before != now) {
            self.events.push(instructions);
        }
        if child.is_at_system_call()? {
            self.events.extend([instructions, instructions + 1]);
        }
        self.events.dedup();
        Ok(())
    }

    /// After how many instructions each event is, in order.
    pub(crate) fn events(&self) -> &[usize] {
        &self.events
    }

    /// How many instructions the notes cover.
    pub(crate) fn end(&self) -> usize {
        self.marks.len().saturating_sub(1)
    }

    /// Finds the mark from which a child reaches the `point`th state with the fewest stops.
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

    /// Brings a child that was just started close to the `point`th state.
    pub(crate) fn jump(&self, child: &mut Child, point: usize) -> Result<Reached, String> {
        let Some((at, arrivals, mark)) = self.mark_before(point) else {
            return Ok(Reached::After(0));
        };
        // The call that started this child may be deeper than the call that started the noted one.
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
