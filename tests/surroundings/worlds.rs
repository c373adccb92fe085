//! The surroundings.

use crate::fork::{Child, lead, limit_descriptors};
use crate::signals::in_storm;
use shmkit::Error;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs a body, and returns its report.
pub(crate) type Run<'a> = &'a dyn Fn() -> String;

pub(crate) struct World {
    pub(crate) name: &'static str,
    /// Makes this process's surrounding, and runs the body in it; the error says why the system has no such
    /// surrounding.
    pub(crate) enter: fn(Run<'_>) -> Result<String, String>,
    /// Whether an error says that the surrounding lacks something.
    pub(crate) lacks: fn(&Error) -> bool,
}

pub(crate) const WORLDS: &[World] = &[
    world("as usual", |body| Ok(body())),
    world("without standard streams", without_standard_streams),
    world(
        "segments' descriptors closed in the middle",
        closed_in_the_middle,
    ),
    World {
        lacks: |error| error.to_string().contains("(os error 24)"),
        ..world("room for ten descriptors", room_for_ten)
    },
    world("signals that restart calls", |body| {
        in_storm(libc::SA_RESTART, body)
    }),
    world("signals that interrupt calls", |body| in_storm(0, body)),
    world("one CPU", one_cpu),
    world("another user", another_user),
    world("pid 1 of a namespace", pid_1),
    world("a user namespace", user_namespace),
    World {
        lacks: |error| matches!(error, Error::NoSpace { .. }),
        ..world("1 MiB for segments", one_mib)
    },
];

const fn world(name: &'static str, enter: fn(Run<'_>) -> Result<String, String>) -> World {
    World {
        name,
        enter,
        lacks: |_| false,
    }
}

fn checked(result: libc::c_int, what: &str) -> Result<libc::c_int, String> {
    match result {
        -1 => Err(format!("{what}: {}", io::Error::last_os_error())),
        result => Ok(result),
    }
}

fn close(fd: RawFd) {
    // SAFETY: the numbers passed here are the test's own, or a segment's, which is what is tested.
    unsafe { libc::close(fd) };
}

fn without_standard_streams(body: Run<'_>) -> Result<String, String> {
    let kept: Vec<RawFd> = (0..3)
        // SAFETY: the call takes numbers.
        .map(|fd| unsafe { libc::fcntl(fd, libc::F_DUPFD, 100) })
        .collect();
    (0..3).for_each(close);
    MIDDLE.set(expect_no_standard_stream).expect("the only one");
    let told = body();
    for (fd, standard) in kept.into_iter().zip(0..) {
        lead(standard, fd);
        close(fd);
    }
    Ok(told)
}

fn expect_no_standard_stream() {
    for fd in 0..3 {
        // SAFETY: the call takes numbers.
        let open = unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1;
        assert!(!open, "number {fd} is taken");
    }
}

/// The event in the middle of each body, if this surrounding has one.
static MIDDLE: OnceLock<fn()> = OnceLock::new();

/// A body calls this in its middle, when it has segments.
pub(crate) fn middle() {
    if let Some(event) = MIDDLE.get() {
        event();
    }
}

/// Closes the descriptors of segments, as a program does that closes everything from 3 on.
fn close_segments() {
    let listing = std::fs::read_dir("/proc/self/fd").expect("list the descriptors");
    let found: Vec<RawFd> = listing
        .map(|fd| fd.expect("list").path())
        .filter(|path| {
            let target = std::fs::read_link(path).unwrap_or_default();
            let target = target.to_string_lossy();
            target.starts_with("/dev/shm/") || target.starts_with("/memfd:shmkit")
        })
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
        .collect();
    // A second time, there may be none: a hold goes on without its descriptor.
    static HAS_CLOSED: AtomicBool = AtomicBool::new(false);
    let has_closed = HAS_CLOSED.swap(true, Ordering::Relaxed);
    assert!(has_closed || !found.is_empty(), "nothing to close");
    found.into_iter().for_each(close);
}

fn closed_in_the_middle(body: Run<'_>) -> Result<String, String> {
    MIDDLE.set(close_segments).expect("the only one");
    Ok(body())
}

