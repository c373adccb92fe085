//! Runs a child one instruction at a time, and kills it between two instructions.

use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The instruction that calls the kernel.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// An argument that a request ignores.
const NONE: *mut libc::c_void = std::ptr::null_mut();

/// The exit status of a child that could not become a tracee.
const NO_TRACING: i32 = 77;

/// A forked child, traced and stopped right before its operation.
#[derive(Debug)]
pub(crate) struct Child {
    pid: libc::pid_t,
    running: bool,
}

/// The state of a stopped child, as far as paths compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The address of the next instruction.
    pub(crate) next: u64,
    /// The stack pointer, which tells apart the calls that lead to the same instruction.
    pub(crate) stack: u64,
}

fn address(word: u64) -> usize {
    usize::try_from(word).expect("64 bits")
}

/// What a child did after it was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The child stopped at an instruction.
    Stopped,
    /// The child got through the operation, and ended.
    Ended,
}

/// Why a child stands still.
enum Stop {
    At(Step),
    /// Its own child has ended, and it was about to get the signal.
    ChildEnded,
}

impl Child {
    /// Forks a child that stops right before `operate`, and ends when `operate` returns. Then [`answer`] has
    /// the result.
    ///
    /// The calling process must have a single thread, so that the child may do anything.
    pub(crate) fn start(operate: impl FnOnce() -> bool) -> Result<Self, String> {
        answer_word().store(0, Ordering::Relaxed);
        // SAFETY: this process has no other thread (contract above), so its copy is whole.
        match unsafe { libc::fork() } {
            -1 => Err(format!("fork: {}", io::Error::last_os_error())),
            0 => be_traced(operate),
            pid => {
                let mut child = Self { pid, running: true };
                match child.wait()? {
                    Stop::At(Step::Ended) => Err("the child ended before its operation".into()),
                    _ => {
                        // If this process is killed, the child must not run on.
                        child.ptrace(
                            libc::PTRACE_SETOPTIONS,
                            NONE,
                            std::ptr::without_provenance_mut(libc::PTRACE_O_EXITKILL as usize),
                        )?;
                        Ok(child)
                    }
                }
            }
        }
    }

    /// Lets the child do one instruction. A system call is one; an instruction with a `rep` prefix is as many
    /// as its repetitions.
    pub(crate) fn step(&mut self) -> Result<Step, String> {
        self.go_on(libc::PTRACE_SINGLESTEP)
    }

    /// Lets the child go on until it stops by itself. The end of its own child is nothing that it handles.
    fn go_on(&mut self, request: libc::c_uint) -> Result<Step, String> {
        loop {
            self.ptrace(request, NONE, NONE)?;
            match self.wait()? {
                Stop::At(step) => return Ok(step),
                Stop::ChildEnded => {}
            }
        }
    }

    fn registers(&self) -> Result<libc::user_regs_struct, String> {
        // SAFETY: the structure consists of integers, for which zeros are valid.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        self.ptrace(libc::PTRACE_GETREGS, NONE, (&raw mut registers).cast())?;
        Ok(registers)
    }

    pub(crate) fn state(&self) -> Result<State, String> {
        let registers = self.registers()?;
        Ok(State {
            next: registers.rip,
            stack: registers.rsp,
        })
    }

