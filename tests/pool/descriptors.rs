//! The descriptors of the caller that supervisor and workers keep.

use crate::fork::{captured, lead};
use crate::tasks::{builder, double, pool};
use shmkit::Value;
use std::fs::File;
use std::io::{PipeWriter, Read, Write, pipe};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

pub(crate) fn a_pipe_ends_and_a_port_is_free_although_a_pool_lives() {
    let (mut from, to) = pipe().expect("a pipe");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("bound");
    let pool = pool(2);
    drop((to, listener));
    assert_eq!(from.read(&mut [0]).expect("read"), 0);
    drop(TcpListener::bind(port).expect("nobody else has the port"));
    assert_eq!(pool.apply(double, 4), Ok(8));
    pool.join().expect("join");
}

static INHERITED: OnceLock<PipeWriter> = OnceLock::new();
static SEGMENT: OnceLock<Value<u64>> = OnceLock::new();

/// Tries to write to the inherited pipe, while the task has another file open. Returns the error's number.
fn write_to_inherited(_: ()) -> Option<i32> {
    let inherited = INHERITED.get().expect("set before");
    let other = File::open("/dev/null").expect("open");
    assert_ne!(other.as_raw_fd(), inherited.as_raw_fd(), "used again");
    let written = { inherited }.write_all(b"x");
    written.err().and_then(|error| error.raw_os_error())
}

pub(crate) fn an_inherited_handle_never_reaches_another_file() {
    let (mut from, to) = pipe().expect("a pipe");
    INHERITED.get_or_init(|| to);
    let closing = pool(1);
    assert_eq!(closing.apply(write_to_inherited, ()), Ok(Some(libc::EBADF)));
    closing.join().expect("join");
    let inherited = INHERITED.get().expect("set before");
    for keeping in [builder().keep(inherited), builder().keep_all()] {
        let keeping = keeping.workers(1).start().expect("a pool");
        assert_eq!(keeping.apply(write_to_inherited, ()), Ok(None));
        let mut byte = [0];
        from.read_exact(&mut byte).expect("read");
        assert_eq!(&byte, b"x");
        keeping.join().expect("join");
    }
}

/// An anonymous segment has no path by which a worker could find it again.
pub(crate) fn an_inherited_segment_stays_usable() {
    let segment = SEGMENT.get_or_init(|| Value::new(1).expect("create"));
    let pool = pool(2);
    let add = |n: u64| SEGMENT.get().expect("set before").update(|sum| *sum += n);
    pool.map(add, vec![1; 1000]).expect("map");
    assert_eq!(segment.get(), 1001);
    pool.join().expect("join");
}

pub(crate) fn tasks_have_an_empty_standard_input_and_the_callers_output() {
    let (from, mut to) = pipe().expect("a pipe");
    to.write_all(b"for the caller").expect("write");
    lead(libc::STDIN_FILENO, from.as_raw_fd());
    drop((from, to));
    let said = captured(libc::STDOUT_FILENO, || {
        let pool = pool(1);
        let read = |()| {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).expect("read");
            print!("said by a task");
            text
        };
        assert_eq!(pool.apply(read, ()), Ok(String::new()));
        pool.join().expect("join");
    });
    assert_eq!(said, "said by a task");
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("read");
    assert_eq!(text, "for the caller");
}
