//! Behaviours known from Python's `multiprocessing`, case by case and by its tests' names: values and
//! arrays that other processes open by name, and the life of their segments.
//!
//! The processes are this test binary again, each in a role. The values that a fork inherits are tested in
//! a binary of their own, without libtest's threads.

#[path = "../support/mod.rs"]
mod support;

use shmkit::bytemuck::{Pod, Zeroable};
use shmkit::{Array, Element, Error, Queue, Value};
use std::fmt::Debug;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::checks::fails;
use support::{Kid, Name, Watchdog, start};

fn watchdog(what: &'static str) -> Watchdog {
    Watchdog::new(what, Duration::from_secs(100))
}

/// Plays the role for which a child was started; does nothing in the test run itself.
#[test]
fn role() {
    let Some((role, args)) = support::my_role() else {
        return;
    };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match (role.as_str(), &args[..]) {
        ("write-all-types", [name]) => each_type(name, Side::Child),
        ("write-slices", [name]) => write_slices(name),
        ("prefix-sum", [name]) => prefix_sum(name),
        ("double", names) => double(names),
        ("count", [value, array]) => count(value, array),
        ("race", [name, ready, result, who]) => race(name, ready, result, who),
        ("hold", [name, ready]) => hold(name, ready),
        other => panic!("no such role: {other:?}"),
    }
    std::process::exit(0);
}

/// Starts a child in a role, and waits until it has ended well.
fn run(role: &str, args: &[&str]) {
    start(role, args).finish();
}

/// Waits until a counter is that high.
fn wait_for(counter: &Value<u64>, count: u64) {
    let reached = counter.wait_until_timeout(Duration::from_secs(60), |now| *now >= count);
    assert!(reached.is_some(), "{count} was not reached in 60 s");
}

// Values and arrays.

#[derive(Clone, Copy)]
enum Side {
    Parent,
    Child,
}

/// One side of a value and an array that the child changes from `from` to `to`.
fn one_type<T: Element + PartialEq + Debug>(name: &str, side: Side, from: T, to: T) {
    let type_name = std::any::type_name::<T>();
    let [value, array] = ["value", "array"].map(|what| format!("{name}-{type_name}-{what}"));
    match side {
        Side::Parent => {
            let value = Value::create(value, from).expect("create a value");
            let array = Array::create(array, &[from, to, from]).expect("create an array");
            run("write-all-types", &[name]);
            assert_eq!(value.get(), to, "{type_name}");
            assert_eq!(array.to_vec(), [to, to, from], "{type_name}");
        }
        // The parent makes one type at a time: the others are not there.
        Side::Child => match Value::<T>::open(value) {
            Err(Error::NotFound { .. }) => {}
            value => {
                let (value, array) = (value.expect("open"), Array::<T>::open(array).expect("open"));
                assert_eq!((value.get(), array.to_vec()), (from, vec![from, to, from]));
                value.set(to);
                array.set(0, to).expect("inside");
            }
        },
    }
}

fn each_type(name: &str, side: Side) {
    macro_rules! integers {
        ($($integer:ty)*) => { $( one_type(name, side, <$integer>::MIN, <$integer>::MAX); )* };
    }
    integers!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize);
    one_type(name, side, f32::MIN, f32::MAX);
    one_type(name, side, f64::EPSILON, -1.0 / 3.0);
}

#[test]
fn value_and_array_a_childs_writes_are_seen_by_the_parent_for_every_primitive_type() {
    let _watchdog = watchdog("every primitive type");
    each_type(&Name::new("types"), Side::Parent);
}

#[test]
fn array_of_zeros_by_size() {
    let _watchdog = watchdog("zeros");
    let name = Name::new("zeros");
    for len in [1, 10, 1000, 100_000] {
        // The numbers of one array don't come back in the next.
        for _ in 0..3 {
            let array = Array::<i32>::zeroed(&*name, len).expect("create");
            assert_eq!(array.len(), len);
            assert!(array.to_vec().iter().all(|element| *element == 0));
            let counting: Vec<i32> = (1..).take(len).collect();
            array.write_at(0, &counting).expect("inside");
            assert_eq!(array.to_vec(), counting);
        }
    }
}

fn write_slices(name: &str) {
    let array = Array::<i32>::open(name).expect("open");
    array.write_at(4, &[1, 2, 3, 4]).expect("inside");
    array.lock().expect("not poisoned")[..2].copy_from_slice(&[70, 80]);
}

