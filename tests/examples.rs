//! The examples as their users run them. `producer` and `consumer`: a photograph goes through a named
//! queue, whichever comes first, and however often the consumer is killed on the way. `blur` is as right in
//! several processes as in one. `tour` and `survivor` show what they are there for.

mod support;

#[cfg(feature = "serde")]
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use support::{Kid, Name, Watchdog};

const LIMIT: Duration = Duration::from_secs(100);

/// Bytes of the stream in a block; see `examples/block`.
const BLOCK: usize = 4084;

const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/chelsea.png");

fn photo() -> Vec<u8> {
    fs::read(PHOTO).expect("the photograph is there")
}

/// An example, which cargo built beside this test. It ends with the test, even where the watchdog
/// aborts that.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().nth(2).expect("it lies in target/*/deps");
    let path = folder.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is not there: run `cargo build --examples` with the test's options first",
        path.display()
    );
    let mut command = Command::new(path);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let die_with_thread = || {
        // SAFETY: the call reads and writes no memory of ours. The thread that starts an example
        // outlives it, or is not to.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes one system call, and takes no lock.
    unsafe { command.pre_exec(die_with_thread) };
    command
}

fn producer(name: &str) -> Command {
    let mut command = example("producer");
    command.args(["--name", name]);
    command
}

fn consumer(name: &str) -> Command {
    let mut command = example("consumer");
    command.args(["--name", name]);
    command
}

fn consumer_into(name: &str, output: &Path) -> Command {
    let mut command = consumer(name);
    command.arg("--output").arg(output);
    command
}

fn start(mut command: Command) -> Kid {
    Kid(command.spawn().expect("start an example"))
}

/// Reads what a program says on standard error, up to and with the line that has `word` in it.
fn hear(from: &mut impl BufRead, word: &str) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        let read = from.read_line(&mut line).expect("read standard error");
        assert!(read > 0, "it ended before it said {word:?}");
    }
}

/// A producer of the photograph that has put all of it, and waits.
fn waiting_producer(name: &str) -> (Kid, impl BufRead + use<>) {
    let mut command = producer(name);
    command.arg(PHOTO).stderr(Stdio::piped());
    let mut producer = start(command);
    let mut says = BufReader::new(producer.0.stderr.take().expect("it is piped"));
    hear(&mut says, "waiting until");
    (producer, says)
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("make a folder");
    let path = folder.path().join("copy.png");
    (folder, path)
}

/// Not `assert_eq`, which would print both.
fn assert_same(found: &[u8], expected: &[u8]) {
    assert_eq!(found.len(), expected.len(), "lengths");
    let differs = found.iter().zip(expected).position(|(f, e)| f != e);
    assert_eq!(differs, None, "the first byte that differs");
}

fn assert_gone(name: &str) {
    assert!(
        matches!(shmkit::inspect(name), Err(shmkit::Error::NotFound { .. })),
        "the queue outlives both"
    );
}

#[test]
fn the_producer_comes_first_and_stays_until_all_is_taken() {
    let _watchdog = Watchdog::new("producer first", LIMIT);
    let (name, (_folder, copy)) = (Name::new("producer-first"), scratch());
    // An older and longer file leaves nothing behind in the new one.
    fs::write(&copy, vec![1; 1_000_000]).expect("write an old file");
    let (producer, _says) = waiting_producer(&name);
    start(consumer_into(&name, &copy)).finish();
    producer.finish();
    assert_same(&fs::read(&copy).expect("read the copy"), &photo());
    assert_gone(&name);
}

#[test]
fn the_consumer_comes_first_and_waits() {
    let _watchdog = Watchdog::new("consumer first", LIMIT);
    let name = Name::new("consumer-first");
    let mut command = consumer(&name);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut consumer = start(command);
    let mut says = BufReader::new(consumer.0.stderr.take().expect("it is piped"));
    hear(&mut says, "taking from");

    // From standard input to standard output.
    let mut command = producer(&name);
    command.stdin(fs::File::open(PHOTO).expect("open the photograph"));
    let producer = start(command);
    let mut copy = Vec::new();
    let mut out = consumer.0.stdout.take().expect("it is piped");
    out.read_to_end(&mut copy).expect("read standard output");
    hear(&mut says, "complete");
    consumer.finish();
    producer.finish();
    assert_same(&copy, &photo());
    assert_gone(&name);
}

