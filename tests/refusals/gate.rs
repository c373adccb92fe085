//! A gate that nobody leaves, as if a process had been stopped in it: here this process sits in it,
//! through another open file. Nothing that needs the gate is decided then, and nothing is removed.

use crate::LIMIT;
use crate::shapes::fd_place;
use crate::support::checks::{exists, refused, shm};
use crate::support::{Name, Watchdog, start, until};
use shmkit::{Error, Value, inspect, unlink};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// The byte of the gate, part of what processes agree on.
const GATE: libc::off_t = 1 << 62;

/// How long a process tries to get in.
const PATIENCE: Duration = Duration::from_secs(1);

pub fn sit_in_the_gate(file: &File) {
    // SAFETY: an flock of zeros is a valid value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK.try_into().expect("small");
    (range.l_start, range.l_len) = (GATE, 1);
    // SAFETY: F_OFD_SETLK reads one flock, which is alive.
    let locked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
    assert_eq!(locked, 0, "{}", std::io::Error::last_os_error());
}

/// Makes a call that gives up, and not before all the patience is gone.
pub fn patiently<R>(operation: impl FnOnce() -> R) -> R {
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

/// A role, in a process that has no other names to wait for.
pub fn stalled(name: &str) {
    let value = Value::create(name, 1u64).unwrap();
    let mut options = File::options();
    let sitting = options.read(true).write(true).open(shm(name)).unwrap();
    sit_in_the_gate(&sitting);

    let text = format!(
        "{name}: stalled: no turn at its gate for 1000 ms (is a process that uses it stopped?)"
    );
    refused!(
        Error::Stalled { .. },
        text,
        patiently(|| Value::<u64>::open(name)),
        patiently(|| Value::create(name, 2u64)),
        patiently(|| Value::open_or_create(name, 2u64)),
        patiently(|| unlink(name)),
    );
    let (label, place) = fd_place(value.try_clone_fd().unwrap());
    refused!(
        Error::Stalled { .. },
        text.replace(name, &label),
        patiently(|| Value::<u64>::open(&place)),
    );
    value.set(3); // a holder needs no gate

    patiently(|| drop(value));
    assert!(inspect(name).unwrap().is_orphan(), "left as it was");
    drop(sitting);
    let text = format!("{name}: no such segment");
    refused!(Error::NotFound { .. }, text, Value::<u64>::open(name));
    assert!(!exists(name), "removed, as any orphan");
}

/// Whoever waits at one gate delays nobody else in the process.
#[test]
fn a_wait_at_a_gate_delays_no_other_open_and_no_fork() {
    let _watchdog = Watchdog::new("a wait at a gate", LIMIT);
    let (shut, other) = (Name::new("shut"), Name::new("other"));
    let value = Value::create(&*shut, 1u64).unwrap();
    let path = shm(&shut);
    let mut options = File::options();
    let sitting = options.read(true).write(true).open(&path).unwrap();
    sit_in_the_gate(&sitting);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| patiently(|| Value::<u64>::open(&*shut).map(drop)));
        let mut slowest = Duration::ZERO;
        let mut rounds = 0;
        while !waiting.is_finished() {
            let began = Instant::now();
            Value::create(&*other, 1u64).unwrap();
            // SAFETY: the child calls nothing but `_exit`.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: it ends the process.
                unsafe { libc::_exit(0) };
            }
            slowest = slowest.max(began.elapsed());
            // SAFETY: a child of our own; no status is asked for.
            assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
            rounds += 1;
        }
        assert!(matches!(
            waiting.join().unwrap(),
            Err(Error::Stalled { .. })
        ));
        assert!(rounds > 10, "{rounds} creates and forks in a second");
        assert!(slowest < PATIENCE / 2, "the slowest took {slowest:?}");
    });
    drop(sitting);
    drop(value);
    assert!(!exists(&shut));
}

/// A reader needs no permission to write for a read lock.
fn lock_as_a_reader(file: &File, from: libc::off_t, len: libc::off_t) {
    // SAFETY: an flock of zeros is a valid value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_RDLCK.try_into().expect("small");
    (range.l_start, range.l_len) = (from, len);
    // Others may be in the way for a moment: a child that another test forks at this moment is a holder until
    // it exits, and a sweep, of this or another program, is in the gate of each file.
    until("no passing child or sweep holds", || {
        // SAFETY: F_OFD_SETLK reads one flock, which is alive.
        let locked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
        locked == 0
    });
}

/// A role: has the segment open until it is killed.
pub fn hold_and_lock(name: &str, locked: &str) {
    let value = Value::<u64>::open(name).unwrap();
    let locked = Value::<u8>::open(locked).unwrap();
    value.update(|n| {
        *n = 7; // not committed
        locked.set(1);
        loop {
            std::thread::park();
        }
    });
}

/// Whoever may read a segment can shut its gate, and fakes neither life nor damage.
#[test]
fn a_readers_locks_fake_neither_life_nor_damage() {
    let _watchdog = Watchdog::new("a reader's locks", LIMIT);
    let name = Name::new("reader");
    let value = Value::create(&*name, 1u64).unwrap();
    let path = shm(&name);
    let reader = File::open(&path).unwrap();

    // The owner of the lock dies, and a reader has its byte.
    let locked = Name::new("locked");
    let locked = Value::create(&*locked, 0u8).unwrap();
    let owner = start("hold-and-lock", &[&name, locked.name().unwrap()]);
    locked.wait_until(|locked| *locked == 1);
    owner.kill_and_reap();
    lock_as_a_reader(&reader, GATE + 2, 1 << 20); // `value` is holder 1
    let began = Instant::now();
    value.set(2);
    assert!(began.elapsed() < PATIENCE, "the dead one looked alive");

    // A number that is to be drawn is locked: that is no damage.
    let text = Value::<u64>::open(&*name).unwrap_err().to_string();
    assert!(text.contains("a reader of the file has locked"), "{text}");

    // What nobody holds is an orphan.
    drop(value);
    assert!(!exists(&name), "the last holder removes the name");
    drop(reader);

    // The gate is what a reader can shut.
    let _value = Value::create(&*name, 1u64).unwrap();
    let reader = File::open(&path).unwrap();
    lock_as_a_reader(&reader, GATE, 1);
    let stalled = patiently(|| Value::<u64>::open(&*name).map(drop));
    assert!(matches!(stalled, Err(Error::Stalled { .. })), "{stalled:?}");
    drop(reader);
}
