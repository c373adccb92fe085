//! An open that waits for its segment, and waits that another thread ends.

use crate::support::Name;
use crate::support::checks::{exists, fails, shm};
use crate::{LONG, waits, watchdog};
use shmkit::{Array, ByteQueue, Error, Place, Queue, Result, Value};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

const A_WHILE: Duration = Duration::from_millis(50);
/// Far more than the longest pause between two looks, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn patient(name: &str, timeout: Duration) -> Place {
    Place::named(name).open_timeout(timeout)
}

/// Opens with `open` while nobody has created anything, and creates with `create` after a while.
fn opens_what_comes<H: Send>(
    what: &str,
    open: impl FnOnce(Place) -> Result<H> + Send,
    create: impl FnOnce(&str) -> Result<H>,
) {
    let name = Name::new(what);
    thread::scope(|scope| {
        let opener = scope.spawn(|| {
            let opened = open(patient(&name, LONG)).unwrap();
            (opened, Instant::now())
        });
        // Nothing but time shows that an opener waits.
        thread::sleep(A_WHILE);
        assert!(!opener.is_finished(), "{what}: opened before it was there");
        let created = create(&name).unwrap();
        let then = Instant::now();
        let (opened, at) = opener.join().unwrap();
        let late = at.saturating_duration_since(then);
        println!("{what}: opened {late:?} after its creation");
        assert!(late < SOON, "{what}: {late:?}");
        drop((created, opened));
    });
}

#[test]
fn an_open_of_every_type_waits_for_its_creator() {
    let _watchdog = watchdog("opens that wait");
    opens_what_comes("later-value", Value::open, |name| Value::create(name, 7u64));
    opens_what_comes("later-array", Array::open, |name| {
        Array::create(name, &[7u64])
    });
    opens_what_comes("later-queue", Queue::<u64>::open, |name| {
        Queue::create(name, 4)
    });
    opens_what_comes("later-bytes", ByteQueue::open, |name| {
        ByteQueue::create(name, 64)
    });
    #[cfg(feature = "serde")]
    opens_what_comes(
        "later-messages",
        shmkit::MessageQueue::<String>::open,
        |name| shmkit::MessageQueue::create(name, 64),
    );
}

#[test]
fn an_open_that_waits_in_vain_ends_with_its_timeout() {
    let _watchdog = watchdog("an open in vain");
    let name = Name::new("never");
    let began = Instant::now();
    let never = Value::<u64>::open(patient(&name, A_WHILE));
    let waited = began.elapsed();
    fails!(Error::NotFound { .. }, never);
    assert!((A_WHILE..A_WHILE + SOON).contains(&waited), "{waited:?}");

    // Without a timeout, and with one of zero, there is one look.
    for place in [Place::named(&*name), patient(&name, Duration::ZERO)] {
        let began = Instant::now();
        fails!(Error::NotFound { .. }, Value::<u64>::open(place));
        assert!(began.elapsed() < SOON);
    }
    // And one look is enough for what is there.
    let value = Value::create(&*name, 7u64).unwrap();
    let opened = Value::<u64>::open(patient(&name, Duration::ZERO)).unwrap();
    assert_eq!(opened.get(), 7);
    drop(value);
}

#[test]
fn a_leftover_is_no_segment_to_wait_for() {
    let _watchdog = watchdog("a leftover");
    let (original, name) = (Name::new("original"), Name::new("leftover"));
    let _held = Value::create(&*original, 7u64).unwrap();
    // A copy of a sound segment, which nobody holds.
    fs::copy(shm(&original), shm(&name)).unwrap();
    waits(A_WHILE, || {
        let gone = Value::<u64>::open(patient(&name, A_WHILE));
        fails!(Error::NotFound { .. }, gone);
    });
    assert!(!exists(&name));
}