    /// Returns the bytes from the next instruction on.
    fn code_at(&self, registers: &libc::user_regs_struct) -> [u8; 8] {
        let next = std::ptr::without_provenance_mut::<libc::c_void>(address(registers.rip));
        // The call returns the word at that address. It can't fail, because the child is about to execute the word.
        // SAFETY: the call reads the child's memory, and none of ours.
        let word = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, self.pid, next, NONE) };
        word.to_le_bytes()
    }

    /// Whether the next instruction looks at a clock, the CPU's or the kernel's.
    pub(crate) fn looks_at_the_clock(&self) -> Result<bool, String> {
        const RDTSC: [u8; 2] = [0x0f, 0x31];
        const RDTSCP: [u8; 3] = [0x0f, 0x01, 0xf9];
        let registers = self.registers()?;
        let code = self.code_at(&registers);
        let asks =
            code.starts_with(&SYSCALL) && registers.rax.cast_signed() == libc::SYS_clock_gettime;
        Ok(asks || code.starts_with(&RDTSC) || code.starts_with(&RDTSCP))
    }

    /// Whether the next instruction is a system call.
    pub(crate) fn is_at_system_call(&self) -> Result<bool, String> {
        Ok(self.code_at(&self.registers()?).starts_with(&SYSCALL))
    }

    /// Lets the child run until it is about to do that instruction for the `times`th time. A breakpoint of the
    /// CPU stops it, so its memory stays as it is.
    pub(crate) fn run_to(&mut self, instruction: u64, times: usize) -> Result<Step, String> {
        self.set_debug_register(0, instruction)?;
        self.set_debug_register(7, 1)?; // turns on the first breakpoint, for execution, in this process alone
        for _ in 0..times {
            if self.go_on(libc::PTRACE_CONT)? == Step::Ended {
                return Ok(Step::Ended);
            }
        }
        self.set_debug_register(7, 0)?;
        Ok(Step::Stopped)
    }

    fn set_debug_register(&self, number: usize, value: u64) -> Result<(), String> {
        let offset = std::mem::offset_of!(libc::user, u_debugreg) + number * 8;
        self.ptrace(
            libc::PTRACE_POKEUSER,
            std::ptr::without_provenance_mut(offset),
            std::ptr::without_provenance_mut(address(value)),
        )
    }

    /// Kills the child with SIGKILL, and waits until the kernel has closed its files.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if self.running {
            kill_and_reap(self.pid);
            self.running = false;
        }
    }

    fn ptrace(
        &self,
        request: libc::c_uint,
        address: *mut libc::c_void,
        data: *mut libc::c_void,
    ) -> Result<(), String> {
        // SAFETY: one of the requests that this file makes writes to our memory, to the structure at `data`. The
        // others take numbers.
        match unsafe { libc::ptrace(request, self.pid, address, data) } {
            -1 => Err(format!("ptrace: {}", io::Error::last_os_error())),
            _ => Ok(()),
        }
    }

    fn wait(&mut self) -> Result<Stop, String> {
        let status = wait_for(self.pid)?;
        if libc::WIFSTOPPED(status) {
            return match libc::WSTOPSIG(status) {
                libc::SIGTRAP => Ok(Stop::At(Step::Stopped)),
                libc::SIGCHLD => Ok(Stop::ChildEnded),
                signal => Err(format!("the child got signal {signal}")),
            };
        }
        self.running = false;
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
            Ok(Stop::At(Step::Ended))
        } else if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == NO_TRACING {
            Err(format!("{TRACING_REFUSED} in the child"))
        } else {
            Err(format!("the child ended with wait status {status:#x}"))
        }
    }
}

/// An error begins with this text if the system allows no tracing at all.
pub(crate) const TRACING_REFUSED: &str = "PTRACE_TRACEME was refused";

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

fn be_traced(operate: impl FnOnce() -> bool) -> ! {
    // SAFETY: PTRACE_TRACEME ignores its arguments.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, NONE, NONE) };
    if traced == -1 {
        exit(NO_TRACING);
    }
    // The child stops here, and the parent steps all that follows.
    // SAFETY: a breakpoint changes nothing, and the tracer continues behind it.
    unsafe { std::arch::asm!("int3", options(nostack)) };
    let right = catch_unwind(AssertUnwindSafe(operate));
    let answer = if matches!(right, Ok(true)) { 1 } else { 2 };
    answer_word().store(answer, Ordering::Relaxed);
    exit(0)
}

/// Forks a child that is not traced, and that exits with the result of `role`.
pub(crate) fn start_untraced(role: impl FnOnce() -> u8) -> Result<libc::pid_t, String> {
    // SAFETY: this process has no other thread, so its copy is whole.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", io::Error::last_os_error())),
        0 => {
            let code = catch_unwind(AssertUnwindSafe(role));
            exit(code.map_or(101, i32::from))
        }
        pid => Ok(pid),
    }
}

/// Runs a child until it kills itself with [`die`].
pub(crate) fn run_to_death(operate: impl FnOnce() -> bool) -> Result<(), String> {
    let status = wait_for(start_untraced(|| u8::from(operate()))?)?;
    match libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL {
        true => Ok(()),
        false => Err(format!(
            "a child that was to die ended with wait status {status:#x}"
        )),
    }
}

