//! Blurs the picture by several processes, a band each. If one of them dies, the run ends with an error.

use crate::filter::{Kernel, Size};
use crate::shared::{Shared, bands};
use shmkit::{Place, Process, Value};
use std::time::Duration;

/// The time between two looks at the workers, or tasks, while no row gets done.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Returns the blurred picture. `show` hears how many rows of all passes are done.
pub(crate) fn blur(
    picture: &[u8],
    size: Size,
    kernel: &Kernel,
    passes: usize,
    processes: usize,
    show: impl FnMut(u64),
) -> Result<Vec<u8>, String> {
    let shared = Shared::new(size, picture, |_| Place::anonymous());
    let shared = shared.map_err(|error| error.to_string())?;
    // How often a worker has come to the end of a pass.
    let arrivals = Value::new(0).map_err(|error| error.to_string())?;
    let bands = bands(size.height, processes);
    let mut workers = Vec::new();
    for (number, band) in (1..).zip(&bands) {
        let worker = Process::builder()
            .name(format!("blur-{number}"))
            .daemon(true);
        let worker = worker.spawn(|| {
            for pass in 0..passes {
                shared.blur_band(kernel, pass, band)?;
                meet(&arrivals, bands.len(), pass);
            }
            Ok::<(), shmkit::Error>(())
        });
        match worker {
            Ok(worker) => workers.push(worker),
            Err(error) => {
                end(&workers);
                return Err(error.to_string());
            }
        }
    }
    let watched = watch(&shared, &workers, (passes * size.height) as u64, show);
    if watched.is_err() {
        // The others would wait for the dead worker for ever.
        end(&workers);
    }
    watched?;
    let poisoned = "the picture is poisoned: a process died while it wrote it";
    shared.after(passes).ok_or_else(|| poisoned.to_owned())
}

/// The barrier: waits until all workers are at the end of the pass. If a worker died, this would wait for
/// ever, so the parent watches the workers and ends the others.
fn meet(arrivals: &Value<u64>, workers: usize, pass: usize) {
    let all = (workers * (pass + 1)) as u64;
    arrivals.update(|arrivals| *arrivals += 1);
    arrivals.wait_until(|arrivals| *arrivals >= all);
}

/// Waits until all workers have ended well. Returns an error as soon as one has not.
fn watch(
    shared: &Shared,
    workers: &[Process],
    total: u64,
    mut show: impl FnMut(u64),
) -> Result<(), String> {
    let mut shown = 0;
    loop {
        let mut running = None;
        for worker in workers {
            match worker.join_timeout(Duration::ZERO) {
                Ok(None) => running = Some(worker),
                Ok(Some(status)) if status.success() => {}
                Ok(Some(status)) => {
                    let (name, pid) = (worker.name(), worker.pid());
                    return Err(format!(
                        "{name} (pid {pid}) ended before its work: {status}"
                    ));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        let Some(running) = running else {
            return Ok(());
        };
        if shown == total {
            // All rows are done; only the ends of the workers are left to wait for.
            let _ = running.join_timeout(LOOK);
        } else if let Some(rows) = shared.rows.wait_until_timeout(LOOK, |rows| *rows != shown) {
            shown = rows;
            show(rows);
        }
    }
}

fn end(workers: &[Process]) {
    for worker in workers {
        let _ = worker.kill();
    }
    for worker in workers {
        let _ = worker.join();
    }
}