/// The consumer is killed while it is writing a block: its pipe is full.
#[test]
fn what_a_killed_consumer_had_in_hand_goes_to_the_next() {
    let _watchdog = Watchdog::new("killed while writing", LIMIT);
    let name = Name::new("in-hand");
    let (producer, _says) = waiting_producer(&name);
    let mut command = consumer(&name);
    command.stdout(Stdio::piped());
    let mut first = start(command);
    let mut pipe = first.0.stdout.take().expect("it is piped");
    until(|| is_full(&pipe));
    let _ = first.kill_and_reap();
    let mut before = Vec::new();
    pipe.read_to_end(&mut before).expect("read the pipe");

    let mut command = consumer(&name);
    command.stdout(Stdio::piped());
    let mut second = start(command);
    let mut pipe = second.0.stdout.take().expect("it is piped");
    let mut after = Vec::new();
    pipe.read_to_end(&mut after).expect("read the pipe");
    second.finish();
    producer.finish();

    let photo = photo();
    let repeated = (before.len() + after.len()).checked_sub(photo.len());
    let repeated = repeated.expect("nothing is lost");
    assert!(!before.is_empty() && !after.is_empty());
    assert!(repeated <= BLOCK, "{repeated} bytes came twice");
    assert_same(&before, &photo[..before.len()]);
    assert_same(&after, &photo[photo.len() - after.len()..]);
}

/// Whether nothing more fits into a pipe, or not a whole block.
fn is_full(pipe: &impl AsRawFd) -> bool {
    let mut filled: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to the address it is given.
    let asked = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut filled) };
    assert_eq!(asked, 0, "ask how full the pipe is");
    // SAFETY: the call reads and writes no memory of ours.
    let size = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_GETPIPE_SZ) };
    assert!(size > 0, "ask for the pipe's size");
    // Its pages are filled one by one: a block that does not fit one may leave some of it free.
    filled > 0 && filled + 2 * 4096 > size
}

/// Looks until it is true; the watchdog ends a test in which that never happens.
fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(1)); // between two looks at the event itself
    }
}

/// The consumer is killed 20 times on the way, wherever it is, and the file is right in the end.
#[test]
fn a_file_comes_out_right_however_often_its_consumer_is_killed() {
    const KILLS: usize = 20;
    let _watchdog = Watchdog::new("killed on the way", LIMIT);
    let (name, (_folder, copy)) = (Name::new("on-the-way"), scratch());
    let photo = photo();
    let mut command = producer(&name);
    command.stdin(Stdio::piped());
    let mut producer = start(command);
    let mut input = producer.0.stdin.take().expect("it is piped");
    let mut consumer = start(consumer_into(&name, &copy));

    // The input does not end before the last kill, so none of them comes too late.
    let enough = Arc::new(AtomicBool::new(false));
    let (stop, picture) = (enough.clone(), photo.clone());
    let feeder = thread::spawn(move || {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            input.write_all(&picture).expect("the producer reads");
            sent += 1;
        }
        sent
    });
    let mut seen = 0;
    for _ in 0..KILLS {
        let written = || fs::metadata(&copy).map_or(0, |file| file.len());
        until(|| written() > seen + 100_000);
        let status = consumer.kill_and_reap();
        assert_eq!(status.code(), None, "it was not to end by itself");
        seen = written();
        consumer = start(consumer_into(&name, &copy));
    }
    enough.store(true, Ordering::Relaxed);
    let sent = feeder.join().expect("the feeder fed");
    consumer.finish();
    producer.finish();
    assert_same(
        &fs::read(&copy).expect("read the copy"),
        &photo.repeat(sent),
    );
    assert_gone(&name);
}

