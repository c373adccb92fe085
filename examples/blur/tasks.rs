//! The picture blurred by the tasks of a pool, one for each band of each pass. What they share goes to
//! them by name. Whose worker dies is given again: a band can be done twice, since it is read from one
//! picture and written, the same bytes, to the other.

use crate::filter::{Kernel, Size};
use crate::shared::{Shared, bands};
use crate::workers::LOOK;
use serde::{Deserialize, Serialize};
use shmkit::{Place, Pool, TaskError};
use std::ops::Range;
use std::time::Duration;

/// How often a band is given before it counts as what kills its workers.
const TRIES: usize = 10;

/// A task's argument.
#[derive(Clone, Serialize, Deserialize)]
struct Job {
    shared: Shared,
    kernel: Kernel,
    pass: usize,
    band: Range<usize>,
}

/// A task.
fn blur_band(job: Job) -> Result<(), String> {
    let done = job.shared.blur_band(&job.kernel, job.pass, &job.band);
    done.map_err(|error| error.to_string())
}

/// What came of the picture. `show` hears how many rows are done, over all passes; `again`, about each
/// band that is given again, why.
pub(crate) fn blur(
    picture: &[u8],
    size: Size,
    kernel: &Kernel,
    passes: usize,
    processes: usize,
    mut show: impl FnMut(u64),
    again: impl Fn(&str),
) -> Result<Vec<u8>, String> {
    // A run's own. The names end with the last process that has the segments; if that is killed, with the
    // next `sweep`.
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
            // First rows are waited for; when all have come, the tasks' ends.
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
        // Without the rows that were done twice.
        shared.rows.set(end);
    }
    pool.join().map_err(|error| error.to_string())?;
    // Who died while writing has poisoned it; and its band was written again.
    Ok(shared.rewritten_after(passes))
}

fn in_words(error: TaskError) -> String {
    error.to_string()
}