fn room_for_ten(body: Run<'_>) -> Result<String, String> {
    let next = std::fs::File::open("/dev/null").map_err(|error| error.to_string())?;
    let next = u64::try_from(next.as_raw_fd()).expect("not negative");
    limit_descriptors(next + 10);
    Ok(body())
}

fn one_cpu(body: Run<'_>) -> Result<String, String> {
    // SAFETY: the call returns a number.
    let cpu = usize::try_from(unsafe { libc::sched_getcpu() }).map_err(|e| e.to_string())?;
    // SAFETY: zeros are the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is alive, and the call panics for a number beyond it.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the call reads the set, which is alive.
    let kept = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    checked(kept, "stay on a CPU")?;
    Ok(body())
}

fn another_user(body: Run<'_>) -> Result<String, String> {
    const NOBODY: u32 = 65_534;
    // SAFETY: an empty list of groups needs no pointer.
    let left = unsafe { libc::setgroups(0, std::ptr::null()) };
    checked(left, "leave groups")?;
    // SAFETY: the call takes numbers.
    let became = unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) };
    checked(became, "become another group")?;
    // SAFETY: the call takes numbers.
    let became = unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) };
    checked(became, "become another user")?;
    // A change of user takes /proc/self away until the next exec. A program that was started as the user has it.
    // SAFETY: the call takes numbers.
    let became = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    checked(became, "be dumpable")?;
    Ok(body())
}

fn is_root() -> bool {
    // SAFETY: the call has no conditions.
    unsafe { libc::geteuid() == 0 }
}

/// Enters new namespaces; for a user who is not root, in a new user namespace.
fn unshare(flags: libc::c_int) -> Result<(), String> {
    if is_root() && flags & libc::CLONE_NEWUSER == 0 {
        // SAFETY: the call takes a number; this process has a single thread.
        return checked(unsafe { libc::unshare(flags) }, "a namespace").map(drop);
    }
    // SAFETY: the call has no conditions.
    let user = unsafe { libc::geteuid() };
    // SAFETY: the call has no conditions.
    let group = unsafe { libc::getegid() };
    // SAFETY: the call takes a number; this process has a single thread.
    let entered = unsafe { libc::unshare(flags | libc::CLONE_NEWUSER) };
    checked(entered, "a user namespace")?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        let written = std::fs::write(format!("/proc/self/{file}"), text);
        written.map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

fn user_namespace(body: Run<'_>) -> Result<String, String> {
    unshare(libc::CLONE_NEWUSER)?;
    Ok(body())
}

fn pid_1(body: Run<'_>) -> Result<String, String> {
    unshare(libc::CLONE_NEWPID)?;
    let told = crate::fork::Witness::new();
    let init = Child::fork(|| {
        assert_eq!(std::process::id(), 1);
        told.say(&body());
    });
    let status = init.wait();
    let told = told.outlive();
    match status {
        0 => Ok(told),
        _ => Ok(format!("exit code {status}, told {told:?}")),
    }
}

fn one_mib(body: Run<'_>) -> Result<String, String> {
    unshare(libc::CLONE_NEWNS)?;
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE, c"")?;
    mount(c"tmpfs", c"/dev/shm", 0, c"size=1m,mode=1777")?;
    Ok(body())
}

fn mount(kind: &CStr, on: &CStr, flags: libc::c_ulong, options: &CStr) -> Result<(), String> {
    let (kind, on, options) = (kind.as_ptr(), on.as_ptr(), options.as_ptr());
    // SAFETY: live C strings; the options are one too.
    let mounted = unsafe { libc::mount(kind, on, kind, flags, options.cast()) };
    checked(mounted, "a mount of its own").map(drop)
}

/// What a body may leave: the targets of descriptors, the mappings of segments.
pub(crate) fn left() -> (Vec<String>, Vec<String>) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("read the mappings");
    let ours = |line: &&str| line.contains("/dev/shm/") || line.contains("memfd:");
    let maps = maps.lines().filter(ours).map(str::to_owned).collect();
    (crate::fork::descriptors(), maps)
}
