//! Blurs the picture by the tasks of a pool, one for each band of each pass. The tasks get the shared memory
//! by name. If a worker dies, its task is given again. A band can be done twice, since the task reads one
//! picture and writes the same bytes to the other.

use crate::filter::{Kernel, Size};
use crate::shared::{Shared, bands};
use crate::workers::LOOK;
use serde::{Deserialize, Serialize};
use shmkit::{Place, Pool, TaskError};
use std::ops::Range;
use std::time::Duration;

/// How often a band is given to a worker, at most, if each of them dies.
const TRIES: usize = 10;

/// A task's argument.
#[derive(Clone, Serialize, Deserialize)]
struct Job {
    shared: Shared,
    kernel: Kernel,
    pass: usize,
    band: Range<usize>,
}

/// The task: blurs one band in one pass.
fn blur_band(job: Job) -> Result<(), String> {
    let done = job.shared.blur_band(&job.kernel, job.pass, &job.band);
    done.map_err(|error| error.to_string())
}

/// Returns the blurred picture. `show` hears how many rows of all passes are done, and `again` why a band is
/// given again.
pub(crate) fn blur(
    picture: &[u8],
    size: Size,
    kernel: &Kernel,
    passes: usize,
    processes: usize,
    mut show: impl FnMut(u64),
    again: impl Fn(&str),
) -> Result<Vec<u8>, String> {
    // The names are this run's own. They end with the last process that has the segments open, or, if it is
    // killed, with the next `sweep`.
    let name = |what: &str| Place::named(format!("blur-{}-{what}", std::process::id()));
    let shared = Shared::new(size, picture, name).map_err(|error| error.to_string())?;
    let pool = Pool::with_workers(processes).map_err(|error| error.to_string())?;
    for pass in 0..passes {
        let give = |band: Range<usize>| {
            let (shared, kernel) = (shared.clone(), kernel.clone());
            let job = Job {
                shared,
                kernel,
                pass,
                band,
            };
            pool.apply_async(blur_band, job)
        };
        let mut under_way = Vec::new();
        for band in bands(size.height, processes) {
            let task = give(band.clone()).map_err(in_words)?;
            under_way.push((band, 1, task));
        }
        let (mut rows, end) = (shared.rows.get(), ((pass + 1) * size.height) as u64);
        while !under_way.is_empty() {
            // This waits for rows first, and when all are done, for the ends of the tasks.
            let mut wait = LOOK;
            if rows < end {
                rows = shared
                    .rows
                    .wait_until_timeout(LOOK, |now| *now != rows)
                    .unwrap_or(rows);
                show(rows.min(end));
                wait = Duration::ZERO;
            }
            for (band, tries, mut task) in std::mem::take(&mut under_way) {
                match task.get_timeout(wait) {
                    Ok(Some(done)) => done?,
                    Ok(None) => under_way.push((band, tries, task)),
                    Err(died @ TaskError::WorkerDied { .. }) if tries < TRIES => {
                        again(&format!("rows {band:?} of pass {pass} again: {died}"));
                        let task = give(band.clone()).map_err(in_words)?;
                        under_way.push((band, tries + 1, task));
                    }
                    Err(error) => return Err(in_words(error)),
                }
            }
        }
        // Rows that were done twice count once.
        shared.rows.set(end);
    }
    pool.join().map_err(|error| error.to_string())?;
    // A worker that died in a write has poisoned the picture, but its band was written again.
    Ok(shared.rewritten_after(passes))
}

fn in_words(error: TaskError) -> String {
    error.to_string()
}
