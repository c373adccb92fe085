//! Mappings of the crate `shared_memory` across forks.

use crate::fork::{Child, Line, Name, soon};
use crate::holding::set_most_descriptors;
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

/// A `Shmem`'s copy in a forked child says that it owns the name; as a memory it does not.
pub(crate) fn a_forked_shmem_removes_no_name() {
    let name = Name::new("shmem-copy");
    let mut handle = Some(create(&name));
    Child::fork(|| {
        let value = handle.take().expect("inherited");
        assert_eq!(name.holders(), 2, "a holder of its own");
        value.update(|n| *n += 1);
        drop(value);
    })
    .finish();
    assert!(name.exists(), "the child took its parent's name along");
    assert_eq!(name.holders(), 1);
    assert_eq!(handle.expect("the child took its own copy").get(), 2);
    assert!(!name.exists());
}

/// The parent, which owns the name, is killed inside an update: its child is the last one out.
pub(crate) fn a_shmem_of_a_dead_parent_is_its_childs() {
    let name = Name::new("shmem-dead");
    let (inside, go, done) = (Line::new(), Line::new(), Line::new());
    let parent = Child::fork(|| {
        let mut handle = Some(create(&name));
        let _child = Child::fork(|| {
            let value = handle.take().expect("inherited");
            go.hear();
            assert_eq!(name.holders(), 1, "the dead parent does not look alive");
            let found = soon("an update after the parent's death", || {
                value.update(|n| std::mem::replace(n, 3))
            });
            assert_eq!(found, 1, "nothing of the dead one's shows");
            drop(value);
            done.tell();
        });
        handle.as_ref().expect("its own copy").update(|n| {
            *n = 2;
            inside.tell();
            // SAFETY: it waits for a signal.
            unsafe { libc::pause() };
        });
    });
    inside.hear();
    parent.kill();
    go.tell();
    done.hear();
    assert!(!name.exists(), "the child was the last one out");
}

/// A child that could not become a holder has no number to claim memory with, and leaves the name.
pub(crate) fn a_child_without_descriptors_claims_no_shmem() {
    let name = Name::new("shmem-few");
    let mut handle = Some(hold(&name));
    let before = set_most_descriptors(3);
    let child = Child::fork(|| {
        set_most_descriptors(before);
        let memory = handle.take().expect("inherited");
        let refused = Value::create_in(memory.clone(), 1u64).expect_err("it holds nothing");
        assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
        drop(memory);
    });
    set_most_descriptors(before);
    child.finish();
    assert!(name.exists());
    let memory = handle.expect("its own copy");
    Value::create_in(memory, 1u64).expect("nothing was laid out, and nothing claimed");
}
