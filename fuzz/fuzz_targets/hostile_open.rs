//! Arbitrary bytes as a segment, in memory and as a file. The target opens the bytes as every type and
//! runs a few operations; each ends in a value, a typed error, or a documented panic.
//!
//! Random bytes would not get past the magic. So the target lays out a sound segment, overwrites some
//! places, and mends the checksum if the input says so.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use shmkit::memory::{HeapMemory, Memory};
use shmkit::{ByteQueue, MessageQueue, Place, Queue, Value};
use shmkit_fuzz::ops::message_of_panic;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Nothing,
    Value,
    Queue,
    ByteQueue,
    MessageQueue,
}

#[derive(Arbitrary, Debug)]
struct Edit {
    at: u16,
    to: To,
}

#[derive(Arbitrary, Debug)]
enum To {
    Byte(u8),
    Small(u16),
    /// The upper two bytes of a word, as in a count with its top bits set or in an enormous length.
    Large(u16),
    Word(u64),
}

#[derive(Arbitrary, Debug)]
struct Input {
    kind: Kind,
    capacity: u8,
    /// How many items to put.
    filled: u8,
    /// How many times 32 bytes the segment is longer than a sound one.
    longer: i8,
    edits: Vec<Edit>,
    /// Whether to mend the checksum.
    checksum: bool,
    as_file: bool,
}

const LEN: usize = 4096;
/// The offset of the header's checksum, which covers all bytes before it.
const CHECKSUM: usize = 136;

fn write(bytes: &mut [u8], at: usize, from: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at + from.len()) {
        to.copy_from_slice(from);
    }
}

/// The segment's bytes.
fn segment(input: &Input) -> Vec<u8> {
    let memory = Arc::new(HeapMemory::new(LEN));
    let (capacity, filled) = (usize::from(input.capacity).max(1), input.filled);
    match input.kind {
        Kind::Nothing => {}
        Kind::Value => {
            let value = Value::create_in(memory.clone(), 7u64).unwrap();
            value.set(u64::from(filled));
        }
        Kind::Queue => {
            let queue = Queue::<u64>::create_in(memory.clone(), capacity).unwrap();
            (0..filled).for_each(|n| _ = queue.try_put(n.into()));
        }
        Kind::ByteQueue => {
            let queue = ByteQueue::create_in(memory.clone(), capacity).unwrap();
            (0..filled).for_each(|n| _ = queue.try_put(&vec![n; n.into()]));
        }
        Kind::MessageQueue => {
            let queue = MessageQueue::<String>::create_in(memory.clone(), capacity).unwrap();
            (0..filled).for_each(|n| _ = queue.try_put(&*"x".repeat(n.into())));
        }
    }
    let mut bytes = vec![0; LEN];
    // SAFETY: `bytes` is as long as the memory, and the handles over the memory are gone.
    unsafe {
        memory
            .base()
            .as_ptr()
            .copy_to_nonoverlapping(bytes.as_mut_ptr(), LEN)
    };
    bytes.resize(LEN.saturating_add_signed(isize::from(input.longer) * 32), 0);
    for Edit { at, to } in &input.edits {
        let at = usize::from(*at);
        match *to {
            To::Byte(byte) => write(&mut bytes, at % LEN, &[byte]),
            To::Small(word) => write(&mut bytes, at * 8 % LEN, &u64::from(word).to_le_bytes()),
            To::Large(word) => write(
                &mut bytes,
                at * 8 % LEN,
                &(u64::from(word) << 48).to_le_bytes(),
            ),
            To::Word(word) => write(&mut bytes, at * 8 % LEN, &word.to_le_bytes()),
        }
    }
    if input.checksum {
        let sum = bytes[..CHECKSUM.min(bytes.len())]
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        write(&mut bytes, CHECKSUM, &sum.to_le_bytes());
    }
    bytes
}