/// Kills this process with SIGKILL.
pub(crate) fn die() -> ! {
    // SAFETY: SIGKILL ends this process; nothing of it runs on.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!("SIGKILL can't be survived")
}

/// Waits until a child stops or ends, and returns its wait status.
pub(crate) fn wait_for(pid: libc::pid_t) -> Result<libc::c_int, String> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is alive and writable.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(format!("waitpid: {error}"));
        }
    }
}

/// Kills and reaps a child of this process that was not reaped yet.
pub(crate) fn kill_and_reap(pid: libc::pid_t) {
    // SAFETY: the child is ours and not reaped, so the number is still its own.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let reaped = |status| libc::WIFSIGNALED(status) || libc::WIFEXITED(status);
    while wait_for(pid).is_ok_and(|status| !reaped(status)) {}
}

fn exit(code: i32) -> ! {
    // SAFETY: the call ends this process, and runs no destructor. The buffers are the parent's to flush.
    unsafe { libc::_exit(code) }
}

/// How far the last child came: 0 means that it did not get through its operation; 1, that it got through and
/// returned `true`; 2, that it returned `false` or panicked.
pub(crate) fn answer() -> u64 {
    answer_word().load(Ordering::Relaxed)
}

/// A word that this process shares with its children.
fn answer_word() -> &'static AtomicU64 {
    static WORD: std::sync::OnceLock<&AtomicU64> = std::sync::OnceLock::new();
    WORD.get_or_init(|| {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: the mapping is new, at an address of the kernel's choice.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED, "map a page");
        // SAFETY: the page is never unmapped, has zeros, and is used only as an atomic.
        unsafe { AtomicU64::from_ptr(page.cast()) }
    })
}

/// Says that the operation got through, before it ends the child in its own way.
pub(crate) fn answer_before_exit() {
    answer_word().store(1, Ordering::Relaxed);
}

/// The control words of a segment as they lie in its file, for an observer outside.
#[derive(Debug)]
pub(crate) struct Raw(std::fs::File);

/// Where a segment's control words begin.
pub(crate) const BODY: u64 = 512;

impl Raw {
    pub(crate) fn open(name: &str) -> Result<Self, String> {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(path_of(name));
        file.map(Self).map_err(|error| format!("{name}: {error}"))
    }

    /// Whether somebody has begun to lay a segment out, and has not finished.
    #[cfg(feature = "shared_memory")]
    pub(crate) fn claimed(&self) -> bool {
        self.at(0) >> 63 == 1
    }

    /// The word at an offset from the begin of the control words.
    pub(crate) fn word(&self, offset: u64) -> u64 {
        self.at(BODY + offset)
    }

    /// The header and the control words: all that a store through a mapping can change before a commit.
    pub(crate) fn start(&self) -> [u8; 1024] {
        let mut bytes = [0; 1024];
        let _ = self
            .0
            .read_at(&mut bytes, 0)
            .expect("read a segment's file");
        bytes
    }

    fn at(&self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        let read = self.0.read_exact_at(&mut bytes, offset);
        read.expect("read a segment's file");
        u64::from_le_bytes(bytes)
    }

    /// Marks a lock that is held as a waiter does before it sleeps. The child is between two instructions
    /// meanwhile.
    pub(crate) fn mark_sleeper(&self, lock: u64) {
        let word = self.word(lock);
        if word != 0 {
            let marked = (word | 1).to_le_bytes();
            let written = self.0.write_all_at(&marked, BODY + lock);
            written.expect("write to a segment's file");
        }
    }
}

pub(crate) fn path_of(name: &str) -> String {
    format!("/dev/shm/{name}")
}

/// Keeps this process and its children on their present CPU, so that a step takes a third of the time.
pub(crate) fn stay_on_this_cpu() -> io::Result<()> {
    // SAFETY: the call returns a number.
    let cpu = unsafe { libc::sched_getcpu() };
    let cpu = usize::try_from(cpu).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: zeros are the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is alive, and the call panics for a number beyond it.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the call reads the set, which is alive.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The longest time that a survivor may wait, on a loaded machine too.
pub(crate) const BOUND: Duration = Duration::from_secs(1);
