//! The tools of all steps: printing, checking, and starting programs.

use std::fmt::{self, Debug, Display};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio, exit};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// How a step, or a program that it starts, ended.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a step did not show what it should.
pub(crate) struct Failure {
    what: String,
    expected: String,
    found: String,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n   expected  {}\n   found     {}",
            self.what, self.expected, self.found
        )
    }
}

/// A forked child that ends with a failure prints this on standard error.
impl Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        failure("a call failed", "no error", error)
    }
}

/// A failure in words.
pub(crate) fn failure(what: &str, expected: impl Display, found: impl Display) -> Failure {
    Failure {
        what: what.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// Fails unless both are the same.
pub(crate) fn check<T: PartialEq + Debug>(what: &str, expected: T, found: T) -> Outcome {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    Err(failure(what, expected, found))
}

/// Prints a line. Ends the tour if nobody reads its output any more.
pub(crate) fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        remove_own_names();
        exit(1);
    }
}

/// Prints aligned rows, each with its subject and a text.
pub(crate) fn rows<K: Display, V: Display>(rows: &[(K, V)]) {
    let texts = rows.iter().map(|(key, _)| key.to_string());
    let texts: Vec<String> = texts.collect();
    let width = texts.iter().map(|text| text.chars().count()).max();
    let width = width.unwrap_or(0);
    for (text, (_, said)) in texts.iter().zip(rows) {
        say(format!("   {text:width$}   {said}").trim_end());
    }
}

/// Writes elements with spaces between them.
pub(crate) fn spaced<T: ToString>(elements: &[T]) -> String {
    let texts: Vec<String> = elements.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

/// Writes a number with commas between its thousands.
pub(crate) fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The beginning of this run's names. All forked processes have the prefix that was chosen before the fork.
pub(crate) fn prefix() -> &'static str {
    static PREFIX: OnceLock<String> = OnceLock::new();
    PREFIX.get_or_init(|| format!("tour-{}-", std::process::id()))
}

/// A name that no other run of the tour uses at the same time.
pub(crate) fn name(what: &str) -> String {
    format!("{}{what}", prefix())
}

/// The names of this run that still exist.
pub(crate) fn left_behind() -> Vec<String> {
    let entries = std::fs::read_dir("/dev/shm").into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.contains(prefix())).collect()
}

/// Removes this run's names, after a failure.
pub(crate) fn remove_own_names() {
    for name in left_behind() {
        let _ = shmkit::unlink(name);
    }
}

/// Another program, which is this one again in a role. A drop kills it if it still runs.
pub(crate) struct Program {
    role: &'static str,
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn start(role: &'static str, args: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let says = child.stdout.take().expect("it is piped");
        Ok(Self {
            role,
            child,
            says: BufReader::new(says),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads the next line that the program prints.
    pub(crate) fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if self.says.read_line(&mut line)? == 0 {
            return Err(failure(self.role, "a line of output", "the end of it"));
        }
        Ok(line.trim_end().to_owned())
    }

    /// The pipe from its standard output.
    pub(crate) fn pipe(&mut self) -> &mut ChildStdout {
        self.says.get_mut()
    }

    /// Waits for its end, and checks that it succeeded.
    pub(crate) fn finish(mut self) -> Outcome {
        let status = self.child.wait()?;
        check(
            &format!("exit code of the {}", self.role),
            Some(0),
            status.code(),
        )
    }

    /// Kills the program with SIGKILL.
    pub(crate) fn kill(&mut self) -> Outcome {
        Ok(self.child.kill()?)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps a program that a step started from outliving the tour.
pub(crate) fn end_with_parent() {
    use std::os::unix::process::parent_id;
    let parent = parent_id();
    thread::spawn(move || {
        while parent_id() == parent {
            thread::sleep(Duration::from_millis(200));
        }
        exit(1);
    });
}

/// Runs `f`, and returns its result and its time.
pub(crate) fn timed<R>(f: impl FnOnce() -> R) -> (R, Duration) {
    let started = Instant::now();
    let result = f();
    (result, started.elapsed())
}

/// The median of an odd number of figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