#[test]
fn array_slices() {
    let _watchdog = watchdog("slices");
    let name = Name::new("slices");
    let init: Vec<i32> = (0..10).collect();
    let array = Array::create(&*name, &init).expect("create");
    let slice = |offset, len| {
        let mut out = vec![-1; len];
        array.read_at(offset, &mut out).map(|()| out)
    };
    assert_eq!(slice(0, 10), Ok(init.clone()));
    assert_eq!(slice(2, 3), Ok(vec![2, 3, 4]));
    assert_eq!(slice(10, 0), Ok(vec![]));
    assert!(slice(8, 3).is_err());
    run("write-slices", &[&name]);
    assert_eq!(array.to_vec(), [70, 80, 2, 3, 1, 2, 3, 4, 8, 9]);
    assert_eq!(slice(4, 4), Ok(vec![1, 2, 3, 4]));
    assert_eq!(array.lock().expect("not poisoned")[8..], [8, 9]);
}

fn prefix_sum(name: &str) {
    let array = Array::<i64>::open(name).expect("open");
    let mut all = array.lock().expect("not poisoned");
    for i in 1..all.len() {
        all[i] += all[i - 1];
    }
}

#[test]
fn array_a_childs_prefix_sum() {
    let _watchdog = watchdog("prefix sum");
    let name = Name::new("prefix");
    let init = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];
    let array = Array::<i64>::create(&*name, &init).expect("create");
    run("prefix-sum", &[&name]);
    let sums: Vec<i64> = init
        .iter()
        .scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        })
        .collect();
    assert_eq!(array.to_vec(), sums);
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Foo {
    x: i32,
    letters: [u8; 4],
    y: f64,
}

impl Foo {
    const fn new(x: i32, y: f64) -> Self {
        Self {
            x,
            letters: *b"abcd",
            y,
        }
    }

    fn double(&mut self) {
        self.x *= 2;
        self.y *= 2.0;
    }
}

fn double(names: &[&str]) {
    let [value, array, text] = names else {
        panic!("wrong arguments")
    };
    Value::<Foo>::open(*value)
        .expect("open")
        .update(Foo::double);
    let array = Array::<Foo>::open(*array).expect("open");
    for i in 0..array.len() {
        let mut element = array.get(i).expect("inside");
        element.double();
        array.set(i, element).expect("inside");
    }
    let text = Array::<u8>::open(*text).expect("open");
    let mut text = text.lock().expect("not poisoned");
    text.copy_within(..5, 5);
}

#[test]
fn value_and_array_a_struct_of_several_fields_doubled() {
    let _watchdog = watchdog("a struct doubled");
    let names = ["foo", "foos", "text"].map(Name::new);
    let value = Value::create(&*names[0], Foo::new(3, 2.0)).expect("create");
    let foos: Vec<Foo> = (0..10u8).map(|n| Foo::new(n.into(), n.into())).collect();
    let array = Array::create(&*names[1], &foos).expect("create");
    let text = Array::create(&*names[2], b"hello.....").expect("create");
    run("double", &[&names[0], &names[1], &names[2]]);
    assert_eq!(value.get(), Foo::new(6, 4.0));
    let doubled: Vec<Foo> = (0..10u8)
        .map(|n| Foo::new(2 * i32::from(n), 2.0 * f64::from(n)))
        .collect();
    assert_eq!(array.to_vec(), doubled);
    assert_eq!(text.to_vec(), b"hellohello");
}

const PROCESSES: usize = 4;
const UPDATES: u64 = 10_000;

fn count(value: &str, array: &str) {
    let value = Value::<u64>::open(value).expect("open");
    let array = Array::<[u32; 3]>::open(array).expect("open");
    for _ in 0..UPDATES {
        value.update(|n| *n += 1);
        for element in array.lock().expect("not poisoned").iter_mut() {
            *element = element.map(|n| n + 1);
        }
    }
}

#[test]
fn value_and_array_locked_read_modify_write_from_4_processes_loses_no_update() {
    let _watchdog = watchdog("read-modify-write");
    let (value_name, array_name) = (Name::new("value"), Name::new("array"));
    let value = Value::create(&*value_name, 0u64).expect("create");
    let array = Array::create(&*array_name, &[[0u32; 3]; 5]).expect("create");
    let kids: Vec<Kid> = (0..PROCESSES)
        .map(|_| start("count", &[&value_name, &array_name]))
        .collect();
    kids.into_iter().for_each(Kid::finish);
    let total = PROCESSES as u64 * UPDATES;
    assert_eq!(value.get(), total);
    let total = u32::try_from(total).expect("not many");
    assert_eq!(array.to_vec(), [[total; 3]; 5]);
}

// Segments.

#[test]
fn segment_name_taken() {
    let name = Name::new("taken");
    let array = Array::create(&*name, &[1u8, 2]).expect("create");
    fails!(
        Error::AlreadyExists { .. },
        Array::create(&*name, &[3u8, 4]),
        Array::<u8>::zeroed(&*name, 2),
        Value::create(&*name, 3u8), // whatever the kind
    );
    assert_eq!(array.to_vec(), [1, 2], "as it was");
    drop(array);
    assert!(Array::create(&*name, &[3u8, 4]).is_ok());
}

