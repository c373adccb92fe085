//! Handles are shared between threads, cloned, and shown; after a panic they are as good as before.

use crate::support::Name;
use crate::support::checks::shm;
use crate::watchdog;
use shmkit::memory::HeapMemory;
use shmkit::{Array, ByteQueue, Iter, Place, Queue, SegmentInfo, TryIter, Value, unlink};
use std::fmt::Debug;
use std::fs;
use std::panic::{RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

fn is_handle<T: Send + Sync + UnwindSafe + RefUnwindSafe + Clone + Debug>() {}

#[test]
fn handles_go_to_any_thread_and_can_be_shown() {
    is_handle::<Value<f64>>();
    is_handle::<Queue<[u8; 7]>>();
    is_handle::<Array<[u8; 7]>>();
    is_handle::<ByteQueue>();
    #[cfg(feature = "serde")]
    is_handle::<shmkit::MessageQueue<std::rc::Rc<u8>>>(); // items are made where they are taken
    is_handle::<Place>();
    fn is_shown<T: Send + Sync + Debug>() {}
    is_shown::<Iter<'static, u64>>();
    is_shown::<TryIter<'static, u64>>();
    is_shown::<SegmentInfo>();
    is_shown::<shmkit::Error>();
}

/// A panic of the user's own commits nothing, or poisons: so no user needs `AssertUnwindSafe`.
#[test]
fn a_panic_under_a_handle_leaves_nothing_half_done_unseen() {
    let _watchdog = watchdog("panics");
    let value = Value::new([1u64, 1]).unwrap();
    let updated = catch_unwind(|| {
        value.update(|both| {
            both[0] = 2;
            panic!("before the other followed");
        })
    });
    assert!(updated.is_err());
    assert_eq!(value.swap([3, 3]), [1, 1]);

    let queue = Queue::<u64>::new(2).unwrap();
    queue.put(7).unwrap();
    let taken = catch_unwind(|| queue.get_with(|_| panic!("with the item in hand")));
    assert!(taken.is_err());
    assert_eq!(queue.try_get(), Ok(7));

    let bytes = ByteQueue::new(64).unwrap();
    let put = catch_unwind(|| {
        let mut reservation = bytes.reserve(2).unwrap();
        reservation[0] = 1;
        panic!("before the other byte");
    });
    assert!(put.is_err());
    assert!(bytes.is_empty());
    bytes.try_put(b"whole").unwrap();

    let array = Array::new(&[1u64, 1]).unwrap();
    let locked = catch_unwind(|| {
        let mut both = array.lock().unwrap();
        both[0] = 2;
        panic!("before the other followed");
    });
    assert!(locked.is_err());
    assert!(array.lock().is_err(), "poisoned");
}

#[test]
fn debug_tells_the_name_and_the_state() {
    fn tells(handle: &dyn Debug, kind: &str, fields: &[&str]) {
        let text = format!("{handle:?}");
        assert!(text.starts_with(kind), "{text}");
        for field in fields {
            assert!(text.contains(field), "{text}");
        }
    }
    let name = Name::new("debug");
    let value = Value::create(&*name, 41u8).unwrap();
    tells(&value, "Value", &[&name, "41"]);

    let name = Name::new("debug");
    let queue = Queue::<u8>::create(&*name, 3).unwrap();
    queue.put(1).unwrap();
    let fields = [&*name, "len: 1", "capacity: 3", "closed: false"];
    tells(&queue, "Queue", &fields);

    let name = Name::new("debug");
    let array = Array::create(&*name, &[1u8, 2, 3]).unwrap();
    let _guard = array.lock().unwrap(); // a locked array can be shown as well
    tells(&array, "Array", &[&name, "len: 3", "poisoned: false"]);
}

#[test]
fn a_clone_is_the_same_segment_and_keeps_it() {
    let _watchdog = watchdog("clone");
    let name = Name::new("clone");
    let queue = Queue::<u64>::create(&*name, 4).unwrap();
    let clone = queue.clone();
    queue.put(1).unwrap();
    drop(queue);
    // The name is there as long as there is a handle.
    let other = Queue::<u64>::open(&*name).unwrap();
    other.put(2).unwrap();
    assert_eq!((clone.get(), clone.get()), (Ok(1), Ok(2)));
    assert_eq!(clone.name(), Some(&*name));
    assert!(clone.was_created());
    drop((clone, other));
    assert!(Queue::<u64>::open(&*name).is_err());

    let value = Value::new(1u64).unwrap();
    let clone = value.clone();
    drop(value);
    clone.set(2);
    assert_eq!(clone.get(), 2);
}

#[test]
fn was_created_tells_the_creator_from_openers() {
    let name = Name::new("created");
    let created = Value::open_or_create(&*name, 1u32).unwrap();
    let opened = Value::open_or_create(&*name, 2u32).unwrap();
    assert!(created.was_created() && created.clone().was_created());
    assert!(!opened.was_created() && !opened.clone().was_created());
    assert!(!Value::<u32>::open(&*name).unwrap().was_created());
    assert_eq!(opened.get(), 1, "an opener sets nothing");

    let name = Name::new("created");
    let created = Queue::<u8>::open_or_create(&*name, 2).unwrap();
    let opened = Queue::<u8>::open_or_create(&*name, 2).unwrap();
    assert!(created.was_created() && !opened.was_created());
}

#[test]
fn one_handle_serves_many_threads() {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    let _watchdog = watchdog("threads");
    let sum = Value::new(0u64).unwrap();
    let queue = Queue::<u64>::new(16).unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (1..=EACH).for_each(|n| queue.put(n).unwrap()));
            scope.spawn(|| {
                for _ in 0..EACH {
                    let n = queue.get().unwrap();
                    sum.update(|sum| *sum += n);
                }
            });
        }
    });
    assert!(queue.is_empty());
    assert_eq!(sum.get(), THREADS * EACH * (EACH + 1) / 2);
}

