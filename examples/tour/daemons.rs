//! Two daemons turn a picture into its negative, each one half, row by row. The step terminates one daemon
//! half-way: the rows that it did are done, the others are untouched, and the other daemon goes on.

use crate::show::{Failure, Outcome, check, failure, grouped, rows, timed};
use shmkit::{Array, Process, Value};
use std::time::Duration;

const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/chelsea.png");

/// The time limit for half of a daemon's work, which takes far less.
const LIMIT: Duration = Duration::from_secs(30);

/// The picture on which both daemons work, and how far each of them is.
struct Work {
    picture: Array<u8>,
    row_len: usize,
    rows_each: usize,
    rows_done: [Value<u64>; 2],
    go_on: Value<u64>,
}

impl Work {
    /// A daemon does half of its rows, and the rest when it is told to go on.
    fn negate(&self, who: usize) -> Outcome {
        for row in 0..self.rows_each {
            if row == self.rows_each / 2 {
                self.go_on.wait_until(|told| *told == 1);
            }
            let offset = (who * self.rows_each + row) * self.row_len;
            // The guard ends after each row, so that the other daemon has its turn.
            for byte in &mut self.picture.lock()?[offset..offset + self.row_len] {
                *byte = 255 - *byte;
            }
            self.rows_done[who].set(row as u64 + 1);
        }
        Ok(())
    }

    /// Starts a daemon that does this work.
    fn daemon(&self, name: &str, who: usize) -> Result<Process, Failure> {
        let daemon = Process::builder().name(name).daemon(true);
        Ok(daemon.spawn(|| self.negate(who))?)
    }
}

/// The step.
pub(crate) fn run() -> Outcome {
    let (shown, took) = timed(negate_and_terminate);
    let mut shown = shown?;
    shown.push(("total time", format!("{:.1} ms", took.as_secs_f64() * 1e3)));
    rows(&shown);
    Ok(())
}

fn negate_and_terminate() -> Result<Vec<(&'static str, String)>, Failure> {
    let photo = image::open(PHOTO)?.into_rgb8();
    let rows_each = usize::try_from(photo.height())? / 2;
    let row_len = 3 * usize::try_from(photo.width())?;
    let original = photo.into_raw();
    let work = Work {
        picture: Array::new(&original)?,
        row_len,
        rows_each,
        rows_done: [Value::new(0)?, Value::new(0)?],
        go_on: Value::new(0)?,
    };
    let daemons = [work.daemon("daemon1", 0)?, work.daemon("daemon2", 1)?];
    for (daemon, done) in daemons.iter().zip(&work.rows_done) {
        let half = rows_each as u64 / 2;
        let half_way = done.wait_until_timeout(LIMIT, |rows| *rows == half);
        half_way.ok_or_else(|| failure(daemon.name(), "half of its rows", done.get()))?;
    }
    let alive = || daemons.each_ref().map(Process::is_alive);
    let before = alive();
    daemons[1].terminate()?;
    daemons[1].join()?;
    let after = alive();
    work.go_on.set(1);
    daemons[0].join()?;
    let codes = daemons.each_ref().map(Process::exit_code);
    let at_the_end = alive();
    let rows_done = work.rows_done.each_ref().map(Value::get);

    check("is_alive half-way", [true, true], before)?;
    check("is_alive after terminate", [true, false], after)?;
    check("is_alive at the end", [false, false], at_the_end)?;
    check("exit codes", [Some(0), Some(-15)], codes)?;
    check("rows done", [150, 75], rows_done)?;
    let done = (rows_each + rows_each / 2) * row_len;
    let expected = original.iter().enumerate().map(|(i, byte)| match i < done {
        true => 255 - byte,
        false => *byte,
    });
    let same = expected.eq(work.picture.to_vec());
    check("the picture, byte for byte", true, same)?;

    let both = |what: [bool; 2]| format!("{:10}   {}", what[0], what[1]);
    let [one, two] = daemons.each_ref().map(Process::name);
    let code = |who: usize| codes[who].map_or("none".to_owned(), |code| code.to_string());
    let of = |done: u64| format!("{done} of {rows_each}");
    Ok(vec![
        (
            "chelsea.png",
            format!("{} bytes of pixels, shared", grouped(original.len())),
        ),
        ("", format!("{one:10}   {two}")),
        ("is_alive, half-way", both(before)),
        ("after terminate", both(after)),
        ("at the end", both(at_the_end)),
        ("exit_code", format!("{:<10}   {}", code(0), code(1))),
        (
            "rows made negative",
            format!("{:10}   {}", of(rows_done[0]), of(rows_done[1])),
        ),
    ])
}