#[test]
fn an_open_gets_in_among_segments_that_come_and_go() {
    let _watchdog = watchdog("segments that come and go");
    let name = Name::new("fleeting");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                drop(Value::create(&*name, 7u64));
            }
        });
        let opened = Value::<u64>::open(patient(&name, LONG));
        done.store(true, Ordering::Relaxed);
        assert_eq!(opened.unwrap().get(), 7);
    });
    assert!(!exists(&name));
}

#[test]
fn only_absence_is_waited_out() {
    let _watchdog = watchdog("errors at once");
    let name = Name::new("wrong");
    let open = |name: &str| Value::<u64>::open(patient(name, LONG));
    let began = Instant::now();
    fs::write(shm(&name), "hello").unwrap();
    fails!(Error::Foreign { .. }, open(&name));
    fs::remove_file(shm(&name)).unwrap();

    let _other = Value::create(&*name, 1u8).unwrap();
    fails!(Error::Mismatch { .. }, open(&name));
    fails!(Error::InvalidName { .. }, open("a/b"));
    let nowhere = Place::anonymous().open_timeout(LONG);
    fails!(Error::Unsupported { .. }, Value::<u64>::open(nowhere));
    // A wrong file that comes later ends the wait, too.
    let later = Name::new("wrong-later");
    let foreign = thread::scope(|scope| {
        let opener = scope.spawn(|| open(&later));
        fs::write(shm(&later), "hello").unwrap();
        opener.join().unwrap()
    });
    fails!(Error::Foreign { .. }, foreign);
    // A call that creates does not wait.
    let absent = Name::new("absent");
    let created = Value::open_or_create(patient(&absent, LONG), 1u8).unwrap();
    assert!(created.was_created());
    assert!(began.elapsed() < SOON);
}

/// A folder may come later, too.
#[test]
fn an_open_waits_for_a_file_in_a_folder_that_is_not_there_yet() {
    let _watchdog = watchdog("a folder that comes later");
    let name = Name::new("folder");
    let folder = std::env::temp_dir().join(&*name);
    let path = folder.join("value");
    thread::scope(|scope| {
        let opener = scope.spawn(|| Value::<u64>::open(Place::file(&path).open_timeout(LONG)));
        fs::create_dir(&folder).unwrap();
        let created = Value::create(Place::file(&path).persistent(false), 7u64);
        let opened = opener.join().unwrap();
        drop(created);
        assert_eq!(opened.unwrap().get(), 7);
    });
    fs::remove_dir(&folder).unwrap();
}

/// The loop that the crate's docs advise: it ends soon after the flag is set, takes what comes until then, and
/// leaves the queue open for everybody else.
#[test]
fn a_thread_gives_up_its_wait_and_the_queue_stays_open() {
    let _watchdog = watchdog("giving up");
    let queue = Queue::<u64>::new(4).unwrap();
    let state = Value::new(0u64).unwrap();
    let array = Array::new(&[0u64]).unwrap();
    let stop = AtomicBool::new(false);
    let (took, taken) = channel();
    let guard = array.lock().unwrap();
    thread::scope(|scope| {
        let getter = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if let Ok(item) = queue.get_timeout(Duration::from_millis(100)) {
                    took.send(item).unwrap();
                }
            }
        });
        let watcher = scope.spawn(|| {
            state.wait_until(|state| *state == 1 || stop.load(Ordering::Relaxed));
        });
        let locker = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let locked = array.lock_timeout(Duration::from_millis(100));
                assert!(locked.is_err(), "the other thread has it");
            }
        });
        queue.put(7).unwrap();
        assert_eq!(taken.recv_timeout(LONG), Ok(7));
        let began = Instant::now();
        stop.store(true, Ordering::Relaxed);
        for thread in [getter, watcher, locker] {
            thread.join().unwrap();
        }
        let took = began.elapsed();
        println!("three waits given up after {took:?}");
        assert!(took < SOON, "{took:?}");
    });
    drop(guard);
    queue.put(8).unwrap();
    assert_eq!(queue.get(), Ok(8), "nobody closed the queue");
}
