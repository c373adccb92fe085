//! The sweep of one row: kills children after 1, 2, 3 … instructions, asks the survivors, and counts.

use crate::path::{Path, Reached};
use crate::row::{Dies, Family, First, LONGEST, Outcome, Row, expect};
use crate::step::{self, Child, Raw, Step};
use crate::watchdog;
use std::time::{Duration, Instant};

/// How much of a row is swept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) name: &'static str,
    /// A row with at most so many instructions is swept at every instruction.
    pub(crate) exhaustive: usize,
    /// A longer row is swept at no more than so many points,
    pub(crate) points: usize,
    /// and at no more than children can reach in about so many steps altogether.
    pub(crate) steps: usize,
    /// The sweep leaves out the points behind so many instructions.
    pub(crate) farthest: usize,
    /// Children run to near their points and are stepped from there, instead of all the way.
    pub(crate) jumps: bool,
    /// Each point is swept twice, with either survivor first. Otherwise the survivors alternate.
    pub(crate) both_orders: bool,
}

/// Controls up to this length are swept at every instruction in every form, because a single instruction
/// may show their fault.
const SHORT_CONTROL: usize = 100;

impl Form {
    fn stride<F: Family>(self, row: &Row<F>, instructions: usize) -> usize {
        let short_control = row.is_control && instructions <= SHORT_CONTROL;
        if instructions <= self.exhaustive || short_control {
            return 1;
        }
        // Reaching n points that lie evenly takes n times half the length.
        let affordable = self.steps / (instructions / 2).max(1);
        instructions.div_ceil(self.points.min(affordable).max(2))
    }
}

/// What a row's sweep found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) name: &'static str,
    pub(crate) instructions: usize,
    /// The operation is longer than `instructions`; the sweep left out the rest.
    pub(crate) is_cut: bool,
    pub(crate) stride: usize,
    pub(crate) points: usize,
    pub(crate) verdicts: usize,
    /// Children that had to be stepped all the way, because they left the known path.
    pub(crate) astray: usize,
    pub(crate) holding: usize,
    pub(crate) before: usize,
    pub(crate) after: usize,
    pub(crate) longest: Duration,
    pub(crate) seconds: f64,
    pub(crate) violations: Vec<String>,
    /// Why the row failed. A control fails if the sweep found no fault in it.
    pub(crate) failure: Option<String>,
}

/// The stride of a row that is swept at its events.
const BY_EVENTS: usize = 0;

/// How long a kill point may take in all, on a loaded machine.
const POINT_LIMIT: Duration = Duration::from_secs(60);

/// After so many violations the sweep of a row ends.
const MOST_VIOLATIONS: usize = 5;

/// What became of one child.
struct Death {
    /// How many instructions the child did.
    instructions: usize,
    /// The child got through the operation, and ended by itself.
    ended: bool,
    /// The child had to be stepped all the way, because it left the known path.
    astray: bool,
    held: bool,
    outcome: Outcome,
}

/// Sweeps one row. Everything is built under `name`, again for every kill point.
pub(crate) fn sweep<F: Family>(row: &Row<F>, form: Form, name: &str) -> Report {
    let start = Instant::now();
    LONGEST.set(Duration::ZERO);
    let mut report = Report {
        name: row.name,
        stride: 1,
        ..Report::default()
    };
    let to_the_end = |going| kill_after(row, name, form.farthest, First::Attached, going);
    let mut paths = [const { None }; 2];
    let going = if form.jumps && row.family.meanwhile().is_none() {
        // The first child may take another path than all others, since this process does some things only
        // once. So the first path is not noted.
        if let Err(violation) = to_the_end(Going::Stepping) {
            let violation = format!("no death, at first: {violation}");
            report.violations.push(violation);
        }
        Going::Noting(paths.each_mut().map(|path| path.insert(Path::default())))
    } else {
        Going::Stepping
    };
    // This child goes to the end, which tells the length and shows that the operation is right by itself.
    match to_the_end(going) {
        Ok(whole) => {
            report.instructions = whole.instructions;
            report.is_cut = !whole.ended;
            let events = paths[OWN].as_ref().filter(|_| F::BY_EVENTS);
            if let Some(events) = events {
                report.stride = BY_EVENTS;
                let points = events.events().iter().copied();
                sweep_points(row, form, name, &paths, points, &mut report);
            } else {
                let stride = form.stride(row, whole.instructions);
                report.stride = stride;
                let points = (stride.div_ceil(2)..=form.farthest).step_by(stride);
                sweep_points(row, form, name, &paths, points, &mut report);
            }
        }
        Err(violation) => report.violations.push(format!("no death: {violation}")),
    }
    report.longest = LONGEST.get();
    report.seconds = start.elapsed().as_secs_f64();
    report.failure = failure(row, &report);
    report
}

