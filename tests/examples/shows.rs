//! `survivor` and `tour`.

use super::support::Watchdog;
use super::{LIMIT, example, words_after};
#[cfg(feature = "serde")]
use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn the_survivor_of_a_kill_hangs_with_raw_sync_and_goes_on_with_shmkit() {
    let _watchdog = Watchdog::new("survivor", LIMIT);
    let limit = Duration::from_secs(3);
    let output = example("survivor")
        .args(["--wait", &limit.as_secs().to_string()])
        .stdout(Stdio::piped())
        .output()
        .expect("run the example");
    let said = String::from_utf8(output.stdout).expect("it says text");
    println!("{said}");
    let [theirs, ours] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("expected two lines, found {said:?}");
    };
    assert_eq!(theirs, "raw-sync: the survivor is still waiting after 3.0s");
    let went_on = ours.starts_with("shmkit: the survivor went on after ");
    assert!(went_on && ours.ends_with(", and found 0"), "{ours}");
    assert!(output.status.success(), "{}", output.status);
}

#[test]
fn every_step_of_the_tour_shows_what_it_should() {
    let _watchdog = Watchdog::new("the tour", LIMIT);
    let mut command = example("tour");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().expect("run the tour");
    let said = String::from_utf8(output.stdout).expect("it says text");
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", output.status);
    let steps = if cfg!(feature = "serde") { 12 } else { 9 };
    assert!(said.contains(&format!("All {steps} steps showed what they should")));

    let digits = |first: &'static str| {
        let all = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        [&[first], &all[1..]].concat()
    };
    let both = |plain, shared| [digits(plain), digits(shared)].concat();
    let of_arrays = |begin| words_after(&said, begin).swap_remove(0);
    assert_eq!(of_arrays("this process, before"), both("0", "0"));
    assert_eq!(words_after(&said, "its child sets"), [both("5", "5")]);
    assert_eq!(of_arrays("this process, after"), both("0", "5"));
    assert_eq!(words_after(&said, "daemon1"), [["daemon2"]]);
    assert_eq!(words_after(&said, "is_alive, half-way"), [["true", "true"]]);
    assert_eq!(words_after(&said, "after terminate"), [["true", "false"]]);
    assert_eq!(words_after(&said, "exit_code"), [["0", "-15"]]);
    assert_eq!(words_after(&said, "total time")[0][1], "ms");
    assert_eq!(words_after(&said, "queue   42").len(), 2);
    #[cfg(feature = "serde")]
    assert_pools(&said);
}

/// The tour's steps with pools.
#[cfg(feature = "serde")]
fn assert_pools(said: &str) {
    // Twelve named tasks, with a worker for each CPU.
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let lines = (1..=12).map(|n| words_after(said, &format!("task {n} ")));
    let tasks: Vec<_> = lines.flatten().collect();
    assert_eq!(tasks.len(), 12, "each once: {tasks:?}");
    let number = |word: &str| word.parse::<u64>().expect("a number");
    let mut pids = BTreeSet::new();
    for task in &tasks {
        // A line is "pid P   F   T ms   ###", and its time is at least as long as its work.
        pids.insert(number(task[1]));
        assert!(number(task[3]) - number(task[2]) >= 99, "{task:?}");
    }
    assert_eq!(pids.len(), workers.min(12), "{tasks:?}");
    let end = tasks.iter().map(|task| number(task[3])).max();
    assert!(
        end >= Some(100 * 12_u64.div_ceil(workers as u64)),
        "{tasks:?}"
    );

    // The writer and the reader ran in two workers.
    let (write, read) = (
        words_after(said, "task write, pid"),
        words_after(said, "task read, pid"),
    );
    assert_eq!(write[0][1..], ["put", "'A'", "'B'", "'C'"]);
    assert_eq!(read[0][1..], ["took", "'A'", "'B'", "'C'"]);
    assert_ne!(write[0][0], read[0][0], "one worker did both");

    // The plain variable stays; the value and the array change.
    let before = words_after(said, "this process, before");
    assert_eq!(before[1], ["0", "0", "0", "10", "20", "30"]);
    let after = words_after(said, "this process, after");
    assert_eq!(after[1], ["0", "4", "4", "14", "24", "34"]);
}
