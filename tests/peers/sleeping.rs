//! Sleepers in other processes: a close wakes them, a put wakes one in spite of another's death, and the
//! clock wakes them.

use crate::support::{Kid, Name, Rng, start, threads_are, until};
use crate::{Stage, turn};
use shmkit::{GetError, PutError, Queue};
use std::time::{Duration, Instant};

const LONGEST: Duration = Duration::from_secs(2);

/// Role: gets from a queue, or puts into it, once or until it is closed; perhaps on one CPU.
pub(crate) fn sleep(what: &str, name: &str, stage: &str, cpu: &str) {
    if let Ok(cpu) = cpu.parse() {
        stay_on(cpu);
    }
    let queue = Queue::<u64>::open(name).expect("open the queue");
    let stage = Stage::open(stage);
    stage.add();
    match what {
        "get until closed" => {
            while queue.get().is_ok() {}
            stage.add();
        }
        "get closed" => assert_eq!(queue.get(), Err(GetError::Closed)),
        "put closed" => assert_eq!(queue.put(2), Err(PutError::Closed)),
        "own and put" => {
            let mut tail = queue.producer().expect("nobody else's");
            stage.add();
            tail.put(9).expect("killed before");
        }
        "own and get" => {
            let mut head = queue.consumer().expect("nobody else's");
            stage.add();
            head.get().expect("killed before");
        }
        "own next" => {
            queue
                .producer()
                .and_then(|mut tail| tail.put(2))
                .expect("put");
        }
        other => panic!("no such way to sleep: {other}"),
    }
    stage.add();
}

/// Waits until a process that is about to sleep in a call sleeps there.
pub(crate) fn await_sleep(kid: &Kid) {
    until("a process that falls asleep", || threads_are('S', kid.id()));
}

fn start_sleeper(what: &str, queue: &str, stage: &Stage) -> Kid {
    start("sleep", &[what, queue, stage.name(), "any CPU"])
}

pub(crate) fn stay_on(cpu: usize) {
    // SAFETY: a set of CPUs is bits, and an empty set is valid.
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number comes from the kernel, so it is inside the set.
    unsafe { libc::CPU_SET(cpu, &mut cpus) };
    // SAFETY: the set is as long as we say.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&cpus), &raw const cpus) };
    assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
}

pub(crate) fn this_cpu() -> usize {
    // SAFETY: it takes nothing.
    let cpu = unsafe { libc::sched_getcpu() };
    usize::try_from(cpu).expect("the kernel knows where it runs")
}

#[test]
fn a_close_wakes_sleepers_in_other_processes() {
    const ROUNDS: usize = 5;
    let _turn = turn("close wakes");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (empty, full, at) = (Name::new("empty"), Name::new("full"), Stage::new());
        let (to_get, to_put) = (
            Queue::<u64>::create(&*empty, 1).expect("create a queue"),
            Queue::<u64>::create(&*full, 1).expect("create a queue"),
        );
        to_put.put(1).expect("put");
        let mut kids = Vec::new();
        for _ in 0..2 {
            kids.push(start_sleeper("get closed", &empty, &at));
            kids.push(start_sleeper("put closed", &full, &at));
        }
        at.wait(4);
        kids.iter().for_each(await_sleep);
        let began = Instant::now();
        to_get.close();
        to_put.close();
        at.wait(8);
        times.push(began.elapsed());
        kids.into_iter().for_each(Kid::finish);
        assert_eq!(to_put.get(), Ok(1), "the item stays");
        assert_eq!(to_put.get(), Err(GetError::Closed));
    }
    times.sort();
    println!("4 sleepers woken by close within {times:?}");
    // No sleeper waited for the end of its nap of 100 ms, which began a moment before the close.
    assert!(times[ROUNDS / 2] < Duration::from_millis(50), "{times:?}");
}

