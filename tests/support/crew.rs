//! For tests of pools: finding a pool's processes, and killing them.
#![allow(dead_code)] // each test binary uses its own part

use crate::fork::{parent_of, until};

/// The children of a process, zombies included.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("list /proc");
    let mut found: Vec<u32> = processes
        .filter_map(|entry| {
            let name = entry.expect("list /proc").file_name();
            name.to_str()?.parse().ok()
        })
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect();
    found.sort_unstable();
    found
}

/// The only child of this process.
pub(crate) fn supervisor() -> u32 {
    let children = children_of(std::process::id());
    assert_eq!(children.len(), 1, "{children:?}");
    children[0]
}

/// Waits until a supervisor has so many workers. Returns their pids.
pub(crate) fn crew_of(supervisor: u32, workers: usize) -> Vec<u32> {
    new_crew_of(supervisor, workers, &[])
}

/// Waits until a supervisor has so many workers and none of those before. Returns their pids.
pub(crate) fn new_crew_of(supervisor: u32, workers: usize, before: &[u32]) -> Vec<u32> {
    let mut crew = Vec::new();
    until("a whole crew", || {
        crew = children_of(supervisor);
        crew.len() == workers && !crew.iter().any(|pid| before.contains(pid))
    });
    crew
}

/// Kills a process unless it is no longer a child of `parent`: a pid may be used again.
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