fn sweep_points<F: Family>(
    row: &Row<F>,
    form: Form,
    name: &str,
    paths: &[Option<Path>; 2],
    points: impl Iterator<Item = usize>,
    report: &mut Report,
) {
    for point in points {
        let orders: &[_] = match (form.both_orders, report.points % 2) {
            (true, _) => &[First::Attached, First::Newcomer],
            (false, 0) => &[First::Attached],
            (false, _) => &[First::Newcomer],
        };
        let mut ended = false;
        for &first in orders {
            let going = match paths {
                [Some(predecessor), Some(own)] => Going::Jumping([predecessor, own]),
                _ => Going::Stepping,
            };
            match kill_after(row, name, point, first, going) {
                Ok(death) if death.ended => ended = true,
                Ok(death) => {
                    report.verdicts += 1;
                    report.astray += usize::from(death.astray);
                    report.holding += usize::from(death.held);
                    report.before += usize::from(death.outcome == Outcome::Before);
                    report.after += usize::from(death.outcome == Outcome::After);
                }
                Err(violation) => report.violations.push(format!(
                    "killed after {point}, {first:?} first: {violation}"
                )),
            }
        }
        // The number of steps may depend on the time. So a child that gets through ends the sweep, unless the first
        // child's path was longer: a later child may wait for longer again.
        ended &= point >= report.instructions;
        let enough = if row.is_control { 1 } else { MOST_VIOLATIONS };
        if ended || report.violations.len() >= enough {
            break;
        }
        report.points += 1;
    }
}

fn failure<F: Family>(row: &Row<F>, report: &Report) -> Option<String> {
    let Report { before, after, .. } = *report;
    // A few points may all lie on one side of the commit, but not all instructions.
    let sides = match report.stride {
        BY_EVENTS | 1 if !row.is_control => before > 0 && row.family.commits() == (after > 0),
        _ => row.family.commits() || after == 0,
    };
    match report.violations.len() {
        0 if row.is_control => Some("the sweep is blind: it found nothing wrong".into()),
        1.. if row.is_control => None,
        0 if sides => None,
        0 => Some(format!(
            "deaths before the commit: {before}, after: {after}"
        )),
        count => Some(format!("violations: {count}")),
    }
}

