//! The name goes with the last holder: also when two leave at once, and when another thread is just
//! starting a program.

use crate::support::checks::{exists, shm};
use crate::support::{Name, Watchdog, start};
use crate::{LIMIT, end_in_time};
use shmkit::{Place, Value, inspect, unlink};
use std::path::Path;

/// Starting a program copies all descriptors into a child, where they stay open until the child
/// runs that program. No fork handler is called for it (`posix_spawn` shares the parent's memory).
struct StartingProgram(libc::pid_t);

impl StartingProgram {
    /// Starts a child that has the copies, and stays there.
    fn new() -> Self {
        let (flags, none) = (libc::SIGCHLD, 0);
        // SAFETY: without CLONE_VM the child has a copy of the memory, as after a fork; it only
        // calls `pause` from here on.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
        if pid == 0 {
            loop {
                // SAFETY: touches no memory, and no lock of the C library.
                unsafe { libc::pause() };
            }
        }
        assert!(pid > 0);
        Self(pid.try_into().unwrap())
    }
}

impl Drop for StartingProgram {
    fn drop(&mut self) {
        // SAFETY: our own child, which nobody else waits for.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        // SAFETY: likewise; no status is asked for.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
    }
}

#[test]
fn a_program_being_started_holds_nothing() {
    let _watchdog = Watchdog::new("leaving while a program starts", LIMIT);
    let name = Name::new("starting");
    let first = Value::create(&*name, 1u64).unwrap();
    let second = Value::<u64>::open(&*name).unwrap();
    let child = StartingProgram::new();
    drop(first);
    assert_eq!(inspect(&*name).unwrap().holders, 1, "the second alone");
    drop(second);
    assert!(!exists(&name), "the last holder took the name away");
    drop(child);
}

/// A role, because the limit is the whole process's.
pub fn drop_without_descriptors(name: &str) {
    let value = Value::create(name, 1u64).unwrap();
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a limit to read.
    let failed = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) };
    assert_eq!(failed, 0);
    let refused = value.try_clone_fd().unwrap_err().to_string();
    assert!(refused.contains("Too many open files"), "{refused}");
    drop(value);
    assert!(!exists(name));
}

#[test]
fn the_last_holder_takes_the_name_away_though_it_can_open_nothing() {
    let _watchdog = Watchdog::new("leaving without descriptors", LIMIT);
    let name = Name::new("no-descriptors");
    start("drop-without-descriptors", &[&name]).finish();
    assert!(!exists(&name));
}

/// A role, because the working folder is the whole process's.
pub fn drop_elsewhere(folder: &str, elsewhere: &str) {
    let absolute = Path::new(folder).join("value");
    for path in ["value", "./sub/../value"] {
        std::env::set_current_dir(folder).unwrap();
        let place = Place::file(path).persistent(false);
        let created = Value::create(&place, 1u64).unwrap();
        let opened = Value::<u64>::open(&place).unwrap();
        assert_eq!((created.name(), opened.name()), (Some(path), Some(path)));
        std::env::set_current_dir(elsewhere).unwrap();
        drop(created);
        assert_eq!(inspect(Place::file(&absolute)).unwrap().holders, 1);
        drop(opened);
        assert!(!absolute.exists());
    }
}

#[test]
fn a_relative_name_goes_though_the_working_folder_has_changed() {
    let _watchdog = Watchdog::new("leaving another folder", LIMIT);
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    std::fs::create_dir(folders[0].path().join("sub")).unwrap();
    let [folder, elsewhere] = folders.each_ref().map(|f| f.path().to_str().unwrap());
    start("drop-elsewhere", &[folder, elsewhere]).finish();
}

fn by_descriptor(value: &Value<u64>) -> Value<u64> {
    Value::open(Place::fd(value.try_clone_fd().unwrap())).unwrap()
}

#[test]
fn who_came_by_a_descriptor_takes_the_name_away_too() {
    let _watchdog = Watchdog::new("leaving by descriptor", LIMIT);
    let name = Name::new("by-descriptor");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("value");
    for (place, path) in [
        (&Place::named(&*name), shm(&name).into()),
        (&Place::file(&path).persistent(false), path),
    ] {
        // A creator's file was made without a name, an opener's was opened by it.
        for of_creator in [true, false] {
            let created = Value::create(place, 1u64).unwrap();
            let opened = Value::<u64>::open(place).unwrap();
            let last = by_descriptor(if of_creator { &created } else { &opened });
            assert_eq!(last.name(), None);
            drop((created, opened));
            assert!(path.exists(), "held");
            assert_eq!(Value::<u64>::open(place).unwrap().get(), 1);
            drop(last);
            let gone = !path.exists();
            assert!(gone, "{place}, descriptor of the creator: {of_creator}");
        }
    }
}

#[test]
fn who_came_by_a_descriptor_takes_nothing_else_away() {
    let _watchdog = Watchdog::new("leaving names by descriptor", LIMIT);
    let (name, kept) = (Name::new("successor"), Name::new("kept"));
    // Another segment has the name by now.
    let first = Value::create(&*name, 1u64).unwrap();
    let last = by_descriptor(&first);
    unlink(&*name).unwrap();
    let successor = Value::create(&*name, 2u64).unwrap();
    drop(first);
    drop(last);
    assert_eq!(Value::<u64>::open(&*name).unwrap().get(), 2);
    drop(successor);

    let persistent = Value::create(Place::named(&*kept).persistent(true), 3u64).unwrap();
    let last = by_descriptor(&persistent);
    drop(persistent);
    drop(last);
    assert_eq!(Value::<u64>::open(&*kept).unwrap().get(), 3);

    let anonymous = Value::new(4u64).unwrap();
    let last = by_descriptor(&anonymous);
    drop(anonymous);
    assert_eq!(last.get(), 4);
}

#[test]
fn of_two_that_leave_at_once_one_takes_the_name() {
    let _watchdog = Watchdog::new("leaving together", LIMIT);
    const ROUNDS: u64 = 3000;
    let (turn_name, name) = (Name::new("turn"), Name::new("together"));
    // Even: the name is free. Odd: it is there for the other process to open.
    let turn = Value::create(&*turn_name, 0u64).unwrap();
    let arrived = Name::new("arrived");
    let other_arrived = Value::create(&*arrived, 0u64).unwrap();
    let kid = start("leave-together", &[&turn_name, &arrived, &name]);
    for round in 0..ROUNDS {
        let mine = Value::create(&*name, round).unwrap();
        turn.set(2 * round + 1);
        other_arrived.wait_until(|at| *at == 2 * round + 1);
        turn.set(2 * round + 2); // both leave
        drop(mine);
        other_arrived.wait_until(|at| *at == 2 * round + 2);
        let gone = !exists(&name);
        assert!(gone, "round {round}: both have left, and the name is there");
    }
    turn.set(u64::MAX);
    kid.finish();
}

/// Plays the other process of the two.
pub fn leave_together(turn: &str, arrived: &str, name: &str) {
    end_in_time();
    let turn = Value::<u64>::open(turn).unwrap();
    let arrived = Value::<u64>::open(arrived).unwrap();
    let mut last = 0;
    loop {
        let now = turn.wait_until(|turn| *turn > last);
        if now == u64::MAX {
            return;
        }
        let mine = Value::<u64>::open(name).unwrap();
        arrived.set(now);
        last = turn.wait_until(|turn| *turn > now);
        drop(mine);
        arrived.set(last);
    }
}
