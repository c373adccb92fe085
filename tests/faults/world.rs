//! What a process has of the system: descriptors, mappings of files, names, children, blocked signals.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::path::Path;

/// The folder of named segments, and the folder of segments with a path.
pub(crate) const FOLDERS: [&str; 2] = ["/dev/shm", FOLDER];

/// A folder in a filesystem of this test's own.
pub(crate) const FOLDER: &str = "/dev/shm/folder";

/// A record to compare with a later one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct World {
    /// The target of each descriptor.
    descriptors: BTreeMap<String, String>,
    /// The files of mappings.
    mappings: Vec<String>,
    pub(crate) names: Vec<String>,
    has_children: bool,
    blocked: [bool; 64],
}

impl World {
    pub(crate) fn now() -> Self {
        Self {
            descriptors: descriptors(),
            mappings: mappings(),
            names: names(),
            has_children: has_children(),
            blocked: blocked(),
        }
    }

    /// Says what there is now that was not there before, or the other way round; nothing about names.
    pub(crate) fn differences(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.descriptors != before.descriptors {
            let (before, now) = (&before.descriptors, &self.descriptors);
            found.push(format!("descriptors: {before:?} before, {now:?} now"));
        }
        if self.mappings != before.mappings {
            let (before, now) = (&before.mappings, &self.mappings);
            found.push(format!("mappings: {before:?} before, {now:?} now"));
        }
        if self.has_children != before.has_children {
            found.push("a child is left".into());
        }
        if self.blocked != before.blocked {
            found.push("other signals are blocked".into());
        }
        found
    }
}

fn descriptors() -> BTreeMap<String, String> {
    let listing = std::fs::read_dir("/proc/self/fd").expect("list the descriptors");
    listing
        .filter_map(|fd| {
            let path = fd.expect("list").path();
            let target = std::fs::read_link(&path).ok()?.display().to_string();
            let number = path.file_name()?.display().to_string();
            (!target.ends_with("/fd")).then_some((number, target)) // the listing's own
        })
        .collect()
}

fn mappings() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("read the mappings");
    let ours = |line: &&str| line.contains("/dev/shm/") || line.contains("memfd:");
    let mut found: Vec<String> = maps.lines().filter(ours).map(str::to_owned).collect();
    found.sort();
    found
}

fn names() -> Vec<String> {
    let mut found: Vec<String> = FOLDERS
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).expect("list a folder"))
        .map(|entry| entry.expect("list").path())
        .filter(|path| path != Path::new(FOLDER))
        .map(|path| path.display().to_string())
        .collect();
    found.sort();
    found
}

fn has_children() -> bool {
    // SAFETY: the fields are integers and pointers, for which zeros are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: there is room for what the kernel tells.
    unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) == 0 }
}

fn blocked() -> [bool; 64] {
    // SAFETY: the set is of integers, for which zeros are valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: no set is given, and the current one is written to `set`.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set) };
    std::array::from_fn(|at| {
        let signal = i32::try_from(at + 1).expect("a small number");
        // SAFETY: the set is alive.
        unsafe { libc::sigismember(&raw const set, signal) == 1 }
    })
}

/// Gives this process folders of its own, which no other process sees.
pub(crate) fn make_own() -> Result<(), String> {
    // SAFETY: the call takes no arguments.
    let user = unsafe { libc::geteuid() };
    // SAFETY: as above.
    let group = unsafe { libc::getegid() };
    let own_users = if user == 0 { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: the call takes a number; this process has a single thread.
    if unsafe { libc::unshare(own_users | libc::CLONE_NEWNS) } == -1 {
        return Err(format!(
            "mounts of its own: {}",
            std::io::Error::last_os_error()
        ));
    }
    if user != 0 {
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {user} 1")),
            ("gid_map", format!("0 {group} 1")),
        ] {
            std::fs::write(format!("/proc/self/{file}"), text)
                .map_err(|error| format!("users of its own: {file}: {error}"))?;
        }
    }
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE)?;
    mount(c"tmpfs", c"/dev/shm", 0)?;
    std::fs::create_dir(FOLDER).map_err(|error| error.to_string())
}

fn mount(kind: &CStr, on: &CStr, flags: libc::c_ulong) -> Result<(), String> {
    let (kind, on) = (kind.as_ptr(), on.as_ptr());
    // SAFETY: live C strings, and no options.
    match unsafe { libc::mount(kind, on, kind, flags, std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(format!(
            "a mount of its own: {}",
            std::io::Error::last_os_error()
        )),
    }
}

/// Removes the names that a run left.
pub(crate) fn clear() {
    for name in names() {
        let _ = std::fs::remove_file(name);
    }
}