#[test]
fn a_killed_sleeper_keeps_no_wake_up_from_the_others() {
    const ROUNDS: usize = 25;
    let _turn = turn("a killed sleeper");
    let mut rng = Rng::new();
    // The first sleeper may run on this thread's CPU only. The put wakes it, but it can't run before this
    // thread pauses, and is dead by then. So it dies with its wake-up unused.
    let cpu = this_cpu();
    stay_on(cpu);
    let cpu = cpu.to_string();
    let (mut longest, mut eaten) = (Duration::ZERO, 0);
    for _ in 0..ROUNDS {
        let (name, at) = (Name::new("sleepers"), Stage::new());
        let queue = Queue::<u64>::create(&*name, 4).expect("create the queue");
        let args = ["get until closed", &name, at.name(), &cpu];
        let mut first = start("sleep", &args);
        at.wait(1);
        await_sleep(&first);
        let second = start_sleeper("get until closed", &name, &at);
        at.wait(2);
        await_sleep(&second);

        let began = Instant::now();
        let put_first = rng.below(4) != 0;
        if put_first {
            queue.put(1).expect("put");
        }
        first.kill().expect("kill a sleeper");
        if !put_first {
            queue.put(1).expect("put");
        }
        until("a taker", || queue.is_empty());
        let took = began.elapsed();
        longest = longest.max(took);
        eaten += usize::from(took > Duration::from_millis(20));

        // The second sleeper goes on.
        first.kill_and_reap();
        queue.put(2).expect("put");
        queue.close();
        at.wait(4);
        second.finish();
        assert!(queue.is_empty());
    }
    println!(
        "{ROUNDS} sleepers killed while they were woken: {eaten} wake-ups lost with them, longest wait {longest:?}"
    );
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

/// The owner of a side sleeps for the other side, and others sleep for its side, when it is killed.
#[test]
fn a_killed_owner_that_sleeps_frees_its_side() {
    const ROUNDS: usize = 5;
    let _turn = turn("a sleeping owner");
    let mut longest = Duration::ZERO;
    for _ in 0..ROUNDS {
        let (name, at) = (Name::new("owned"), Stage::new());
        let queue = Queue::<u64>::create(&*name, 1).expect("create the queue");
        let getter = start_sleeper("own and get", &name, &at);
        at.wait(2);
        await_sleep(&getter);
        assert_eq!(queue.try_get(), Err(GetError::Busy), "the owner lives");
        getter.kill_and_reap();
        queue.put(1).expect("put");

        let putter = start_sleeper("own and put", &name, &at);
        at.wait(4);
        await_sleep(&putter);
        let next = start_sleeper("own next", &name, &at);
        at.wait(5);
        await_sleep(&next);
        assert_eq!(queue.try_put(3), Err(PutError::Busy), "the owner lives");
        let began = Instant::now();
        putter.kill_and_reap();
        assert_eq!(queue.get(), Ok(1), "the item from before");
        at.wait(6);
        longest = longest.max(began.elapsed());
        next.finish();
        assert_eq!(queue.get(), Ok(2), "and nothing of the dead owner's");
        assert_eq!(queue.try_get(), Err(GetError::Empty));
    }
    println!("{ROUNDS} sleeping owners killed: the next had its item in after {longest:?} at most");
    assert!(longest < LONGEST, "{longest:?}");
}

#[test]
fn timeouts_end_when_they_should_and_not_before() {
    let _turn = turn("timeouts");
    let name = Name::new("timeouts");
    let queue = Queue::<u64>::create(&*name, 1).expect("create the queue");
    let peer = Queue::<u64>::open(&*name).expect("open the queue");
    for millis in [0, 1, 30, 250] {
        let timeout = Duration::from_millis(millis);
        let began = Instant::now();
        assert_eq!(queue.get_timeout(timeout), Err(GetError::TimedOut));
        let got = began.elapsed();
        peer.put(1).expect("put");
        let began = Instant::now();
        assert_eq!(queue.put_timeout(2, timeout), Err(PutError::TimedOut));
        let put = began.elapsed();
        assert_eq!(
            queue.get_timeout(timeout),
            Ok(1),
            "no time is no reason to refuse"
        );
        println!("timeout {timeout:?}: get {got:?}, put {put:?}");
        for waited in [got, put] {
            assert!((timeout..timeout + LONGEST).contains(&waited), "{waited:?}");
        }
    }
}