#[test]
fn a_handle_knows_whether_its_name_still_leads_to_it() {
    let name = Name::new("reachable");
    let path = shm(&name);
    let created = Value::create(&*name, 1u64).unwrap();
    let (opened, cloned) = (Value::<u64>::open(&*name).unwrap(), created.clone());
    let all = [&created, &opened, &cloned];
    assert!(all.map(Value::is_reachable).into_iter().all(|is| is));

    // The name goes away and comes back.
    let aside = format!("{path}-aside");
    fs::rename(&path, &aside).unwrap();
    assert!(!all.map(Value::is_reachable).into_iter().any(|is| is));
    fs::rename(&aside, &path).unwrap();
    assert!(opened.is_reachable());

    // The name goes, and another segment gets it.
    fs::remove_file(&path).unwrap();
    assert!(!opened.is_reachable());
    let next = Queue::<u8>::create(&*name, 1).unwrap();
    assert!(next.is_reachable());
    assert!(!all.map(Value::is_reachable).into_iter().any(|is| is));
    created.set(2);
    assert_eq!(opened.get(), 2, "and the handles work as before");
    unlink(&*name).unwrap();
    assert!(!next.is_reachable());

    // A path, and no name at all.
    let file = std::env::temp_dir().join(&*name);
    let value = Value::create(Place::file(&file).persistent(false), 1u64).unwrap();
    assert!(value.is_reachable());
    fs::remove_file(&file).unwrap();
    assert!(!value.is_reachable());
    let anonymous = ByteQueue::new(64).unwrap();
    assert!(!anonymous.is_reachable());
    let passed = ByteQueue::open(Place::fd(anonymous.try_clone_fd().unwrap())).unwrap();
    assert!(!passed.is_reachable());
    let own = Array::create_in(Arc::new(HeapMemory::new(4096)), &[1u8]).unwrap();
    assert!(!own.is_reachable());
}

#[cfg(feature = "shared_memory")]
#[test]
fn a_handle_over_a_shmem_knows_whether_its_name_still_leads_to_it() {
    use shmkit::{ShmemMemory, shared_memory::ShmemConf};
    let name = Name::new("reachable-shmem");
    let shmem = ShmemConf::new().os_id(&*name).size(4096).create().unwrap();
    // SAFETY: the memory is new, so it is zero; only this crate uses its bytes.
    let memory = unsafe { ShmemMemory::new(shmem) }.unwrap();
    let value = Value::create_in(Arc::new(memory), 1u64).unwrap();
    assert!(value.is_reachable());
    unlink(&*name).unwrap();
    assert!(!value.is_reachable());
}