#[test]
fn segment_name_absent() {
    let name = Name::new("absent");
    fails!(
        Error::NotFound { .. },
        Array::<u8>::open(&*name),
        Value::<u8>::open(&*name),
    );
    drop(Array::create(&*name, &[1u8]).expect("create"));
    fails!(Error::NotFound { .. }, Array::<u8>::open(&*name)); // no more
}

const ROUNDS: u64 = 50;

fn race(name: &str, ready: &str, result: &str, who: &str) {
    let ready = Value::<u64>::open(ready).expect("open");
    let result = Array::<u64>::open(result).expect("open");
    let who: u64 = who.parse().expect("a number");
    let mut arrivals = 0;
    let mut meet = || {
        arrivals += 2;
        ready.update(|n| *n += 1);
        wait_for(&ready, arrivals);
    };
    for _ in 0..ROUNDS {
        meet();
        let array = Array::open_or_create(name, &[who, 0]).expect("open or create");
        let at = usize::try_from(2 * who).expect("0 or 1");
        let won = u64::from(array.was_created());
        result
            .write_at(at, &[won, array.get(0).expect("inside")])
            .expect("inside");
        meet();
        let [first_won, first_sees, second_won, second_sees] = result.to_vec()[..] else {
            panic!("two results of two numbers")
        };
        assert_eq!(first_won + second_won, 1, "one wins");
        assert_eq!(first_sees, second_sees, "the same segment");
        assert_eq!(first_sees, second_won, "the winner's number");
        // Both see the writes of each.
        array.lock().expect("not poisoned")[1] += 1;
        meet();
        assert_eq!(array.get(1), Some(2));
        meet();
    }
}

#[test]
fn segment_two_creators_race_one_wins_both_end_with_the_same_segment() {
    let _watchdog = watchdog("two creators");
    let (name, ready, result) = (Name::new("race"), Name::new("ready"), Name::new("result"));
    let _ready = Value::create(&*ready, 0u64).expect("create");
    let _result = Array::create(&*result, &[0u64; 4]).expect("create");
    let kids = ["0", "1"].map(|who| start("race", &[&name, &ready, &result, who]));
    kids.into_iter().for_each(Kid::finish);
    fails!(Error::NotFound { .. }, Array::<u64>::open(&*name));
}

fn hold(name: &str, ready: &str) {
    let array = Array::create(name, &[1u64, 2, 3]).expect("nothing hinders");
    let ready = Value::<u64>::open(ready).expect("open");
    let mut all = array.lock().expect("not poisoned");
    all[0] = 10;
    ready.update(|n| *n += 1);
    ready.wait_until(|n| *n == u64::MAX); // which it never is
}

#[test]
fn segment_a_process_killed_with_sigkill_leaves_nothing_that_hinders_the_next_run() {
    let _watchdog = watchdog("a killed process");
    let (name, ready) = (Name::new("killed"), Name::new("ready"));
    let stage = Value::create(&*ready, 0u64).expect("create");
    for round in 1..=5 {
        // Each creates under the name that the one before had when it was killed with the lock held.
        let kid = start("hold", &[&name, &ready]);
        wait_for(&stage, round);
        kid.kill_and_reap();
    }
    fails!(Error::NotFound { .. }, Array::<u64>::open(&*name));
    let array = Array::create(&*name, &[4u64]).expect("nothing hinders");
    assert_eq!(*array.lock().expect("a new one is not poisoned"), [4]);
}

/// An item of `examples/consumer`, which is another program and declares the fields anew.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Block {
    offset: u64,
    len: u32,
    bytes: [u8; 4084],
}

#[test]
fn segment_opened_by_a_second_program_not_only_by_a_fork() {
    let _watchdog = watchdog("a second program");
    let name = Name::new("program");
    let queue = Queue::<Block>::create(&*name, 64).expect("create");
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().nth(2).expect("it lies in target/*/deps");
    let program = folder.join("examples").join("consumer");
    assert!(program.exists(), "run `cargo build --examples` first");
    let mut command = Command::new(program);
    command.args(["--name", &name]).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut consumer = Kid(child.spawn().expect("start the consumer"));
    let mut block = Block::zeroed();
    block.bytes[..5].copy_from_slice(b"hello");
    block.len = 5;
    queue.put(block).expect("put");
    block.offset = 5;
    block.len = 0; // the end
    queue.put(block).expect("put");
    let mut said = String::new();
    let mut from = consumer.stdout.take().expect("a pipe");
    from.read_to_string(&mut said).expect("read what it says");
    consumer.finish();
    assert_eq!(said, "hello");
    assert!(queue.is_empty());
}
