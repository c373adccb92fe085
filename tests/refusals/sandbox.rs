//! Rights for tests that need them: a mount namespace of their own, in which a role mounts a filesystem
//! that nobody else sees, and the identity of another user.
//!
//! A role asks for rights as its first act. If the system refuses, the role ends with [`NOT_RUN`], and the
//! test prints `not run: why`; with `SHMKIT_REQUIRE_ALL` set, as CI does, the test fails.

use crate::support::command;
use std::ffi::{CStr, CString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr;

/// The exit status of a role that could not get what it needs.
const NOT_RUN: i32 = 77;

/// Nobody's user and group, on every distribution.
const NOBODY: u32 = 65534;

/// Runs a role that needs rights to its end.
pub fn run(role: &str, args: &[&str]) {
    let output = command(role, args)
        .stderr(Stdio::piped())
        .output()
        .expect("start a child");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(NOT_RUN) {
        assert!(std::env::var_os("SHMKIT_REQUIRE_ALL").is_none(), "{said}");
        // The test harness doesn't show the output of a passing test's `eprint`.
        let _ = io::stderr().write_all(said.as_bytes());
        return;
    }
    assert!(output.status.success(), "{role}: {}\n{said}", output.status);
}

fn not_run(what: &str, error: &io::Error) -> ! {
    eprintln!("not run: {what}: {error}");
    std::process::exit(NOT_RUN)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

pub fn is_root() -> bool {
    // SAFETY: geteuid has no conditions.
    unsafe { libc::geteuid() == 0 }
}

/// Set for a process that was started as root of a user namespace of its own.
const IN_OWN_USERS: &str = "SHMKIT_TEST_IN_OWN_USERS";

/// Moves this role into a mount namespace of its own. A role without the rights for this call starts
/// again as root of a user namespace: then the call returns in the new process alone.
pub fn enter_own_mounts() {
    let entered = match std::env::var_os(IN_OWN_USERS) {
        Some(_) => Ok(()), // and with it a mount namespace
        None if is_root() => unshare(libc::CLONE_NEWNS),
        None => Err(io::ErrorKind::PermissionDenied.into()),
    };
    if entered.is_err() {
        start_again_in_own_users();
    }
    // No later mount shows outside.
    if let Err(error) = mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE, c"") {
        not_run("mounts of its own", &error);
    }
}

/// Starts this role again. A user namespace is for a process with one thread: a test has more, and a fork
/// of the test has one.
fn start_again_in_own_users() -> ! {
    // SAFETY: geteuid has no conditions.
    let user = unsafe { libc::geteuid() };
    // SAFETY: getegid has no conditions.
    let group = unsafe { libc::getegid() };
    let (users, groups) = (format!("0 {user} 1"), format!("0 {group} 1"));
    let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
    command
        .args(std::env::args_os().skip(1))
        .env(IN_OWN_USERS, "");
    // SAFETY: the closure makes system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", &users)?;
            fs::write("/proc/self/gid_map", &groups)
        })
    };
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => not_run("a user namespace of its own", &error),
    }
}

/// Mounts a new tmpfs on a folder, seen by this process and its children alone.
pub fn mount_tmpfs(folder: &str, options: &CStr) {
    let folder = CString::new(folder).expect("a path has no NUL");
    if let Err(error) = mount(c"tmpfs", &folder, 0, options) {
        not_run("mount a tmpfs", &error);
    }
}

fn mount(kind: &CStr, on: &CStr, flags: libc::c_ulong, options: &CStr) -> io::Result<()> {
    // SAFETY: live C strings; the options are one too.
    check(unsafe {
        libc::mount(
            kind.as_ptr(),
            on.as_ptr(),
            kind.as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    })
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: touches no memory of ours.
    check(unsafe { libc::unshare(flags) })
}

/// Makes this process another, powerless user's.
pub fn become_nobody() {
    let became = set_nobody();
    if let Err(error) = became {
        not_run("become another user", &error);
    }
}

fn set_nobody() -> io::Result<()> {
    // SAFETY: an empty list of groups needs no pointer.
    check(unsafe { libc::setgroups(0, ptr::null()) })?;
    // SAFETY: touches no memory of ours.
    check(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) })?;
    // SAFETY: likewise.
    check(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) })?;
    // A change of user takes /proc/self away until the next exec. A program that was started as this
    // user has it.
    // SAFETY: likewise.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) })
}