/// One takes the end of the stream; the other is told by the queue's being closed.
#[test]
fn two_consumers_share_a_stream_and_both_end() {
    let _watchdog = Watchdog::new("two consumers", LIMIT);
    let (name, (_folder, copy)) = (Name::new("two-consumers"), scratch());
    let consumers = [(); 2].map(|()| {
        let mut command = consumer_into(&name, &copy);
        command.stderr(Stdio::piped());
        let mut consumer = start(command);
        let mut says = BufReader::new(consumer.0.stderr.take().expect("it is piped"));
        hear(&mut says, "taking from");
        (consumer, says)
    });
    let mut command = producer(&name);
    command.arg(PHOTO);
    start(command).finish();
    let [first, second] = consumers.map(|(consumer, mut says)| {
        let mut last = String::new();
        says.read_to_string(&mut last).expect("read standard error");
        consumer.finish();
        last
    });
    let complete = [&first, &second].map(|last| last.contains("complete"));
    assert!(complete[0] != complete[1], "{first}{second}");
    assert_same(&fs::read(&copy).expect("read the copy"), &photo());
    assert_gone(&name);
}

#[test]
fn errors_are_told_and_end_with_1() {
    let _watchdog = Watchdog::new("errors", LIMIT);
    let (name, (folder, _)) = (Name::new("refusals"), scratch());
    let absent = folder.path().join("absent/photo.png");
    let absent = absent.to_str().expect("a plain path");
    let complains = |mut command: Command, about: &str| {
        let output = command.stderr(Stdio::piped()).output().expect("run it");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.lines().last().is_some_and(|line| line.contains(about)),
            "{said}"
        );
    };
    let with = |mut command: Command, args: &[&str]| {
        command.args(args);
        command
    };
    complains(with(producer(&name), &[absent]), "producer: cannot read");
    complains(
        with(consumer(&name), &["-o", absent]),
        "consumer: cannot write",
    );
    complains(
        with(example("producer"), &["-n", "a/b", PHOTO]),
        "a name has no slash",
    );
    complains(with(producer(&name), &["-c", "0", PHOTO]), "invalid size");
    assert_gone(&name);

    let (mut other, _says) = waiting_producer(&name);
    complains(
        with(consumer(&name), &["-c", "65"]),
        "other capacity: expected 65, found 64",
    );
    // A consumer that can't write takes nothing.
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let mut unable = consumer(&name);
    unable.stdout(full.expect("open /dev/full"));
    complains(unable, "consumer: cannot write: No space left");
    assert!(other.0.try_wait().expect("ask for it").is_none());
    let mut command = consumer(&name);
    command.stdout(Stdio::piped());
    let copy = command.output().expect("run a consumer");
    assert_same(&copy.stdout, &photo());
    other.finish();
}

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

/// The words of each line of the tour that begins with one of these.
fn words_after<'a>(said: &'a str, begin: &str) -> Vec<Vec<&'a str>> {
    let lines = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix(begin));
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
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
    // Twelve named tasks, by as many workers as there are CPUs, as many at a time.
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let lines = (1..=12).map(|n| words_after(said, &format!("task {n} ")));
    let tasks: Vec<_> = lines.flatten().collect();
    assert_eq!(tasks.len(), 12, "each once: {tasks:?}");
    let number = |word: &str| word.parse::<u64>().expect("a number");
    let mut pids = BTreeSet::new();
    for task in &tasks {
        // "pid P   F   T ms   ###", each as long as its work at least
        pids.insert(number(task[1]));
        assert!(number(task[3]) - number(task[2]) >= 99, "{task:?}");
    }
    assert_eq!(pids.len(), workers.min(12), "{tasks:?}");
    let end = tasks.iter().map(|task| number(task[3])).max();
    assert!(
        end >= Some(100 * 12_u64.div_ceil(workers as u64)),
        "{tasks:?}"
    );

    // A writer and a reader in two workers.
    let (write, read) = (
        words_after(said, "task write, pid"),
        words_after(said, "task read, pid"),
    );
    assert_eq!(write[0][1..], ["put", "'A'", "'B'", "'C'"]);
    assert_eq!(read[0][1..], ["took", "'A'", "'B'", "'C'"]);
    assert_ne!(write[0][0], read[0][0], "one worker did both");

    // The plain variable; what is shared.
    let before = words_after(said, "this process, before");
    assert_eq!(before[1], ["0", "0", "0", "10", "20", "30"]);
    let after = words_after(said, "this process, after");
    assert_eq!(after[1], ["0", "4", "4", "14", "24", "34"]);
}

