//! The examples, run as their users run them. `producer` and `consumer` pass a photograph through a named
//! queue, in whichever order they start, and however often the consumer is killed. `blur` gets the same
//! picture from several processes as from one, and its pool survives the death of a worker. `tour` and
//! `survivor` show what their descriptions promise.

mod blur;
mod shows;
mod stream;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;
use support::Kid;

const LIMIT: Duration = Duration::from_secs(100);

const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/chelsea.png");

fn photo() -> Vec<u8> {
    fs::read(PHOTO).expect("the photograph is there")
}

/// The folder with the examples. They are built first, because cargo builds no examples if the user asks for
/// this test by its name. The profile and the features are the test's own, so that nothing is built twice.
fn examples() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a path");
        let folder = test.ancestors().nth(2).expect("it lies in target/*/deps");
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            Some(name) => name,
            None => panic!("{} is no folder of cargo's", folder.display()),
        };
        let features = [
            ("default", cfg!(feature = "default")),
            ("derive", cfg!(feature = "derive")),
            ("serde", cfg!(feature = "serde")),
            ("shared_memory", cfg!(feature = "shared_memory")),
        ];
        let features = features.map(|(name, has)| if has { name } else { "" });
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--examples"])
            .args(["--profile", profile, "--no-default-features"])
            .args(["--features", &features.join(" ")])
            .arg("--target-dir")
            .arg(folder.parent().expect("it lies in target"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        let built = built.expect("run cargo");
        assert!(built.success(), "the examples can't be built: {built}");
        folder.join("examples")
    })
}

/// The command for an example. The example ends with the test, even if the watchdog aborts the test.
fn example(name: &str) -> Command {
    let path = examples().join(name);
    assert!(path.exists(), "{} is not there", path.display());
    let mut command = Command::new(path);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let die_with_thread = || {
        // SAFETY: the call takes numbers. The kernel kills the example when the thread that started it ends,
        // which is never too early.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec the closure makes one system call, and takes no lock.
    unsafe { command.pre_exec(die_with_thread) };
    command
}

fn start(mut command: Command) -> Kid {
    Kid(command.spawn().expect("start an example"))
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("make a folder");
    let path = folder.path().join("copy.png");
    (folder, path)
}

/// Fails for the first difference. `assert_eq` would print both files.
fn assert_same(found: &[u8], expected: &[u8]) {
    assert_eq!(found.len(), expected.len(), "lengths");
    let differs = found.iter().zip(expected).position(|(f, e)| f != e);
    assert_eq!(differs, None, "the first byte that differs");
}

/// The words that follow `begin` in each line that begins so.
fn words_after<'a>(said: &'a str, begin: &str) -> Vec<Vec<&'a str>> {
    let lines = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix(begin));
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// Waits until the condition is true. The watchdog ends a test in which it never is.
fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(1));
    }
}