/// How children reach their points.
enum Going<'a> {
    /// Instruction by instruction.
    Stepping,
    /// Instruction by instruction, noting the paths: a predecessor's, and their own.
    Noting([&'a mut Path; 2]),
    /// Along these paths.
    Jumping([&'a Path; 2]),
}

/// The answer of a child that found a fault, and the text for it.
const WRONG: u64 = 2;
const WENT_WRONG: &str = "the operation itself went wrong";

const PREDECESSOR: usize = 0;
const OWN: usize = 1;

/// What became of one attempt to bring a child to a point.
enum Attempt {
    Made(Death),
    /// A child left the known path.
    Astray,
}

fn kill_after<F: Family>(
    row: &Row<F>,
    name: &str,
    point: usize,
    first: First,
    going: Going<'_>,
) -> Result<Death, String> {
    watchdog::feed(row.name, point, POINT_LIMIT);
    if let Attempt::Made(death) = attempt(row, name, point, first, going)? {
        return Ok(death);
    }
    match attempt(row, name, point, first, Going::Stepping)? {
        Attempt::Made(death) => Ok(Death {
            astray: true,
            ..death
        }),
        Attempt::Astray => unreachable!("one that is stepped goes nowhere else"),
    }
}

fn attempt<F: Family>(
    row: &Row<F>,
    name: &str,
    point: usize,
    first: First,
    mut going: Going<'_>,
) -> Result<Attempt, String> {
    let handle = row
        .family
        .prepare(name)
        .map_err(|text| format!("prepare: {text}"))?;
    let raw = Raw::open(name)?;
    if let Some(predecessor) = &row.predecessor {
        let operate = || (predecessor.operate)(&handle);
        match predecessor.dies {
            Dies::ByItself => step::run_to_death(operate)?,
            Dies::When(when) => {
                let child = Child::start(operate)?;
                if !bring_where(child, &mut going, || when(&raw))? {
                    return Ok(Attempt::Astray);
                }
            }
            Dies::WhenDisturbed(when) => {
                let child = Child::start(operate)?;
                bring_where(child, &mut Going::Stepping, || when(&raw))?;
            }
        }
    }

    let mut child = Child::start(|| (row.operate)(&handle))?;
    let mut death = Death {
        instructions: 0,
        ended: false,
        astray: false,
        held: false,
        outcome: Outcome::Before,
    };
    if let Going::Jumping(paths) = going {
        match paths[OWN].jump(&mut child, point)? {
            Reached::After(instructions) => death.instructions = instructions,
            Reached::Astray if step::answer() == WRONG => return Err(WENT_WRONG.into()),
            Reached::Astray => return Ok(Attempt::Astray),
        }
    }
    let meanwhile = row.family.meanwhile();
    while death.instructions < point && !death.ended {
        if let Going::Noting(paths) = &mut going {
            paths[OWN].note(&child)?;
            if F::BY_EVENTS {
                paths[OWN].note_events(&child, &raw, death.instructions)?;
            }
        }
        if let Some(meanwhile) = meanwhile {
            meanwhile(&handle, &raw);
        }
        death.ended = child.step()? == Step::Ended;
        death.instructions += usize::from(!death.ended);
    }
    child.kill();
    death.held = F::LOCKS.iter().any(|lock| raw.word(*lock) != 0);
    let answer = step::answer();

    death.outcome = row.family.judge(handle, name, first)?;
    for lock in F::LOCKS {
        expect("a lock word at the end", raw.word(*lock), 0)?;
    }
    if std::fs::remove_file(step::path_of(name)).is_ok() {
        return Err("the name is left when everybody is gone".into());
    }
    match (answer, death.outcome) {
        (0, _) if death.ended => Err("the child ended in the middle".into()),
        (WRONG, _) => Err(WENT_WRONG.into()),
        (1, Outcome::Before) if row.family.commits() => Err("it had returned, and was lost".into()),
        _ => Ok(Attempt::Made(death)),
    }
}

/// Brings a predecessor to the first point at which `so` holds, and kills it there. Returns `false` if it
/// left the known path.
fn bring_where(
    mut child: Child,
    going: &mut Going<'_>,
    so: impl Fn() -> bool,
) -> Result<bool, String> {
    if let Going::Jumping(paths) = going {
        let path = paths[PREDECESSOR];
        match path.jump(&mut child, path.end())? {
            Reached::After(_) => {}
            Reached::Astray => return Ok(false),
        }
    }
    loop {
        if let Going::Noting(paths) = going {
            paths[PREDECESSOR].note(&child)?;
        }
        if so() {
            child.kill();
            return Ok(true);
        }
        if child.step()? == Step::Ended {
            return Err("the predecessor got through".into());
        }
    }
}
