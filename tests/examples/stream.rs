//! `producer` and `consumer`.

use super::support::{Kid, Name, Watchdog};
use super::{LIMIT, PHOTO, assert_same, example, photo, scratch, start, until};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The bytes of the stream in a block; see `examples/block`.
const BLOCK: usize = 4084;

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

/// Reads lines up to the first line that has `word` in it.
fn hear(from: &mut impl BufRead, word: &str) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        let read = from.read_line(&mut line).expect("read standard error");
        assert!(read > 0, "it ended before it said {word:?}");
    }
}

/// Starts a program, and waits until it has said `word` on standard error. Returns the rest of its words too.
fn start_and_hear(mut command: Command, word: &str) -> (Kid, BufReader<ChildStderr>) {
    command.stderr(Stdio::piped());
    let mut kid = start(command);
    let mut says = BufReader::new(kid.0.stderr.take().expect("it is piped"));
    hear(&mut says, word);
    (kid, says)
}

/// Starts a producer, which has put the whole photograph when this returns, and waits.
fn waiting_producer(name: &str) -> (Kid, BufReader<ChildStderr>) {
    let mut command = producer(name);
    command.arg(PHOTO);
    start_and_hear(command, "waiting until")
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
    command.stdout(Stdio::piped());
    let (mut consumer, mut says) = start_and_hear(command, "taking from");

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

/// The first consumer is killed while it waits to write a block, because its pipe is full.
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

/// Whether a pipe may have no room for another block.
fn is_full(pipe: &impl AsRawFd) -> bool {
    let mut filled: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, to `filled`.
    let asked = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut filled) };
    assert_eq!(asked, 0, "ask how full the pipe is");
    // SAFETY: the call takes numbers.
    let size = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_GETPIPE_SZ) };
    assert!(size > 0, "ask for the pipe's size");
    // A pipe fills its pages one by one, and may leave the rest of a page free.
    filled > 0 && filled + 2 * 4096 > size
}

/// The consumer is killed 20 times at any point, and still the file is right in the end.
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

/// One consumer takes the end of the stream. The other finds the queue closed.
#[test]
fn two_consumers_share_a_stream_and_both_end() {
    let _watchdog = Watchdog::new("two consumers", LIMIT);
    let (name, (_folder, copy)) = (Name::new("two-consumers"), scratch());
    let consumers = [(); 2].map(|()| start_and_hear(consumer_into(&name, &copy), "taking from"));
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
    // A consumer that can't write takes no block.
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
