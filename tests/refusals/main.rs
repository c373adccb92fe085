//! What is refused, and in which words: for every refusal the variant and its exact text, and that
//! what was refused is left as it was.
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
//! And what is not refused: `life` has the modes, names, listings and descriptors of a segment's
//! life, `leaving` its end, `hidden` its beginning where files can't be without a name.
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
    match role.as_str() {
        "hold" => life::hold(&args),
        "open-fd" => life::open_fd(&args),
        "drop-without-descriptors" => leaving::drop_without_descriptors(&args),
        "drop-elsewhere" => leaving::drop_elsewhere(&args),
        "stalled" => gate::stalled(&args),
        "hold-and-lock" => gate::hold_and_lock(&args),
        "hidden-drafts" => hidden::hidden_drafts(&args),
        "create-hidden" => hidden::create_hidden(&args),
        "leave-together" => leaving::leave_together(&args),
        "modes-under-umask" => life::modes_under_umask(&args),
        "small-filesystem" => space::small_filesystem(&args),
        "file-size-limit" => space::file_size_limit(&args),
        "second-writer" => space::second_writer(&args),
        #[cfg(feature = "shared_memory")]
        "shmem-in-little-space" => shmem::in_little_space(),
        "another-user" => rights::another_user(&args),
        "own-without-rights" => rights::own_without_rights(&args),
        other => panic!("no role called {other}"),
    }
    std::process::exit(0);
}

/// Asserts the variant and the text of a refusal.
macro_rules! refused {
    ($result:expr, $variant:pat, $text:expr) => {
        match $result {
            Err(error) => {
                assert_eq!(error.to_string(), $text);
                assert!(matches!(&error, $variant), "{error:?}");
            }
            Ok(found) => panic!("not refused: {found:?}"),
        }
    };
}
use refused;
