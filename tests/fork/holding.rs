//! The holders of a name in a tree of forks.

use crate::fork::{
    Child, Line, Name, exit, kill_me, limit_descriptors, panic_of, root_becomes_nobody,
};
use shmkit::{Error, Queue, Value};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

/// A parent leaves by `leave`, and its forked child goes on, as a daemon does: it works, and drops.
fn child_goes_on(what: &str, leave: fn(Value<u64>)) {
    let name = Name::new(what);
    let (left, done) = (Line::new(), Line::new());
    let parent = Child::fork(|| {
        let value = Value::create(&name.0, 1u64).expect("create");
        let (_child, value) = Child::fork_with(value, |value| {
            done.tell();
            left.hear();
            value.update(|n| *n += 1);
            done.tell();
            left.hear();
            drop(value);
            done.tell();
        });
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
    child_goes_on("killed", |_| kill_me());
}

pub(crate) fn a_child_that_drops_first_takes_nothing_away() {
    for leave in [drop, |_| exit(0)] as [fn(Value<u64>); 2] {
        let name = Name::new("first");
        let value = Value::create(&name.0, 1u64).expect("create");
        let (child, value) = Child::fork_with(value, |value| {
            value.update(|n| *n += 1);
            leave(value);
            assert!(name.exists());
        });
        child.finish();
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
        let queue = Queue::<u64>::create(&name.0, 4).expect("create");
        let (child, _queue) = Child::fork_with(queue, |queue| {
            let _grandchild = Child::fork_with(queue, |queue| {
                done.tell();
                left.hear();
                assert_eq!(name.holders(), 1);
                queue.put(7).expect("put");
                done.tell();
                left.hear();
                drop(queue);
                done.tell();
            });
            exit(0);
        });
        child.finish();
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

/// A fork that can't open the segment again: the child's first lock says so, and its copy of the handle does
/// no harm.
pub(crate) fn a_child_without_descriptors_is_told_so() {
    let name = Name::new("few");
    let value = Value::create(&name.0, 1u64).expect("create");
    let before = limit_descriptors(3);
    let child = Child::fork(|| {
        limit_descriptors(before);
        assert_eq!(value.get(), 1, "reading takes no lock");
        let text = panic_of(|| value.set(2));
        assert!(
            text.contains("could not open the segment for itself"),
            "{text}"
        );
        // The child can still become a holder by name.
        Value::<u64>::open(&name.0).expect("open").set(3);
        drop(value.clone());
    });
    limit_descriptors(before);
    child.finish();
    assert_eq!(value.get(), 3);
    assert_eq!(name.holders(), 1);
}

/// A process that may no longer open the segment goes on with it, but its children can't use it.
pub(crate) fn a_child_without_permission_is_told_so() {
    let name = Name::new("denied");
    let value = Value::create(&name.0, 1u64).expect("create");
    Child::fork(|| {
        let path = format!("/dev/shm/{}", name.0);
        std::fs::set_permissions(&path, Permissions::from_mode(0o000)).expect("take the rights");
        root_becomes_nobody();
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
        value.set(4); // this process is still a holder
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
    let other = Value::<u64>::open(&name.0).expect("open");
    assert_eq!(name.holders(), 2);
    let (ready, go) = (Line::new(), Line::new());
    let (child, other) = Child::fork_with(other, |other| {
        // Each handle excludes the other, and a thread that locks both is told so.
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
    assert_eq!(name.holders(), 3, "two here, and one in the child");
    drop(one);
    assert_eq!(name.holders(), 2);
    go.tell();
    child.finish();
    assert_eq!(other.get(), 3);
    assert_eq!(name.holders(), 1);
    drop(other);
    assert!(!name.exists());
}
