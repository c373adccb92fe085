//! The plan of the house: which wings a wing may enter, and which rooms of its own wing a room may enter.
//!
//! Both tables are exact: a door that nothing uses fails the test, too.

/// A wing or room, and the others that it may enter.
pub(crate) type Row = (&'static str, &'static [&'static str]);

/// The wings. `lib` may enter all of them, and nobody may enter `lib`.
pub(crate) const WINGS: &[Row] = &[
    ("error", &[]),
    ("os", &[]),
    ("pool", &["error", "os", "process", "segment", "types"]),
    ("process", &["error", "os", "segment"]),
    ("segment", &["error", "os", "sync"]),
    ("sync", &["error", "os"]),
    ("types", &["error", "os", "segment", "sync"]),
];

/// The rooms of the wings, as `wing/room`. A wing's `mod.rs` may enter all its rooms.
pub(crate) const ROOMS: &[Row] = &[
    ("error/outcome", &[]),
    ("os/anchor", &["os/base"]),
    ("os/base", &[]),
    ("os/clock", &[]),
    ("os/descriptor", &["os/base"]),
    ("os/file", &["os/base", "os/descriptor", "os/space"]),
    (
        "os/for_pool",
        &["os/base", "os/descriptor", "os/file", "os/space"],
    ),
    ("os/fork", &[]),
    ("os/futex", &["os/process"]),
    ("os/maps", &["os/file"]),
    ("os/name", &["os/base", "os/file"]),
    ("os/ofd_lock", &["os/base", "os/space"]),
    ("os/process", &["os/base", "os/descriptor"]),
    ("os/signals", &["os/base"]),
    ("os/socket", &["os/base", "os/descriptor"]),
    ("os/space", &["os/base"]),
    (
        "pool/caller",
        &[
            "pool/error",
            "pool/payload",
            "pool/result",
            "pool/state",
            "pool/wire",
        ],
    ),
    ("pool/code", &["pool/wire"]),
    ("pool/error", &[]),
    (
        "pool/handle",
        &[
            "pool/caller",
            "pool/error",
            "pool/imap",
            "pool/supervisor",
            "pool/task",
            "pool/wire",
        ],
    ),
    ("pool/imap", &["pool/caller", "pool/error", "pool/task"]),
    ("pool/lease", &["pool/wire"]),
    ("pool/payload", &["pool/wire"]),
    ("pool/result", &["pool/wire"]),
    ("pool/state", &["pool/error", "pool/payload", "pool/wire"]),
    (
        "pool/supervisor",
        &["pool/lease", "pool/wire", "pool/worker"],
    ),
    (
        "pool/task",
        &[
            "pool/caller",
            "pool/code",
            "pool/error",
            "pool/state",
            "pool/wire",
        ],
    ),
    ("pool/wire", &[]),
    (
        "pool/worker",
        &[
            "pool/code",
            "pool/lease",
            "pool/payload",
            "pool/result",
            "pool/wire",
        ],
    ),
    ("process/child", &[]),
    ("process/daemons", &["process/child"]),
    ("process/family", &["process/child"]),
    ("process/handle", &["process/child", "process/family"]),
    ("process/outcome", &["process/family"]),
    (
        "process/start",
        &[
            "process/child",
            "process/daemons",
            "process/family",
            "process/handle",
            "process/outcome",
        ],
    ),
    ("segment/heap", &["segment/layout", "segment/memory"]),
    ("segment/hold", &["segment/layout"]),
    (
        "segment/inspect",
        &[
            "segment/hold",
            "segment/layout",
            "segment/lifecycle",
            "segment/place",
        ],
    ),
    ("segment/layout", &[]),
    (
        "segment/lifecycle",
        &[
            "segment/hold",
            "segment/layout",
            "segment/memory",
            "segment/place",
        ],
    ),
    ("segment/memory", &[]),
    ("segment/place", &[]),
    (
        "segment/region",
        &[
            "segment/layout",
            "segment/lifecycle",
            "segment/memory",
            "segment/place",
        ],
    ),
    (
        "segment/shmem",
        &[
            "segment/hold",
            "segment/layout",
            "segment/lifecycle",
            "segment/memory",
            "segment/place",
        ],
    ),
    ("sync/atomic", &[]),
    ("sync/counted", &["sync/atomic", "sync/cpu", "sync/lock"]),
    ("sync/cpu", &["sync/atomic"]),
    ("sync/event", &["sync/atomic", "sync/spin", "sync/wait"]),
    ("sync/held", &["sync/liveness"]),
    ("sync/journal", &["sync/atomic"]),
    ("sync/liveness", &[]),
    (
        "sync/lock",
        &[
            "sync/atomic",
            "sync/held",
            "sync/liveness",
            "sync/spin",
            "sync/wait",
        ],
    ),
    (
        "sync/ring",
        &[
            "sync/atomic",
            "sync/counted",
            "sync/cpu",
            "sync/event",
            "sync/held",
            "sync/liveness",
            "sync/lock",
            "sync/wait",
        ],
    ),
    ("sync/seqlock", &["sync/atomic"]),
    ("sync/spin", &[]),
    ("sync/wait", &[]),
    ("types/array", &["types/common", "types/element"]),
    ("types/byte_queue", &["types/common"]),
    ("types/common", &[]),
    ("types/element", &[]),
    ("types/for_pool", &["types/array", "types/byte_queue"]),
    (
        "types/handles",
        &[
            "types/array",
            "types/byte_queue",
            "types/element",
            "types/message_queue",
            "types/queue",
            "types/value",
        ],
    ),
    ("types/message_queue", &["types/byte_queue", "types/common"]),
    ("types/queue", &["types/common", "types/element"]),
    ("types/value", &["types/common", "types/element"]),
];

/// Paths to the operating system, each with the only wing that may use it. Unit tests are exempt, except for libc.
pub(crate) const FORBIDDEN: &[(&str, &str)] = &[
    ("libc", "os"),
    ("memmap2", "os"),
    ("std::fs", "os"),
    ("std::os", "os"),
    ("std::net", "os"),
    ("std::env", "os"),
    ("std::io::pipe", "os"),
    ("std::io::PipeReader", "os"),
    ("std::io::PipeWriter", "os"),
    ("std::path::absolute", "os"),
    ("std::process::id", "os"),
    ("std::process::Command", "os"),
    ("std::thread::available_parallelism", "os"),
    ("std::thread::sleep", "os"),
    ("std::time::SystemTime::now", "os"),
    ("io::pipe", "os"),
    ("SystemTime::now", "os"),
    ("thread::sleep", "os"),
];

/// Methods that call the operating system, of any type that has them.
pub(crate) const FORBIDDEN_METHODS: &[&str] = &[
    "canonicalize",
    "exists",
    "is_dir",
    "is_file",
    "metadata",
    "read_dir",
    "read_link",
    "symlink_metadata",
    "try_clone",
    "try_exists",
];

/// Names for rooms in which everything ends up.
pub(crate) const NO_ROOMS: [&str; 2] = ["utils", "prelude"];

/// The most lines that a file may have.
pub(crate) const MOST_LINES: usize = 600;
