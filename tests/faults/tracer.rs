//! Runs a forked child and its descendants under ptrace, counts their system calls, and has one of the calls
//! fail: the kernel skips the call, and the caller gets an errno.

use crate::calls::{self, Args, Call};
use std::collections::BTreeMap;
use std::io;

const NONE: *mut libc::c_void = std::ptr::null_mut();

/// The most seconds that a child and its descendants may take.
const LIMIT_S: u32 = 10;

/// One call of one process of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    /// The position of the process in the order of births: 0 is the child, 1 the first process that the child
    /// forked.
    pub(crate) process: usize,
    pub(crate) call: &'static str,
    /// The position among the process's calls of this name, from 1 on.
    pub(crate) nth: usize,
}

/// The call that fails, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) site: Site,
    pub(crate) errno: i32,
}

/// The record of a run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// The calls between the two [`mark`]s, with the errnos that each may give.
    pub(crate) sites: Vec<(Site, Vec<i32>)>,
    /// Whether the fault's call was made.
    pub(crate) hit: bool,
    /// The reason if the run did not end as a run should.
    pub(crate) failure: Option<String>,
}

/// A process of the tree.
struct Tracee {
    index: usize,
    counts: BTreeMap<&'static str, usize>,
    /// Whether the next stop is the end of a call.
    inside: bool,
    /// The errno with which the present call ends.
    ends_with: Option<i32>,
    /// Whether the process's first stop, which the tracing causes, has been seen.
    begun: bool,
}

/// Marks the beginning of the operation, and later its end, for the tracer.
pub(crate) fn mark() {
    // SAFETY: a breakpoint changes nothing, and the tracer continues behind it.
    unsafe { std::arch::asm!("int3", options(nostack)) };
}

/// Forks a child that runs `body`, which calls [`mark`] twice.
pub(crate) fn run(
    body: impl FnOnce(),
    fault: Option<Fault>,
    always: impl Fn(&Call, &Args) -> Option<i32>,
) -> Trace {
    // SAFETY: this process has no other thread, so its copy is whole.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: the request ignores its other arguments.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, NONE, NONE) };
        // SAFETY: the call takes a number.
        unsafe { libc::raise(libc::SIGSTOP) };
        body();
        // SAFETY: the call ends this process.
        unsafe { libc::_exit(0) };
    }
    let mut run = Run {
        child,
        tracees: BTreeMap::new(),
        born: 0,
        between_marks: false,
        fault,
        trace: Trace::default(),
    };
    wake_after(LIMIT_S);
    if let Err(why) = run.follow(&always) {
        run.trace.failure.get_or_insert(why);
        run.end_all();
    }
    run.trace
}

struct Run {
    child: libc::pid_t,
    tracees: BTreeMap<libc::pid_t, Tracee>,
    /// How many processes there have been.
    born: usize,
    between_marks: bool,
    fault: Option<Fault>,
    trace: Trace,
}

impl Run {
    fn follow(&mut self, always: &impl Fn(&Call, &Args) -> Option<i32>) -> Result<(), String> {
        loop {
            let mut status = 0;
            // SAFETY: `status` is alive and writable.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
            if pid == -1 {
                let error = io::Error::last_os_error();
                return match error.raw_os_error() {
                    Some(libc::ECHILD) => Ok(()),
                    Some(libc::EINTR) => Err(format!("it hangs: not done after {LIMIT_S} s")),
                    _ => Err(format!("waitpid: {error}")),
                };
            }
            if !libc::WIFSTOPPED(status) {
                self.tracees.remove(&pid);
                if pid == self.child && status != 0 {
                    self.trace
                        .failure
                        .get_or_insert(format!("the child ended with wait status {status:#x}"));
                }
                continue;
            }
            match self.stopped(pid, status, always) {
                // Somebody killed the process after its stop. A later wait tells of its end.
                Err(error) if error.ends_with("(os error 3)") => {}
                result => result?,
            }
        }
    }

