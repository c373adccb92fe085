//! Mappings of the crate `shared_memory` across forks.

use crate::fork::{Child, Line, Name, for_ever, limit_descriptors, soon};
use shmkit::shared_memory::ShmemConf;
use shmkit::{Error, ShmemMemory, Value};
use std::sync::Arc;

fn hold(name: &Name) -> Arc<ShmemMemory> {
    let shmem = ShmemConf::new().os_id(&name.0).size(4096).create();
    // SAFETY: new, and written through the crate alone.
    let memory = unsafe { ShmemMemory::new(shmem.expect("create the shmem")) };
    Arc::new(memory.expect("hold it"))
}

fn create(name: &Name) -> Value<u64> {
    Value::create_in(hold(name), 1u64).expect("lay it out")
}

/// A forked child's copy of a `Shmem` claims to own the name. A `ShmemMemory` lets no copy remove the name.
pub(crate) fn a_forked_shmem_removes_no_name() {
    let name = Name::new("shmem-copy");
    let (child, value) = Child::fork_with(create(&name), |value| {
        assert_eq!(name.holders(), 2, "a holder of its own");
        value.update(|n| *n += 1);
        drop(value);
    });
    child.finish();
    assert!(name.exists(), "the child took its parent's name along");
    assert_eq!(name.holders(), 1);
    assert_eq!(value.get(), 2);
    drop(value);
    assert!(!name.exists());
}

/// The parent, which owns the name, is killed inside an update. Its child is the last one out.
pub(crate) fn a_shmem_of_a_dead_parent_is_its_childs() {
    let name = Name::new("shmem-dead");
    let (inside, go, done) = (Line::new(), Line::new(), Line::new());
    let parent = Child::fork(|| {
        let (_child, value) = Child::fork_with(create(&name), |value| {
            go.hear();
            assert_eq!(name.holders(), 1, "the dead parent does not look alive");
            let found = soon("an update after the parent's death", || {
                value.update(|n| std::mem::replace(n, 3))
            });
            assert_eq!(found, 1, "nothing of the dead one's update");
            drop(value);
            done.tell();
        });
        value.update(|n| {
            *n = 2;
            inside.tell();
            for_ever();
        });
    });
    inside.hear();
    parent.kill();
    go.tell();
    done.hear();
    assert!(!name.exists(), "the child was the last one out");
}

/// A child that can't become a holder has no number by which to claim memory, and leaves the name alone.
pub(crate) fn a_child_without_descriptors_claims_no_shmem() {
    let name = Name::new("shmem-few");
    let memory = hold(&name);
    let before = limit_descriptors(3);
    let (child, memory) = Child::fork_with(memory, |memory| {
        limit_descriptors(before);
        let refused = Value::create_in(memory.clone(), 1u64).expect_err("it holds nothing");
        assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
        drop(memory);
    });
    limit_descriptors(before);
    child.finish();
    assert!(name.exists());
    Value::create_in(memory, 1u64).expect("nothing was laid out, and nothing claimed");
}