fn blur(output: &Path, args: &[&str]) -> Command {
    let mut command = example("blur");
    command.args(args).arg("--output").arg(output);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn pixels(png: &Path) -> image::RgbImage {
    image::open(png).expect("it is a picture").into_rgb8()
}

/// How much a picture's pixels differ from their neighbours to the right, and the sum of all.
fn contrast_and_sum(picture: &image::RgbImage) -> (u64, u64) {
    let row = 3 * usize::try_from(picture.width()).expect("64 bits");
    let differs = |row: &[u8]| -> u64 {
        let pairs = row.iter().zip(&row[3..]);
        pairs
            .map(|(left, right)| u64::from(left.abs_diff(*right)))
            .sum()
    };
    let contrast = picture.as_raw().chunks_exact(row).map(differs).sum();
    (
        contrast,
        picture.as_raw().iter().map(|byte| u64::from(*byte)).sum(),
    )
}

#[test]
fn processes_blur_a_picture_as_one_does() {
    let _watchdog = Watchdog::new("blur", LIMIT);
    let (_folder, copy) = scratch();
    for processes in ["2", "5"] {
        let args = [
            "--processes",
            processes,
            "--scale",
            "1",
            "--passes",
            "3",
            "--radius",
            "4",
        ];
        let output = blur(&copy, &args).output().expect("run the example");
        let said = String::from_utf8(output.stdout).expect("it says text");
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}", output.status);
        assert_eq!(words_after(&said, "byte for byte"), [["the", "same"]]);
        assert_eq!(words_after(&said, "faster")[0][1], "x");

        let (blurred, photo) = (pixels(&copy), pixels(Path::new(PHOTO)));
        assert_eq!(blurred.dimensions(), photo.dimensions());
        let (contrast, sum) = contrast_and_sum(&blurred);
        let (contrast_before, sum_before) = contrast_and_sum(&photo);
        assert!(
            contrast < contrast_before * 2 / 3,
            "{contrast} of {contrast_before}"
        );
        assert!(
            sum.abs_diff(sum_before) < sum_before / 100,
            "{sum} of {sum_before}"
        );
    }
}

#[test]
fn a_killed_worker_ends_the_blur_with_an_error() {
    let _watchdog = Watchdog::new("a killed worker", LIMIT);
    let (_folder, copy) = scratch();
    let endless = ["--processes", "3", "--scale", "1", "--passes", "1000000"];
    let mut blur = start(blur(&copy, &endless));
    let list = format!("/proc/{0}/task/{0}/children", blur.0.id());
    let mut workers: Vec<libc::pid_t> = Vec::new();
    until(|| {
        let listed = fs::read_to_string(&list).expect("ask for its children");
        let pids = listed.split_whitespace().map(|pid| pid.parse());
        workers = pids.map(|pid| pid.expect("a number")).collect();
        workers.len() == 3
    });
    // SAFETY: it takes numbers; the example, which is this test's own, has not waited for its child.
    assert_eq!(unsafe { libc::kill(workers[1], libc::SIGKILL) }, 0);
    let mut said = String::new();
    let mut errors = blur.0.stderr.take().expect("it is piped");
    errors
        .read_to_string(&mut said)
        .expect("read standard error");
    assert_eq!(
        blur.0.wait().expect("wait for it").code(),
        Some(1),
        "{said}"
    );
    let last = said.lines().last().unwrap_or_default();
    let expected = format!(
        "blur: blur-2 (pid {}) ended before its work: signal: 9",
        workers[1]
    );
    assert!(last.starts_with(&expected), "{said}");
    assert!(
        !fs::exists(&copy).expect("look for the picture"),
        "it wrote one"
    );
    for pid in workers {
        assert!(
            !fs::exists(format!("/proc/{pid}")).expect("look at /proc"),
            "{pid} is left"
        );
    }
}

#[test]
fn blur_tells_what_it_can_not_read_or_write() {
    let _watchdog = Watchdog::new("blur's errors", LIMIT);
    let (folder, _) = scratch();
    let absent = folder.path().join("absent/photo.png");
    let small = ["--scale", "1", "--passes", "1", "--radius", "1"];
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    for (args, about) in [
        (&small[..], "blur: cannot write"),
        (&[readme][..], "blur: cannot read"),
    ] {
        let output = blur(&absent, args).output().expect("run the example");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.lines()
                .last()
                .is_some_and(|line| line.starts_with(about)),
            "{said}"
        );
    }
}