    fn stopped(
        &mut self,
        pid: libc::pid_t,
        status: libc::c_int,
        always: &impl Fn(&Call, &Args) -> Option<i32>,
    ) -> Result<(), String> {
        const SYSCALL_STOP: libc::c_int = libc::SIGTRAP | 0x80;
        let born = &mut self.born;
        let tracee = self.tracees.entry(pid).or_insert_with(|| {
            *born += 1;
            Tracee {
                index: *born - 1,
                counts: BTreeMap::new(),
                inside: false,
                ends_with: None,
                begun: false,
            }
        });
        let mut deliver = 0;
        match (status >> 8) & 0xff {
            libc::SIGSTOP if !tracee.begun => {
                tracee.begun = true;
                if pid == self.child {
                    let options = libc::PTRACE_O_EXITKILL
                        | libc::PTRACE_O_TRACESYSGOOD
                        | libc::PTRACE_O_TRACEFORK
                        | libc::PTRACE_O_TRACEVFORK
                        | libc::PTRACE_O_TRACECLONE;
                    let options = usize::try_from(options).expect("bits");
                    ptrace(libc::PTRACE_SETOPTIONS, pid, options)?;
                }
            }
            SYSCALL_STOP => self.call(pid, always)?,
            libc::SIGTRAP if status >> 16 != 0 => {} // a fork; the new process stops by itself
            libc::SIGTRAP => self.between_marks = pid == self.child && !self.between_marks,
            signal => deliver = signal,
        }
        let deliver = usize::try_from(deliver).expect("a signal");
        // A process that was killed meanwhile can't be resumed; the next wait tells.
        let _ = ptrace(libc::PTRACE_SYSCALL, pid, deliver);
        Ok(())
    }

    /// Handles the beginning or the end of a call.
    fn call(
        &mut self,
        pid: libc::pid_t,
        always: &impl Fn(&Call, &Args) -> Option<i32>,
    ) -> Result<(), String> {
        let tracee = self.tracees.get_mut(&pid).expect("it was just stopped");
        tracee.inside = !tracee.inside;
        if !tracee.inside {
            if let Some(errno) = tracee.ends_with.take() {
                let mut registers = registers(pid)?;
                registers.rax = i64::from(-errno).cast_unsigned();
                set_registers(pid, &registers)?;
            }
            return Ok(());
        }
        let mut registers = registers(pid)?;
        let args = Args([registers.rdi, registers.rsi, registers.rdx, registers.r10]);
        let number = registers.orig_rax.cast_signed();
        let Some(call) = calls::find(number) else {
            if self.between_marks && !calls::never_fails(number) {
                self.trace.failure = Some(format!("no errno is listed for call {number}"));
            }
            return Ok(());
        };
        let errnos = call.errnos(&args);
        let mut errno = always(call, &args);
        if errno.is_none() && !errnos.is_empty() && self.between_marks {
            let nth = tracee.counts.entry(call.name).or_insert(0);
            *nth += 1;
            let site = Site {
                process: tracee.index,
                call: call.name,
                nth: *nth,
            };
            if let Some(fault) = self.fault
                && fault.site == site
            {
                self.trace.hit = true;
                errno = Some(fault.errno);
            }
            self.trace.sites.push((site, errnos));
        }
        if errno.is_some() {
            tracee.ends_with = errno;
            registers.orig_rax = u64::MAX; // no call has this number
            set_registers(pid, &registers)?;
        }
        Ok(())
    }

    fn end_all(&mut self) {
        for pid in self.tracees.keys() {
            // SAFETY: the processes are tracees that nobody has reaped, so the pids are their own.
            unsafe { libc::kill(*pid, libc::SIGKILL) };
        }
        // SAFETY: no status is asked for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL) } > 0 {}
    }
}

fn ptrace(request: libc::c_uint, pid: libc::pid_t, data: usize) -> Result<(), String> {
    let data = std::ptr::without_provenance_mut::<libc::c_void>(data);
    // SAFETY: the requests passed here take numbers.
    match unsafe { libc::ptrace(request, pid, NONE, data) } {
        -1 => Err(format!("ptrace: {}", io::Error::last_os_error())),
        _ => Ok(()),
    }
}

fn registers(pid: libc::pid_t) -> Result<libc::user_regs_struct, String> {
    // SAFETY: the structure consists of integers, for which zeros are valid.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the structure, which is alive.
    match unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, NONE, &raw mut registers) } {
        -1 => Err(format!("ptrace: {}", io::Error::last_os_error())),
        _ => Ok(registers),
    }
}

fn set_registers(pid: libc::pid_t, registers: &libc::user_regs_struct) -> Result<(), String> {
    // SAFETY: the kernel reads the structure, which is alive.
    match unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, NONE, &raw const *registers) } {
        -1 => Err(format!("ptrace: {}", io::Error::last_os_error())),
        _ => Ok(()),
    }
}

/// Interrupts a wait of this process after that time.
fn wake_after(seconds: u32) {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the fields are integers and addresses, for which zeros are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the action is alive, and its handler lives as long as the program.
    unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
    // SAFETY: the call takes a number.
    unsafe { libc::alarm(seconds) };
}
