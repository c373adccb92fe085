//! The bodies: a representative use of each part of the crate. Each leaves nothing.

use crate::fork::{Name, has_children};
use crate::worlds::middle;
use shmkit::{Array, ByteQueue, Place, Process, Queue, Result, Value};
use std::time::Duration;

pub(crate) struct Body {
    pub(crate) name: &'static str,
    pub(crate) run: fn() -> Result<()>,
}

const fn body(name: &'static str, run: fn() -> Result<()>) -> Body {
    Body { name, run }
}

pub(crate) const BODIES: &[Body] = &[
    body("a value", value),
    body("an anonymous array", array),
    body("a queue between two", queue),
    body("bytes", bytes),
    #[cfg(feature = "serde")]
    body("messages", messages),
    body("a file and a descriptor", places),
    body("looking from outside", outside),
    body("a contended lock", contended),
    body("time limits", time_limits),
    body("processes", processes),
    body("8 MiB", big),
    #[cfg(feature = "serde")]
    body("a pool", pool),
];

fn value() -> Result<()> {
    let name = Name::new("value");
    let value = Value::create(&*name, 1u64)?;
    middle();
    let again = Value::<u64>::open(&*name)?;
    again.set(2);
    value.update(|n| *n += 1);
    assert_eq!((value.get(), again.swap(9)), (3, 3));
    drop(value);
    middle();
    assert_eq!(shmkit::inspect(&*name)?.holders, 1);
    drop(again);
    assert!(!name.exists());
    let made = Value::open_or_create(&*name, 5u64)?;
    assert_eq!(made.get(), 5);
    Ok(())
}

fn array() -> Result<()> {
    let array = Array::new(&[0u32; 1000])?;
    middle();
    array.write_at(10, &[1, 2, 3]).expect("in bounds");
    array.lock().expect("nobody died")[12] += 1;
    assert_eq!(array.get(12), Some(4));
    Ok(())
}

fn queue() -> Result<()> {
    const ITEMS: u64 = 20_000;
    let name = Name::new("queue");
    let queue = Queue::<u64>::create(&*name, 64)?;
    middle();
    let child = Process::spawn(|| {
        let theirs = Queue::<u64>::open(&*name).expect("open");
        for n in 0..ITEMS {
            theirs.put(n).expect("put");
        }
        theirs.close();
    })?;
    middle();
    let sum: u64 = queue.iter().sum();
    assert_eq!(sum, ITEMS * (ITEMS - 1) / 2);
    assert!(child.join()?.success());
    drop(queue);
    assert!(!name.exists());
    Ok(())
}

fn bytes() -> Result<()> {
    let name = Name::new("bytes");
    let queue = ByteQueue::create(&*name, 4096)?;
    let child = Process::spawn(|| {
        for n in 0..500usize {
            queue.put(&vec![7; n]).expect("put");
        }
    })?;
    middle();
    for n in 0..500 {
        assert_eq!(queue.get()?, vec![7; n]);
    }
    assert!(child.join()?.success());
    Ok(())
}

#[cfg(feature = "serde")]
fn messages() -> Result<()> {
    let queue = shmkit::MessageQueue::<(u32, String)>::new(4096)?;
    middle();
    queue.put(&(7, "seven".into()))?;
    assert_eq!(queue.get()?, (7, "seven".into()));
    Ok(())
}

fn places() -> Result<()> {
    // A folder that every user may write to.
    let name = Name::new("file");
    let path = format!("/dev/shm/{}", &*name);
    let place = Place::file(&path).persistent(false).mode(0o640);
    let value = Value::create(&place, 1u64)?;
    let fd = value.try_clone_fd()?;
    let by_fd = Value::<u64>::open(Place::fd(fd))?;
    middle();
    by_fd.set(4);
    assert_eq!(value.get(), 4);
    shmkit::unlink(&*name)?;
    assert!(!name.exists());
    value.set(5);
    assert_eq!(by_fd.get(), 5);
    Ok(())
}

fn outside() -> Result<()> {
    let name = Name::new("outside");
    let value = Value::create(&*name, 1u64)?;
    middle();
    let lists =
        |name: &str| -> Result<bool> { Ok(shmkit::list()?.iter().any(|info| info.name == name)) };
    assert!(lists(&name)?);
    assert_eq!(shmkit::inspect(&*name)?.holders, 1);
    drop(value);
    assert!(!lists(&name)?);
    Ok(())
}

/// Two processes increment one number, so that they wait for each other's locks.
fn contended() -> Result<()> {
    const TIMES: u64 = 3_000;
    let name = Name::new("contended");
    let value = Value::create(&*name, 0u64)?;
    let add = || (0..TIMES).for_each(|_| value.update(|n| *n += 1));
    let child = Process::spawn(add)?;
    middle();
    add();
    assert!(child.join()?.success());
    assert_eq!(value.get(), 2 * TIMES);
    Ok(())
}

/// A time limit is neither early, nor late by much.
fn time_limits() -> Result<()> {
    const LIMIT: Duration = Duration::from_millis(30);
    let queue = Queue::<u64>::new(1)?;
    middle();
    let began = std::time::Instant::now();
    assert_eq!(queue.get_timeout(LIMIT), Err(shmkit::GetError::TimedOut));
    let took = began.elapsed();
    assert!(took >= LIMIT && took < Duration::from_secs(2), "{took:?}");
    Ok(())
}

fn processes() -> Result<()> {
    let sum = Value::new(0u32)?;
    for n in 1..=3 {
        let child = Process::spawn(|| sum.update(|sum| *sum += n))?;
        assert!(child.join()?.success());
    }
    middle();
    assert_eq!(sum.get(), 6);
    let daemon = Process::builder().daemon(true);
    let daemon = daemon.spawn(|| {
        loop {
            std::thread::park();
        }
    })?;
    assert!(daemon.join_timeout(Duration::from_millis(5))?.is_none());
    daemon.terminate()?;
    daemon.join()?;
    assert_eq!(daemon.exit_code(), Some(-15));
    assert!(!has_children());
    Ok(())
}

fn big() -> Result<()> {
    let name = Name::new("big");
    let array = Array::create(&*name, &vec![1u64; 1 << 20]);
    middle();
    if array.is_err() {
        assert!(!name.exists());
    }
    assert_eq!(array?.get((1 << 20) - 1), Some(1));
    Ok(())
}

#[cfg(feature = "serde")]
fn pool() -> Result<()> {
    let pool = shmkit::Pool::with_workers(1)?;
    // No middle: the file of a pool's arguments and its sockets are descriptors that nothing else keeps.
    let big = |len: usize| vec![7u8; len];
    for n in 0..20u64 {
        assert_eq!(pool.apply(|n: u64| 2 * n, n), Ok(2 * n));
    }
    assert_eq!(pool.apply(big, 100_000), Ok(vec![7; 100_000]));
    assert_eq!(
        pool.apply(|bytes: Vec<u8>| bytes.len(), vec![1; 100_000]),
        Ok(100_000)
    );
    pool.join().expect("join");
    assert!(!has_children());
    Ok(())
}
