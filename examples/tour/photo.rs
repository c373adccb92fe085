//! Real input: a photograph goes to another program in blocks of 4 KiB, and arrives byte for byte.

use crate::show::{Failure, Outcome, Program, check, failure, grouped, name, rows, timed};
use sha2::{Digest, Sha256};
use shmkit::{GetError, Queue, Value};
use std::fmt::Write;

const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/chelsea.png");
const BLOCK: usize = 4096;
type Block = [u8; BLOCK];

/// How often the photograph is sent again, to measure the speed.
const COPIES: usize = if cfg!(debug_assertions) { 100 } else { 1000 };

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes everything");
            text
        })
}

/// Returns the photograph, filled up with zeros to whole blocks, and its true length.
fn photo_in_blocks() -> Result<(Vec<u8>, usize), Failure> {
    let mut photo =
        std::fs::read(PHOTO).map_err(|error| failure("the photograph", PHOTO, error))?;
    let length = photo.len();
    photo.resize(length.next_multiple_of(BLOCK), 0);
    Ok((photo, length))
}

/// The step: this program receives.
pub(crate) fn run() -> Outcome {
    let (blocks_name, length_name) = (name("blocks"), name("length"));
    let blocks = Queue::<Block>::create(&blocks_name, 64)?;
    let length = Value::create(&length_name, 0u64)?;
    let mut sender = Program::start("sender", &[&blocks_name, &length_name])?;

    // The last block is not full, so the length travels too.
    let sent = sender.line()?;
    let length = usize::try_from(length.get())?;
    let count = length.div_ceil(BLOCK);
    let mut photo = Vec::new();
    for _ in 0..count {
        photo.extend_from_slice(&blocks.get()?);
    }
    let received = sha256(&photo[..length]);

    // The copies measure the speed. Every block is compared with the file.
    let (original, original_length) = photo_in_blocks()?;
    let (wrong, took) = timed(|| {
        let mut wrong = 0;
        for _ in 0..COPIES {
            for expected in original.chunks_exact(BLOCK) {
                wrong += usize::from(blocks.get()? != *expected);
            }
        }
        Ok::<usize, GetError>(wrong)
    });
    let wrong = wrong?;
    sender.finish()?;
    #[allow(clippy::cast_precision_loss)] // megabytes for people to read
    let speed = (COPIES * original.len()) as f64 / 1e6 / took.as_secs_f64();
    let same = photo == original && length == original_length;
    rows(&[
        (
            "chelsea.png",
            format!("{} bytes, {count} blocks", grouped(length)),
        ),
        ("sender's SHA-256", sent.clone()),
        ("receiver's SHA-256", received.clone()),
        (
            "byte for byte",
            (if same { "the same" } else { "not the same" }).to_owned(),
        ),
        (
            "speed",
            format!(
                "{} MB/s ({} times more, every block compared)",
                grouped(format!("{speed:.0}")),
                grouped(COPIES)
            ),
        ),
    ]);
    check("the length in bytes", original_length, length)?;
    check("the SHA-256 that was received", sent, received)?;
    check("the same bytes", true, same)?;
    check("wrong blocks among the copies", 0, wrong)
}

/// The sender.
pub(crate) fn send(args: &[String]) -> Outcome {
    let blocks = Queue::<Block>::open(args[0].as_str())?;
    let length = Value::<u64>::open(args[1].as_str())?;
    let (photo, true_length) = photo_in_blocks()?;
    length.set(true_length as u64);
    println!("{}", sha256(&photo[..true_length]));
    for _ in 0..=COPIES {
        for block in photo.chunks_exact(BLOCK) {
            blocks.put(block.try_into()?)?;
        }
    }
    Ok(())
}
