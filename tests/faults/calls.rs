//! The system calls that the crate makes, and the errnos that each may give. An errno that would be a lie where
//! the rows make the call is left out: ENOENT of a name that is there, ESRCH or ECHILD of a child that nobody has
//! reaped.

/// The first arguments of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args(pub(crate) [u64; 4]);

impl Args {
    fn int(&self, at: usize) -> i32 {
        #[allow(clippy::cast_possible_truncation)] // the kernel looks at the low half alone, too
        let low = self.0[at] as u32;
        low.cast_signed()
    }

    /// Whether the call is an `openat` of a file without a name.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.int(2) & libc::O_TMPFILE == libc::O_TMPFILE
    }
}

pub(crate) struct Call {
    pub(crate) name: &'static str,
    number: i64,
    errnos: fn(&Args) -> &'static [i32],
}

impl Call {
    /// The errnos that the call may give with these arguments; none if the crate is not at stake: the
    /// allocator's memory, and asking for a descriptor's flags.
    pub(crate) fn errnos(&self, args: &Args) -> Vec<i32> {
        (self.errnos)(args).to_vec()
    }
}

pub(crate) fn find(number: i64) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.number == number)
}

/// Whether the crate relies on a call that can't fail with valid arguments, or of which no failure matters.
pub(crate) fn never_fails(number: i64) -> bool {
    NEVER_FAIL.contains(&number)
}

use libc::{
    E2BIG, EACCES, EAGAIN, EBUSY, ECONNRESET, EDQUOT, EEXIST, EFBIG, EINTR, EINVAL, EIO, EMFILE,
    EMLINK, ENFILE, ENOBUFS, ENOENT, ENOLCK, ENOMEM, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, EPIPE,
    EROFS, ETIMEDOUT, ETOOMANYREFS,
};

