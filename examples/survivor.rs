//! Whose survivor hangs? A process is killed with SIGKILL while it is inside a critical section, once
//! under a `raw_sync` mutex in a `shared_memory` mapping, and once in a shmkit `Value`. Then another
//! process wants in.
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

/// What a child does.
#[derive(Subcommand)]
#[command(hide = true)]
enum Role {
    /// Goes into the critical section and stays.
    Hold { side: Side, name: String },
    /// Wants in, too.
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

/// Whether the survivor went on.
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
    survivor.kill()?; // by its id, if it has not ended by itself
    Ok(said.is_some())
}

/// What the two meet in. It has a name until it is dropped.
enum Memory {
    Theirs { _shmem: Shmem },
    Ours { _value: Value<u64> },
}

fn create(side: Side, name: &str) -> Result<Memory> {
    Ok(match side {
        Side::RawSync => {
            let shmem = ShmemConf::new().os_id(name).size(4096).create()?;
            let (lock, data) = places(&shmem);
            // SAFETY: both lie in the mapping, apart, and nobody else has opened it yet.
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
            // SAFETY: made by `create` in the process that named it to us.
            let (mutex, _) = unsafe { Mutex::from_existing(lock, data) }?;
            let guard = mutex.lock()?;
            // SAFETY: an aligned number in the mapping, and ours while the guard lives.
            f(unsafe { &mut *guard.cast::<u64>() });
        }
        Side::Shmkit => Value::open(name)?.update(f),
    }
    Ok(())
}

/// Where the lock and the number are.
fn places(shmem: &Shmem) -> (*mut u8, *mut u8) {
    let lock = shmem.as_ptr();
    (
        lock,
        lock.wrapping_add(Mutex::size_of(Some(lock)).next_multiple_of(8)),
    )
}

/// A child in a role.
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

    /// The next line; `None` if there is none in time.
    fn hear(&mut self, limit: Duration) -> Result<Option<String>> {
        // A channel's deadline is an instant, which a limit of MAX is beyond.
        let limit = limit.min(Duration::from_secs(60 * 60));
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

/// A child whose main thread may wait for ever ends when its standard input does.
fn end_with_parent() {
    thread::spawn(|| {
        let _ = stdin().read(&mut [0]);
        std::process::exit(1);
    });
}
