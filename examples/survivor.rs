//! Which survivor hangs? This program kills a process with SIGKILL inside a critical section, once under a
//! `raw_sync` mutex in a `shared_memory` mapping, and once in a shmkit `Value`. Then another process wants to
//! enter the critical section.
//!
//! ```sh
//! cargo run --release --example survivor
//! ```

use clap::{Parser, Subcommand, ValueEnum};
use raw_sync::locks::{LockInit, Mutex};
use shared_memory::{Shmem, ShmemConf};
use shmkit::Value;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, stdin};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Kills a process inside a critical section, and sees whether another one gets in.
#[derive(Parser)]
struct Arguments {
    /// How many seconds to wait for a survivor.
    #[arg(long, default_value_t = 5.0)]
    wait: f64,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The part that a child plays.
#[derive(Subcommand)]
#[command(hide = true)]
enum Role {
    /// Enters the critical section and stays.
    Hold { side: Side, name: String },
    /// Wants to enter, too.
    Survive { side: Side, name: String },
}

#[derive(Clone, Copy, ValueEnum)]
enum Side {
    RawSync,
    Shmkit,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Self::RawSync => "raw-sync",
            Self::Shmkit => "shmkit",
        }
    }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.role {
        None => {
            let limit = Duration::try_from_secs_f64(arguments.wait)?;
            let theirs = experiment(Side::RawSync, limit)?;
            let ours = experiment(Side::Shmkit, limit)?;
            let as_promised = !theirs && ours;
            return Ok(ExitCode::from(u8::from(!as_promised)));
        }
        Some(Role::Hold { side, name }) => {
            end_with_parent();
            inside(side, &name, |number| {
                *number += 1;
                println!("inside");
                loop {
                    thread::park();
                }
            })?;
        }
        Some(Role::Survive { side, name }) => {
            end_with_parent();
            println!("asking");
            let began = Instant::now();
            inside(side, &name, |number| {
                println!("{:.1?}, and found {number}", began.elapsed());
                *number += 1;
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns whether the survivor went on.
fn experiment(side: Side, limit: Duration) -> Result<bool> {
    let word = side.word();
    let name = format!("survivor-{word}-{}", std::process::id());
    let _memory = create(side, &name)?;

    let mut holder = Player::start("hold", side, &name)?;
    holder.hear(Duration::MAX)?;
    holder.kill()?;

    let mut survivor = Player::start("survive", side, &name)?;
    survivor.hear(Duration::MAX)?;
    let said = survivor.hear(limit)?;
    match &said {
        Some(said) => println!("{word}: the survivor went on after {said}"),
        None => println!("{word}: the survivor is still waiting after {limit:.1?}"),
    }
    survivor.kill()?;
    Ok(said.is_some())
}

/// The memory in which the two processes meet. It has a name until it is dropped.
enum Memory {
    Theirs { _shmem: Shmem },
    Ours { _value: Value<u64> },
}

fn create(side: Side, name: &str) -> Result<Memory> {
    Ok(match side {
        Side::RawSync => {
            let shmem = ShmemConf::new().os_id(name).size(4096).create()?;
            let (lock, data) = places(&shmem);
            // SAFETY: both places lie in the mapping, apart, and nobody else has opened it yet.
            unsafe { Mutex::new(lock, data) }?;
            Memory::Theirs { _shmem: shmem }
        }
        Side::Shmkit => Memory::Ours {
            _value: Value::create(name, 0)?,
        },
    })
}

/// Runs `f` on the shared number, alone.
fn inside(side: Side, name: &str, f: impl FnOnce(&mut u64)) -> Result<()> {
    match side {
        Side::RawSync => {
            let shmem = ShmemConf::new().os_id(name).open()?;
            let (lock, data) = places(&shmem);
            // SAFETY: the process that named the mapping to us has made the mutex, in `create`.
            let (mutex, _) = unsafe { Mutex::from_existing(lock, data) }?;
            let guard = mutex.lock()?;
            // SAFETY: the number is aligned, in the mapping, and ours while the guard lives.
            f(unsafe { &mut *guard.cast::<u64>() });
        }
        Side::Shmkit => Value::open(name)?.update(f),
    }
    Ok(())
}

/// The places of the lock and of the number.
fn places(shmem: &Shmem) -> (*mut u8, *mut u8) {
    let lock = shmem.as_ptr();
    (
        lock,
        lock.wrapping_add(Mutex::size_of(Some(lock)).next_multiple_of(8)),
    )
}

/// A child that plays a part.
struct Player {
    child: Child,
    says: Receiver<String>,
}

impl Player {
    fn start(role: &str, side: Side, name: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([role, side.word(), name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("it is piped")?;
        Ok(Self {
            child,
            says: lines(stdout),
        })
    }

    /// The next line, or `None` if none comes in time.
    fn hear(&mut self, limit: Duration) -> Result<Option<String>> {
        match self.says.recv_timeout(limit) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err("a child ended without a word".into()),
        }
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?; // SIGKILL
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(Ok(line)) = lines.next() {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Ends this child when its standard input ends, even if its main thread waits for ever.
fn end_with_parent() {
    thread::spawn(|| {
        let _ = stdin().read(&mut [0]);
        std::process::exit(1);
    });
}
