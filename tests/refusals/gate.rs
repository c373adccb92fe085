//! A gate that nobody leaves, as where a process was stopped in it: here this process's own, through
//! another open file. What is decided in the gate is not decided then, and nothing is removed.

use crate::LIMIT;
use crate::refused;
use crate::shapes::fd_place;
use crate::support::{Name, Watchdog, start};
use shmkit::{Error, Value, inspect, unlink};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The byte of the gate, part of what processes agree on.
const GATE: libc::off_t = 1 << 62;

/// How long anybody tries to get in.
const PATIENCE: Duration = Duration::from_secs(1);

fn sit_in_the_gate(file: &File) {
    // SAFETY: an flock of zeros is a valid value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK.try_into().expect("small");
    (range.l_start, range.l_len) = (GATE, 1);
    // SAFETY: F_OFD_SETLK reads one flock, which is alive.
    let locked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
    assert_eq!(locked, 0, "{}", std::io::Error::last_os_error());
}

/// Not before all the patience is gone.
fn patiently<R>(operation: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = operation();
    let took = start.elapsed();
    assert!(took >= PATIENCE, "gave up after {took:?}");
    result
}

#[test]
fn an_operation_that_cannot_get_into_the_gate_is_stalled() {
    let _watchdog = Watchdog::new("a gate that nobody leaves", LIMIT);
    let name = Name::new("stalled");
    start("stalled", &[&name]).finish();
}

/// A role, because who waits at a gate has the other threads wait for their opens and drops.
pub fn stalled(args: &[&str]) {
    let [name] = args else { panic!("{args:?}") };
    let path = Path::new("/dev/shm").join(name);
    let value = Value::create(*name, 1u64).unwrap();
    let mut options = File::options();
    let sitting = options.read(true).write(true).open(&path).unwrap();
    sit_in_the_gate(&sitting);

    let text = format!(
        "{name}: stalled: no turn at its gate for 1000 ms (is a process that uses it stopped?)"
    );
    let open = || Value::<u64>::open(*name).map(drop);
    let create = || Value::create(*name, 2u64).map(drop);
    let open_or_create = || Value::open_or_create(*name, 2u64).map(drop);
    refused!(patiently(open), Error::Stalled { .. }, text);
    refused!(patiently(create), Error::Stalled { .. }, text);
    refused!(patiently(open_or_create), Error::Stalled { .. }, text);
    refused!(patiently(|| unlink(*name)), Error::Stalled { .. }, text);
    let (label, place) = fd_place(value.try_clone_fd().unwrap());
    let by_descriptor = || Value::<u64>::open(&place).map(drop);
    refused!(
        patiently(by_descriptor),
        Error::Stalled { .. },
        text.replace(&**name, &label)
    );
    value.set(3); // who has it open needs no gate

    patiently(|| drop(value));
    assert!(inspect(*name).unwrap().is_orphan(), "left as it was");
    drop(sitting);
    refused!(
        open(),
        Error::NotFound { .. },
        format!("{name}: no such segment")
    );
    assert!(!path.exists(), "removed, as any orphan");
}
