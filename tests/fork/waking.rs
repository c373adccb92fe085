//! The price of waking in system calls: this process traces a child, and counts the child's calls.

use crate::fork::{Child, exit, not_run, raw_fork, until};
use shmkit::{Queue, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The calls to `futex` of a traced child.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Calls {
    wakes: u32,
    waits: u32,
}

/// Runs `f` in a forked child and counts the child's calls. `None` where the system allows no tracing.
fn count(f: impl FnOnce()) -> Option<Calls> {
    let pid = raw_fork();
    let none = std::ptr::null_mut::<libc::c_void>();
    if pid == 0 {
        // SAFETY: PTRACE_TRACEME ignores its arguments.
        if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, none, none) } == -1 {
            exit(NO_TRACING);
        }
        // SAFETY: it takes a number; the signal stops this process until its tracer lets it go on.
        unsafe { libc::raise(libc::SIGSTOP) };
        let well = catch_unwind(AssertUnwindSafe(f)).is_ok();
        exit(if well { 0 } else { 101 })
    }
    let request = |request: libc::c_uint, data: libc::c_int| {
        // SAFETY: neither request used here touches our memory; the data is a number.
        let done = unsafe { libc::ptrace(request, pid, none, libc::c_long::from(data)) };
        assert_ne!(done, -1, "ptrace: {}", std::io::Error::last_os_error());
    };
    let mut calls = Calls::default();
    let mut is_set_up = false;
    loop {
        let mut status = 0;
        // SAFETY: a child of our own, and room for its status.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(waited, pid, "wait for a child");
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == NO_TRACING {
            not_run("PTRACE_TRACEME was refused");
            return None;
        }
        if !libc::WIFSTOPPED(status) {
            assert_eq!(status, 0, "the traced child failed");
            return Some(calls);
        }
        if !is_set_up {
            is_set_up = true;
            let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
            request(libc::PTRACE_SETOPTIONS, options);
        } else if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
            match entered(pid) {
                Some([number, _, op, ..]) if number == libc::SYS_futex.cast_unsigned() => {
                    match i32::try_from(op & 0x7f) {
                        Ok(libc::FUTEX_WAKE) => calls.wakes += 1,
                        _ => calls.waits += 1,
                    }
                }
                _ => {}
            }
        } else {
            panic!("the traced child got signal {}", libc::WSTOPSIG(status));
        }
        request(libc::PTRACE_SYSCALL, 0);
    }
}

const NO_TRACING: i32 = 77;

/// The number and the arguments of the system call that a stopped child is about to make. `None` if the
/// child is back from a call.
fn entered(pid: libc::pid_t) -> Option<[u64; 3]> {
    const ENTRY: u8 = 1;
    /// The beginning of the kernel's `struct ptrace_syscall_info`, for an entry.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        op: u8,
        pad: [u8; 3],
        arch: u32,
        instruction_pointer: u64,
        stack_pointer: u64,
        number: u64,
        args: [u64; 6],
    }
    /// `PTRACE_GET_SYSCALL_INFO`, which not every C library's headers have.
    const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
    let mut info = Info::default();
    let (size, to) = (size_of::<Info>(), &raw mut info);
    // SAFETY: the kernel writes at most `size` bytes to `info`, which is that long and alive.
    let got = unsafe { libc::ptrace(GET_SYSCALL_INFO, pid, size, to) };
    assert_ne!(got, -1, "ptrace: {}", std::io::Error::last_os_error());
    (info.op == ENTRY).then_some([info.number, info.args[0], info.args[1]])
}

/// Puts, gets, batches and chunks while no process sleeps: not one system call for waking or waiting.
pub(crate) fn nobody_asleep_costs_no_system_call() {
    let queue = Queue::<u64>::new(64).expect("create");
    let calls = count(|| {
        for n in 0..1000 {
            queue.put(n).expect("open");
            assert_eq!(queue.get(), Ok(n));
        }
        let items: [u64; 48] = std::array::from_fn(|n| n as u64);
        let (mut tail, mut head) = (
            queue.producer().expect("nobody else's"),
            queue.consumer().expect("nobody else's"),
        );
        for n in 0..1000 {
            tail.put(n).expect("open");
            assert_eq!(head.get(), Ok(n));
            tail.put_all(&items).expect("open");
            let chunk = head.chunk(48).expect("open");
            assert_eq!(chunk.len(), 48);
            chunk.release_all();
        }
    });
    if let Some(calls) = calls {
        assert_eq!(calls, Calls::default());
    }
}

/// A consumer that sleeps before each batch of sixteen: one call a batch, by a put or by an endpoint.
pub(crate) fn a_batch_for_a_sleeper_costs_one_system_call() {
    const BATCHES: u32 = 20;
    let queue = Queue::<u64>::new(64).expect("create");
    let taken = Value::new(0u64).expect("create");
    let sleeper = Child::fork(|| {
        let mut out = [0; 64];
        while let Ok(count) = queue.get_many(&mut out) {
            taken.update(|taken| *taken += count as u64);
        }
    });
    let await_sleep = |batches: u32| {
        // The sleeper takes all batches so far, and then the kernel says that it sleeps.
        until("a consumer that falls asleep", || {
            taken.get() >= u64::from(batches) * 16 && sleeper.sleeps()
        });
    };
    let items = [7; 16];
    for owned in [false, true] {
        taken.set(0);
        let calls = count(|| {
            let mut tail = owned.then(|| queue.producer().expect("nobody else's"));
            for batch in 0..BATCHES {
                await_sleep(batch);
                let put = match &mut tail {
                    Some(tail) => tail.put_many(&items),
                    None => queue.put_many(&items),
                };
                assert_eq!(put, Ok(16));
            }
            await_sleep(BATCHES);
        });
        let Some(calls) = calls else { break };
        println!("  {BATCHES} batches, owned {owned}: {calls:?}");
        // There is a call too many or too few if a sleeper's nap ends just then, or if a busy machine delays
        // a put after the look at the sleeper.
        let due = BATCHES - BATCHES / 4..=BATCHES + BATCHES / 4;
        assert!(due.contains(&calls.wakes), "{calls:?}");
    }
    queue.close();
    sleeper.finish();
}
