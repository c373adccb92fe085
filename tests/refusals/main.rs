//! Every refusal, by its variant and its exact text. Each test also sees that whatever was refused is
//! left as it was.
//!
//! | module | refusals |
//! |---|---|
//! | `names` | a name that is taken, absent, or none |
//! | `shapes` | another kind, type, size, alignment, capacity; a place that can't do it |
//! | `foreign` | files that are no segments, of another layout, or cut short |
//! | `damage` | a header with one flipped byte, or one that contradicts itself |
//! | `space` | a full filesystem |
//! | `rights` | another user's segment |
//! | `shmem` | a mapping of `shared_memory` that is no memory for a segment (feature) |
//! | `gate` | a gate that nobody leaves |
//! | `texts` | every text, every `io::ErrorKind` |
//! | `relock` | a thread that waits for itself |
//!
//! The rest is about segments that are not refused: `life` has the modes, names, listings and
//! descriptors of a segment's life, `leaving` its end, `hidden` its beginning where no file can be
//! without a name.
#![allow(unreachable_pub)] // a test has no outside

mod damage;
mod foreign;
mod gate;
mod hidden;
mod leaving;
mod life;
mod names;
mod relock;
mod rights;
mod sandbox;
mod shapes;
#[cfg(feature = "shared_memory")]
mod shmem;
mod snapshot;
mod space;
#[path = "../support/mod.rs"]
mod support;
mod texts;

use std::time::Duration;

/// More than any test here needs on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Every child process of these tests plays one of these.
#[test]
fn role() {
    let Some((role, args)) = support::my_role() else {
        return;
    };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match (role.as_str(), &args[..]) {
        ("hold", [name, ready]) => life::hold(name, ready),
        ("open-fd", []) => life::open_fd(),
        ("modes-under-umask", [name, dir]) => life::modes_under_umask(name, dir),
        ("drop-without-descriptors", [name]) => leaving::drop_without_descriptors(name),
        ("drop-elsewhere", [dir, elsewhere]) => leaving::drop_elsewhere(dir, elsewhere),
        ("leave-together", [turn, arrived, name]) => leaving::leave_together(turn, arrived, name),
        ("stalled", [name]) => gate::stalled(name),
        ("hold-and-lock", [name, locked]) => gate::hold_and_lock(name, locked),
        ("hidden-drafts", [dir]) => hidden::hidden_drafts(dir),
        ("create-hidden", [dir]) => hidden::create_hidden(dir),
        ("small-filesystem", [dir]) => space::small_filesystem(dir),
        ("file-size-limit", [dir]) => space::file_size_limit(dir),
        ("second-writer", [dir]) => space::second_writer(dir),
        #[cfg(feature = "shared_memory")]
        ("shmem-in-little-space", []) => shmem::in_little_space(),
        ("another-user", []) => rights::another_user(),
        ("own-without-rights", [name]) => rights::own_without_rights(name),
        other => panic!("no such role: {other:?}"),
    }
    std::process::exit(0);
}

/// Has the kernel end a role's process that is still there after two minutes.
fn end_in_time() {
    // SAFETY: touches no memory; the signal's default is the end.
    unsafe { libc::alarm(120) };
}
