//! `blur`: several processes, or a pool, make the same picture as one process.

use super::support::Watchdog;
use super::{LIMIT, PHOTO, example, scratch, start, until, words_after};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
#[cfg(feature = "serde")]
use std::{
    io::{BufRead, BufReader},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

fn blur(output: &Path, args: &[&str]) -> Command {
    let mut command = example("blur");
    command.args(args).arg("--output").arg(output);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn pixels(png: &Path) -> image::RgbImage {
    image::open(png).expect("it is a picture").into_rgb8()
}

/// How much a picture's bytes differ from their neighbours to the right, and the sum of all bytes.
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
    for processes in ["2", "5"] {
        blurs_the_photo(&["--processes", processes]);
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_pool_blurs_a_picture_as_one_process_does() {
    let _watchdog = Watchdog::new("blur by a pool", LIMIT);
    for processes in ["1", "2", "5"] {
        blurs_the_photo(&["--pool", "--processes", processes]);
    }
}

fn blurs_the_photo(by: &[&str]) {
    let (_folder, copy) = scratch();
    let small = ["--scale", "1", "--passes", "3", "--radius", "4"];
    let blur = blur(&copy, &[by, &small].concat()).spawn();
    let blur = blur.expect("start the example");
    let pid = blur.id();
    let output = blur.wait_with_output().expect("wait for the example");
    let said = String::from_utf8(output.stdout).expect("it says text");
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(words_after(&said, "byte for byte"), [["the", "same"]]);
    assert_eq!(words_after(&said, "faster")[0][1], "x");
    assert_eq!(names_of_blur(pid), [""; 0]);

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

/// The names of one run of `blur` in `/dev/shm`.
fn names_of_blur(pid: u32) -> Vec<String> {
    let listed = fs::read_dir("/dev/shm").expect("list /dev/shm");
    let names = listed.map(|entry| entry.expect("list /dev/shm").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let own = format!("blur-{pid}-");
    names.filter(|name| name.contains(&own)).collect()
}

#[test]
fn a_killed_worker_ends_the_blur_with_an_error() {
    let _watchdog = Watchdog::new("a killed worker", LIMIT);
    let (_folder, copy) = scratch();
    let endless = ["--processes", "3", "--scale", "1", "--passes", "1000000"];
    let mut blur = start(blur(&copy, &endless));
    let mut workers = Vec::new();
    until(|| {
        workers = children_of(blur.0.id());
        workers.len() == 3
    });
    // SAFETY: the call takes numbers. The example, a child of this test, has not waited for its worker yet.
    assert_eq!(unsafe { libc::kill(as_pid(workers[1]), libc::SIGKILL) }, 0);
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

fn as_pid(pid: u32) -> libc::pid_t {
    pid.try_into().expect("a process id")
}

/// The children of an example, or of an example's supervisor.
fn children_of(pid: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let listed = listed.expect("ask for its children");
    let pids = listed.split_whitespace().map(|pid| pid.parse());
    pids.map(|pid| pid.expect("a number")).collect()
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

/// The test kills one worker after the other, until one of them had a band.
#[cfg(feature = "serde")]
#[test]
fn a_pool_gives_the_band_of_a_killed_worker_again() {
    let _watchdog = Watchdog::new("a killed worker of a pool", LIMIT);
    let (_folder, copy) = scratch();
    let long = [
        "--pool",
        "--processes",
        "3",
        "--scale",
        "1",
        "--passes",
        "40",
        "--radius",
        "6",
    ];
    let mut blur = start(blur(&copy, &long));
    let pid = blur.0.id();
    let errors = BufReader::new(blur.0.stderr.take().expect("it is piped"));
    let (heard, hears) = channel();
    let ear = thread::spawn(move || {
        for line in errors.lines() {
            let _ = heard.send(line.expect("read standard error"));
        }
    });
    let mut supervisor = Vec::new();
    until(|| {
        supervisor = children_of(pid);
        !supervisor.is_empty()
    });
    let mut killed = Vec::new();
    let mut again = Vec::new();
    while again.is_empty() {
        let mut workers = Vec::new();
        until(|| {
            workers = children_of(supervisor[0]);
            workers.retain(|pid| !killed.contains(pid));
            workers.len() == 3
        });
        let worker = workers[killed.len() % 3];
        // SAFETY: the call takes numbers. The worker belongs to the example, which is a child of this test, and
        // nobody else ends it before the last pass.
        assert_eq!(unsafe { libc::kill(as_pid(worker), libc::SIGKILL) }, 0);
        killed.push(worker);
        // The example says nothing about a worker without a band. Then the test kills the next worker.
        match hears.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => again.push(line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("no worker had a band: {killed:?}"),
        }
    }
    let mut said = String::new();
    let mut out = blur.0.stdout.take().expect("it is piped");
    out.read_to_string(&mut said).expect("read standard output");
    blur.finish();
    ear.join().expect("the ear heard");
    again.extend(hears.iter());
    for line in again {
        let expected = |pid: &u32| {
            let died = format!(" again: the worker {pid} ended with its task: exit code -9");
            line.starts_with("blur: rows ") && line.ends_with(&died)
        };
        let these = killed.len();
        killed.retain(|pid| !expected(pid));
        assert_eq!(killed.len() + 1, these, "{line}");
    }
    assert_eq!(words_after(&said, "byte for byte"), [["the", "same"]]);
    assert_eq!(
        pixels(&copy).dimensions(),
        pixels(Path::new(PHOTO)).dimensions()
    );
    assert_eq!(names_of_blur(pid), [""; 0]);
}