const CALLS: &[Call] = &[
    call("openat", libc::SYS_openat, |args| {
        match (args.is_unnamed(), args.int(2) & libc::O_CREAT != 0) {
            (true, _) => &[
                EINTR, EMFILE, ENFILE, ENOMEM, EACCES, EPERM, ENOENT, ENOSPC, EDQUOT, EROFS, EIO,
                EOPNOTSUPP,
            ],
            (_, true) => &[
                EINTR, EMFILE, ENFILE, ENOMEM, EACCES, EPERM, ENOENT, EEXIST, ENOSPC, EDQUOT,
                EROFS, EIO,
            ],
            _ if args.int(2) & libc::O_DIRECTORY != 0 => {
                &[EINTR, EMFILE, ENFILE, ENOMEM, EACCES, EPERM, EIO]
            }
            // A system without /proc says ENOENT.
            _ => &[EINTR, EMFILE, ENFILE, ENOMEM, EACCES, EPERM, ENOENT, EIO],
        }
    }),
    call("fstat", libc::SYS_fstat, |_| &[EIO, ENOMEM]),
    call("stat", libc::SYS_newfstatat, |args| {
        match args.int(3) & libc::AT_EMPTY_PATH {
            0 => &[EIO, ENOMEM, EACCES],
            _ => &[EIO, ENOMEM], // of an open file
        }
    }),
    call("statx", libc::SYS_statx, |_| &[EIO, ENOMEM, EACCES]),
    call("fstatfs", libc::SYS_fstatfs, |_| &[EINTR, EIO, ENOMEM]),
    call("fchmod", libc::SYS_fchmod, |_| {
        &[EPERM, EACCES, EIO, ENOMEM, EROFS]
    }),
    call("fallocate", libc::SYS_fallocate, |_| {
        &[
            EINTR, ENOSPC, EDQUOT, EFBIG, ENOMEM, EIO, EOPNOTSUPP, ENOSYS, EPERM,
        ]
    }),
    call("ftruncate", libc::SYS_ftruncate, |_| &[EINTR, EIO, EFBIG]),
    call("pread", libc::SYS_pread64, |_| &[EINTR, EIO, ENOMEM]),
    call("pwrite", libc::SYS_pwrite64, |_| {
        &[EINTR, EIO, ENOSPC, EDQUOT, ENOMEM]
    }),
    call("mmap", libc::SYS_mmap, |args| {
        // Behind the first four arguments comes the descriptor.
        match args.int(3) & libc::MAP_ANONYMOUS {
            0 => &[ENOMEM, EAGAIN, ENFILE, EACCES, EPERM],
            _ => &[], // the allocator's
        }
    }),
    call("madvise", libc::SYS_madvise, |args| match args.int(2) {
        libc::MADV_DONTDUMP | libc::MADV_DONTFORK => &[ENOMEM],
        _ => &[], // the allocator's
    }),
    call("linkat", libc::SYS_linkat, |_| {
        &[
            EACCES, EPERM, EDQUOT, ENOSPC, EIO, EMLINK, ENOENT, ENOMEM, EROFS, EEXIST,
        ]
    }),
    call("renameat2", libc::SYS_renameat2, |_| {
        &[
            EACCES, EPERM, EDQUOT, ENOSPC, EIO, ENOENT, ENOMEM, EROFS, EEXIST, EINVAL, ENOSYS,
        ]
    }),
    call("unlink", libc::SYS_unlink, UNLINK),
    call("unlinkat", libc::SYS_unlinkat, UNLINK),
    call("fcntl", libc::SYS_fcntl, |args| match args.int(1) {
        libc::F_DUPFD_CLOEXEC => &[EMFILE],
        libc::F_OFD_SETLK => &[EINTR, EAGAIN, ENOLCK, ENOMEM],
        libc::F_OFD_GETLK => &[EINTR, ENOLCK, ENOMEM],
        libc::F_ADD_SEALS => &[EPERM, EBUSY, EINVAL],
        _ => &[], // the standard library's looks at its own descriptors
    }),
    call("memfd_create", libc::SYS_memfd_create, |_| {
        &[EMFILE, ENFILE, ENOMEM, EACCES, EPERM, ENOSYS]
    }),
    call("readlink", libc::SYS_readlink, |_| &[EACCES, EIO, ENOMEM]),
    call("getdents", libc::SYS_getdents64, |_| &[EIO]),
    call("read", libc::SYS_read, |_| &[EINTR, EIO, ENOMEM]),
    call("futex", libc::SYS_futex, |args| {
        match args.int(1) & !libc::FUTEX_PRIVATE_FLAG {
            libc::FUTEX_WAIT => &[EINTR, EAGAIN, ETIMEDOUT, ENOMEM],
            libc::FUTEX_WAKE => &[ENOMEM],
            _ => &[],
        }
    }),
    call("fork", libc::SYS_clone, |_| &[EAGAIN, ENOMEM]),
    call("pidfd_open", libc::SYS_pidfd_open, |_| {
        &[EMFILE, ENFILE, ENOMEM, ENOSYS, EPERM]
    }),
    call("pidfd_send_signal", libc::SYS_pidfd_send_signal, |_| {
        &[EPERM, ENOSYS]
    }),
    call("waitid", libc::SYS_waitid, |_| &[EINTR]),
    call("ppoll", libc::SYS_ppoll, |_| &[EINTR, ENOMEM]),
    call("setpgid", libc::SYS_setpgid, |_| &[EPERM]),
    call("dup3", libc::SYS_dup3, |_| &[EMFILE]),
    call("unshare", libc::SYS_unshare, |_| &[EPERM, EINVAL]),
    call("pipe", libc::SYS_pipe2, |_| &[EMFILE, ENFILE]),
    call("socketpair", libc::SYS_socketpair, |_| {
        &[EMFILE, ENFILE, ENOMEM, ENOBUFS]
    }),
    call("sendmsg", libc::SYS_sendmsg, |_| {
        &[
            EINTR,
            ENOBUFS,
            ENOMEM,
            ETOOMANYREFS,
            EPIPE,
            ECONNRESET,
            E2BIG,
        ]
    }),
    call("recvmsg", libc::SYS_recvmsg, |_| {
        &[EINTR, ENOMEM, ECONNRESET]
    }),
];

const UNLINK: fn(&Args) -> &'static [i32] = |_| &[EACCES, EPERM, EBUSY, EIO, ENOMEM, EROFS];

const fn call(name: &'static str, number: i64, errnos: fn(&Args) -> &'static [i32]) -> Call {
    Call {
        name,
        number,
        errnos,
    }
}

const NEVER_FAIL: &[i64] = &[
    libc::SYS_tgkill, // an abort, of which the row's end tells
    // These get numbers or live memory, and the kernel has no other reason to refuse.
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_getpgrp,
    libc::SYS_getpgid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_geteuid,
    libc::SYS_getrandom,
    libc::SYS_prlimit64,
    libc::SYS_prctl,
    libc::SYS_sysinfo,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_clock_gettime,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Their failure changes nothing: a look at descriptors 0 to 2, which are open here; a pause; a shorter
    // buffer; a signal to a child that has ended.
    libc::SYS_poll,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_lseek,
    libc::SYS_kill,
    libc::SYS_wait4,
    libc::SYS_write,
    libc::SYS_restart_syscall,
    // No retry of a `close` is right, and the descriptor is gone in any case.
    libc::SYS_close,
    libc::SYS_close_range,
    // The allocator's, and the end of mappings that exist.
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
];
