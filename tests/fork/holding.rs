//! Who holds a name in a tree of forks.

use crate::fork::{Child, Line, Name, exit, panic_of, raw_fork};
use shmkit::{Error, Queue, Value};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

/// A parent that leaves while its forked child goes on, as a daemon's does. `leave` is the parent's
/// last act; the child waits for it, works, and drops.
fn child_goes_on(what: &str, leave: fn(Value<u64>)) {
    let name = Name::new(what);
    let (left, done) = (Line::new(), Line::new());
    let parent = Child::fork(|| {
        let value = Value::create(&name.0, 1u64).expect("create");
        if raw_fork() == 0 {
            done.tell();
            left.hear();
            value.update(|n| *n += 1);
            done.tell();
            left.hear();
            drop(value);
            done.tell();
            exit(0);
        }
        leave(value);
    });
    let status = parent.wait();
    assert!(status == 0 || status == 128 + libc::SIGKILL, "{status}");
    assert!(name.exists(), "the child's name went with its parent");
    done.hear();
    assert_eq!(name.holders(), 1, "the child, and not its parent");
    left.tell();
    done.hear();
    {
        let value = Value::<u64>::open(&name.0).expect("open what the child holds");
        assert_eq!(value.get(), 2);
        assert!(!value.was_created());
    }
    assert!(name.exists(), "the child still holds it");
    left.tell();
    done.hear();
    assert!(!name.exists(), "the child was the last one out");
}

pub(crate) fn a_child_keeps_the_name_when_its_parent_exits() {
    child_goes_on("exits", |_| exit(0));
    child_goes_on("drops", drop);
}

pub(crate) fn a_child_keeps_the_name_when_its_parent_is_killed() {
    child_goes_on("killed", |_| {
        // SAFETY: it takes a number.
        unsafe { libc::raise(libc::SIGKILL) };
    });
}

pub(crate) fn a_child_that_drops_first_takes_nothing_away() {
    for leave in [drop, |_| exit(0)] as [fn(Value<u64>); 2] {
        let name = Name::new("first");
        let mut handle = Some(Value::create(&name.0, 1u64).expect("create"));
        Child::fork(|| {
            let value = handle.take().expect("inherited");
            value.update(|n| *n += 1);
            leave(value);
            assert!(name.exists());
        })
        .finish();
        let value = handle.expect("the child took its own copy");
        assert!(name.exists());
        assert_eq!(name.holders(), 1);
        assert_eq!(value.get(), 2);
        value.update(|n| *n += 1);
        assert_eq!(Value::<u64>::open(&name.0).expect("open").get(), 3);
        drop(value);
    }
}

pub(crate) fn a_grandchild_keeps_the_name_alone() {
    let name = Name::new("grand");
    let (left, done) = (Line::new(), Line::new());
    Child::fork(|| {
        let mut handle = Some(Queue::<u64>::create(&name.0, 4).expect("create"));
        Child::fork(|| {
            if raw_fork() == 0 {
                let queue = handle.take().expect("inherited");
                done.tell();
                left.hear();
                assert_eq!(name.holders(), 1);
                queue.put(7).expect("put");
                done.tell();
                left.hear();
                drop(queue);
                done.tell();
                exit(0);
            }
        })
        .finish();
        done.hear();
        assert_eq!(name.holders(), 2, "this one, and its grandchild");
    })
    .finish();
    left.tell();
    done.hear();
    assert_eq!(Queue::<u64>::open(&name.0).expect("open").get(), Ok(7));
    left.tell();
    done.hear();
    assert!(!name.exists());
}

pub(crate) fn set_most_descriptors(most: libc::rlim_t) -> libc::rlim_t {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for the limit.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(failed, 0, "read the limit");
    let before = std::mem::replace(&mut limit.rlim_cur, most);
    // SAFETY: a limit to read.
    let failed = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(failed, 0, "set the limit");
    before
}

/// A fork that could not open the segment again: the child is told at its first use, and its copy of
/// the handle does no harm.
pub(crate) fn a_child_without_descriptors_is_told_so() {
    let name = Name::new("few");
    let value = Value::create(&name.0, 1u64).expect("create");
    let before = set_most_descriptors(3);
    let child = Child::fork(|| {
        set_most_descriptors(before);
        assert_eq!(value.get(), 1, "reading takes no lock");
        let text = panic_of(|| value.set(2));
        assert!(
            text.contains("could not open the segment for itself"),
            "{text}"
        );
        // By name it can still become a holder.
        Value::<u64>::open(&name.0).expect("open").set(3);
        drop(value.clone());
    });
    set_most_descriptors(before);
    child.finish();
    assert_eq!(value.get(), 3);
    assert_eq!(name.holders(), 1);
}

/// A process that may not open the segment any more can go on with it, and can't pass it on.
pub(crate) fn a_child_without_permission_is_told_so() {
    let name = Name::new("denied");
    let value = Value::create(&name.0, 1u64).expect("create");
    Child::fork(|| {
        let path = format!("/dev/shm/{}", name.0);
        std::fs::set_permissions(&path, Permissions::from_mode(0o000)).expect("take the rights");
        // SAFETY: it has no conditions.
        if unsafe { libc::geteuid() } == 0 {
            // Whom no mode keeps out: as nobody.
            // SAFETY: it takes a number.
            assert_eq!(unsafe { libc::setuid(65534) }, 0, "become nobody");
        }
        let refused = Value::<u64>::open(&name.0).expect_err("no permission");
        assert!(
            matches!(refused, Error::PermissionDenied { .. }),
            "{refused:?}"
        );
        value.set(2);
        Child::fork(|| {
            assert_eq!(value.get(), 2, "reading takes no lock");
            let text = panic_of(|| value.set(3));
            assert!(text.contains("without permission"), "{text}");
            drop(value.clone());
        })
        .finish();
        value.set(4); // a holder still
    })
    .finish();
    assert_eq!(value.get(), 4);
    assert_eq!(name.holders(), 1);
    drop(value);
    assert!(!name.exists());
}

pub(crate) fn two_handles_to_one_segment_are_two_holders_in_a_child_too() {
    let name = Name::new("two");
    let one = Value::create(&name.0, 1u64).expect("create");
    let mut other = Some(Value::<u64>::open(&name.0).expect("open"));
    assert_eq!(name.holders(), 2);
    let (ready, go) = (Line::new(), Line::new());
    let child = Child::fork(|| {
        let other = other.take().expect("inherited");
        // Each excludes the other, and either is found out by its own thread.
        assert_eq!(one.update(|_| other.get()), 1);
        let text = panic_of(|| one.update(|_| other.set(2)));
        assert!(text.contains("deadlock"), "{text}");
        drop(other);
        one.update(|n| *n += 1);
        ready.tell();
        go.hear();
        one.update(|n| *n += 1);
    });
    ready.hear();
    assert_eq!(name.holders(), 3, "two here, and one that the child kept");
    drop(one);
    assert_eq!(name.holders(), 2);
    go.tell();
    child.finish();
    let other = other.expect("the child took its own copy");
    assert_eq!(other.get(), 3);
    assert_eq!(name.holders(), 1);
    drop(other);
    assert!(!name.exists());
}