/// Runs `f`, in which a panic passes if its message is documented; any other panic ends the run.
fn documented(f: impl FnOnce()) {
    let known = [
        "the queue's indices are corrupt", // from an iterator
        "the lock word of",                // from a value
    ];
    if let Err(text) = message_of_panic(f) {
        let is_known = known.iter().any(|known| text.starts_with(known));
        assert!(is_known, "not a documented panic: {text:?}");
    }
}

/// Runs operations that never wait for long, whatever the words hold.
fn use_value(value: &Value<u64>) {
    let _ = value.get();
    documented(|| _ = value.try_update(|n| *n += 1));
    let _ = value.wait_until_timeout(Duration::ZERO, |_| false);
    let _ = format!("{value:?}");
}

fn use_queue(queue: &Queue<u64>) {
    for n in 0..3 {
        let _ = queue.try_put(n);
        let _ = queue.try_get();
    }
    let _ = queue.get_timeout(Duration::ZERO);
    let _ = queue.put_timeout(9, Duration::ZERO);
    documented(|| _ = queue.try_iter().count());
    queue.close();
    let _ = (queue.try_put(1), queue.try_get(), format!("{queue:?}"));
}

fn use_bytes(queue: &ByteQueue) {
    let max = queue.max_message_len();
    for len in [0, 1, max / 2, max] {
        let _ = queue.try_put(&vec![1; len]);
        let _ = queue.try_get();
    }
    if let Ok(mut room) = queue.try_reserve(max) {
        room.fill(2);
        let _ = room.commit(max / 2);
    }
    let _ = queue.try_get_with(|message| message.iter().map(|b| u64::from(*b)).sum::<u64>());
    let _ = queue.get_timeout(Duration::ZERO);
    documented(|| _ = queue.try_iter().count());
    queue.close();
    let _ = (queue.try_put(b""), queue.try_get(), format!("{queue:?}"));
}

fn use_messages(queue: &MessageQueue<String>) {
    for text in ["", "a text"] {
        let _ = queue.try_put(text);
        let _ = queue.try_get();
    }
    documented(|| _ = queue.try_iter().count());
    queue.close();
    let _ = (queue.try_get(), format!("{queue:?}"));
}

/// Opens the bytes in memory as every type, each time by a new holder, and uses each handle.
fn in_memory(bytes: &[u8]) {
    let memory = HeapMemory::new(bytes.len());
    let fill = || {
        let to = memory.base().as_ptr();
        // SAFETY: `bytes` is as long as the memory, which has no handle now.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    };
    let holder = || Arc::new(memory.attach());
    fill();
    let _ = Value::<u64>::open_in(holder()).map(|value| use_value(&value));
    fill();
    let _ = Queue::<u64>::open_in(holder()).map(|queue| use_queue(&queue));
    fill();
    let _ = ByteQueue::open_in(holder()).map(|queue| use_bytes(&queue));
    fill();
    let _ = MessageQueue::open_in(holder()).map(|queue| use_messages(&queue));
    fill();
    let _ = ByteQueue::create_in(holder(), 64).map(|queue| use_bytes(&queue));
}

/// Opens the bytes in a file as every type. The file has no name, so nobody can take it for an orphan.
fn in_file(bytes: &[u8]) {
    let place = || {
        let mut file: File = tempfile::tempfile_in("/dev/shm").expect("a file without a name");
        file.write_all(bytes).expect("room for a few pages");
        Place::fd(OwnedFd::from(file))
    };
    let _ = Value::<u64>::open(place()).map(|value| use_value(&value));
    let _ = Queue::<u64>::open(place()).map(|queue| use_queue(&queue));
    let _ = ByteQueue::open(place()).map(|queue| use_bytes(&queue));
    let _ = MessageQueue::open(place()).map(|queue| use_messages(&queue));
    let _ = shmkit::inspect(place());
}

fuzz_target!(|input: Input| {
    let bytes = segment(&input);
    if input.as_file {
        in_file(&bytes);
    } else if !bytes.is_empty() {
        in_memory(&bytes);
    }
});
