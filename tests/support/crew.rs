//! What the tests of pools share: finding a pool's processes, and killing them.
#![allow(dead_code)] // each test binary uses its own part

use std::time::{Duration, Instant};

/// Processes whose parent that is, as zombies or alive.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("list /proc") {
        let name = entry.expect("list /proc").file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if parent_of(pid) == Some(parent) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    found
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// The only child of this process.
pub(crate) fn supervisor() -> u32 {
    let children = children_of(std::process::id());
    assert_eq!(children.len(), 1, "{children:?}");
    children[0]
}

/// Kills a process, if it is still that one's child: a pid that is used again is not hit.
pub(crate) fn kill_child(parent: u32, pid: u32) -> bool {
    // SAFETY: it takes numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return false;
    }
    let is_it = parent_of(pid) == Some(parent);
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: it takes numbers, and no `siginfo`.
    let sent = is_it
        && unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, none, 0) } == 0;
    // SAFETY: this function's own descriptor.
    unsafe { libc::close(fd.try_into().expect("a descriptor")) };
    sent
}

pub(crate) fn kill_me() -> ! {
    // SAFETY: it takes a number.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!("killed")
}

/// Waits for something that no event tells.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
