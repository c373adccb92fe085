//! Sleepers in other processes: woken by a close, woken in spite of a sleeper's death, and by the
//! clock.

use crate::board::{Rng, poll};
use crate::stopping::thread_states;
use crate::support::{Kid, Name, start};
use crate::{Stage, turn};
use shmkit::{GetError, PutError, Queue};
use std::time::{Duration, Instant};

const LONGEST: Duration = Duration::from_secs(2);

/// Role: gets from a queue, or puts into it, once or until it is closed; perhaps on one CPU.
pub(crate) fn sleep(args: &[&str]) {
    let [what, name, stage, cpu] = args else {
        panic!("wrong arguments")
    };
    if let Ok(cpu) = cpu.parse() {
        stay_on(cpu);
    }
    let queue = Queue::<u64>::open(*name).expect("open the queue");
    let stage = Stage::open(stage);
    stage.add();
    match *what {
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

/// Waits until a process that is on its way into a call sleeps in it.
pub(crate) fn await_sleep(kid: &Kid) {
    poll("a process that falls asleep", || {
        let states = thread_states(kid.id());
        states.iter().all(|state| *state == 'S').then_some(())
    });
}

fn stay_on(cpu: usize) {
    // SAFETY: a set of CPUs is bits; none set is valid.
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: a number the kernel gave us, so inside the set.
    unsafe { libc::CPU_SET(cpu, &mut cpus) };
    // SAFETY: the set is as long as we say.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&cpus), &raw const cpus) };
    assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
}

fn this_cpu() -> usize {
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
        let (empty, full, stage) = (Name::new("empty"), Name::new("full"), Name::new("stage"));
        let (to_get, to_put) = (
            Queue::<u64>::create(&*empty, 1).expect("create a queue"),
            Queue::<u64>::create(&*full, 1).expect("create a queue"),
        );
        to_put.put(1).expect("put");
        let at = Stage::create(&stage);
        let mut kids = Vec::new();
        for _ in 0..2 {
            kids.push(start("sleep", &["get closed", &empty, &stage, "any CPU"]));
            kids.push(start("sleep", &["put closed", &full, &stage, "any CPU"]));
        }
        at.wait(4);
        kids.iter().for_each(await_sleep);
        let began = Instant::now();
        to_get.close();
        to_put.close();
        at.wait(8);
        times.push(began.elapsed());
        for kid in kids {
            kid.finish();
        }
        assert_eq!(to_put.get(), Ok(1), "what was put stays to be taken");
        assert_eq!(to_put.get(), Err(GetError::Closed));
    }
    times.sort();
    println!("4 sleepers woken by close within {times:?}");
    // Nobody had to wait for the end of a nap of 100 ms, which began a moment before the close.
    assert!(times[ROUNDS / 2] < Duration::from_millis(50), "{times:?}");
}

#[test]
fn a_killed_sleeper_keeps_no_wake_up_from_the_others() {
    const ROUNDS: usize = 25;
    let _turn = turn("a killed sleeper");
    let mut rng = Rng::new();
    // The first sleeper runs where this thread does: woken by the put, it has to wait until this
    // thread pauses, and is dead by then. So it dies with a wake-up that it was given.
    let cpu = this_cpu();
    stay_on(cpu);
    let cpu = cpu.to_string();
    let (mut longest, mut eaten) = (Duration::ZERO, 0);
    for _ in 0..ROUNDS {
        let (name, stage) = (Name::new("sleepers"), Name::new("stage"));
        let queue = Queue::<u64>::create(&*name, 4).expect("create the queue");
        let at = Stage::create(&stage);
        let mut first = start("sleep", &["get until closed", &name, &stage, &cpu]);
        at.wait(1);
        await_sleep(&first);
        let second = start("sleep", &["get until closed", &name, &stage, "any CPU"]);
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
        poll("a taker", || queue.is_empty().then_some(()));
        let took = began.elapsed();
        longest = longest.max(took);
        eaten += usize::from(took > Duration::from_millis(20));

        // The other one is well.
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
        let (name, stage) = (Name::new("owned"), Name::new("stage"));
        let queue = Queue::<u64>::create(&*name, 1).expect("create the queue");
        let at = Stage::create(&stage);
        let getter = start("sleep", &["own and get", &name, &stage, "any CPU"]);
        at.wait(2);
        await_sleep(&getter);
        assert_eq!(queue.try_get(), Err(GetError::Busy), "the owner lives");
        getter.kill_and_reap();
        queue.put(1).expect("put");

        let putter = start("sleep", &["own and put", &name, &stage, "any CPU"]);
        at.wait(4);
        await_sleep(&putter);
        let next = start("sleep", &["own next", &name, &stage, "any CPU"]);
        at.wait(5);
        await_sleep(&next);
        assert_eq!(queue.try_put(3), Err(PutError::Busy), "the owner lives");
        let began = Instant::now();
        putter.kill_and_reap();
        assert_eq!(queue.get(), Ok(1), "what was put before");
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
