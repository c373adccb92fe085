//! Creating without /proc, as on filesystems where no file can be without a name: drafts have hidden
//! names then, and all creators of one segment want the same hidden name.

use crate::support::{Kid, Watchdog, command};
use crate::{LIMIT, end_in_time, sandbox};
use shmkit::{Error, Place, Value};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::Stdio;

const KIDS: usize = 4;
const ROUNDS: u64 = 3000;

#[test]
fn creators_with_hidden_drafts_get_the_name_or_are_told_who_has_it() {
    let _watchdog = Watchdog::new("hidden drafts", LIMIT);
    let folder = tempfile::tempdir().unwrap();
    sandbox::run("hidden-drafts", &[folder.path().to_str().unwrap()]);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Has children race for one name, in mounts of its own that have no /proc.
pub fn hidden_drafts(dir: &str) {
    sandbox::enter_own_mounts();
    let mut kids: Vec<_> = (0..KIDS)
        .map(|_| {
            // While there is a /proc, which names the program to start.
            let mut command = command("create-hidden", &[dir]);
            Kid(command.stdin(Stdio::piped()).spawn().unwrap())
        })
        .collect();
    sandbox::mount_tmpfs("/proc", c"size=4k");
    for kid in &mut kids {
        kid.stdin.take(); // its end lets the child begin
    }
    kids.into_iter().for_each(Kid::finish);
}

/// Creates and drops, or opens, one segment over and over.
pub fn create_hidden(dir: &str) {
    end_in_time();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    assert!(!Path::new("/proc/self").exists());
    let place = Place::file(Path::new(dir).join("value")).persistent(false);
    let mut created = 0;
    for round in 0..ROUNDS {
        match Value::create(&place, round) {
            Ok(value) => {
                created += 1;
                assert_eq!(value.get(), round);
            }
            Err(Error::AlreadyExists { .. }) => {}
            Err(error) => panic!("round {round}: {error:?}"),
        }
    }
    assert!(created > 0);
}
