//! Takes what `producer` sends, and writes it to a file or to standard output:
//!
//! ```sh
//! cargo run --release --example consumer -- --output copy.png
//! cargo run --release --example producer -- examples/data/chelsea.png
//! ```
//!
//! Either may be started first. A block leaves the queue only after it was written, so a consumer that is
//! killed at any moment loses nothing: the next consumer begins with the block that this one was writing.
//! In a file, the next consumer writes this block to the same place, so the file comes out right. On standard
//! output, the block may appear twice, or in part and then whole.

mod block;

use block::{Block, Where, fail};
use clap::Parser;
use shmkit::GetError;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Takes what `producer` sends, and writes it to a file or to standard output.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    queue: Where,

    /// File to write [default: standard output]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
}

fn main() {
    if let Err(error) = run(&Args::parse()) {
        fail("consumer", error);
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    // The output is opened before the queue, because a consumer that can't write should take nothing.
    let mut output = Output::open(args.output.as_ref())?;
    let queue = args.queue.open()?;
    eprintln!("consumer: taking from queue {:?}", args.queue.name);
    loop {
        // The block leaves the queue when the closure returns. If the write fails, the program ends before,
        // and the block stays for another consumer.
        let taken = queue.get_with(|block| match output.write(block) {
            Ok(()) => (block.len, block.offset),
            Err(error) => fail("consumer", format!("cannot write: {error}")),
        });
        match taken {
            Ok((0, offset)) => {
                eprintln!("consumer: the stream of {offset} bytes is complete");
                return Ok(());
            }
            Ok(_) => {}
            // Another consumer took the end of the stream.
            Err(GetError::Closed) => {
                eprintln!("consumer: the stream has ended");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

enum Output {
    /// A regular file, written by position.
    File(File),
    /// Anything else, written in sequence.
    Stream(Box<dyn Write>),
}

impl Output {
    fn open(path: Option<&PathBuf>) -> Result<Self, String> {
        let Some(path) = path else {
            return Ok(Self::Stream(Box::new(io::stdout())));
        };
        let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
        // The file is not truncated, because an earlier consumer may have written the first half.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let regular = file.metadata().map_err(failed)?.is_file();
        Ok(if regular {
            Self::File(file)
        } else {
            Self::Stream(Box::new(file))
        })
    }

    fn write(&mut self, block: &Block) -> io::Result<()> {
        // The length comes from shared memory, so it is read once, and limited to the block's size.
        let bytes = &block.bytes[..block.bytes.len().min(block.len as usize)];
        match self {
            Self::File(file) => {
                // The bytes behind this offset belong to an older file, or are half of this block.
                file.set_len(block.offset)?;
                file.write_all_at(bytes, block.offset)
            }
            Self::Stream(stream) => {
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }
}
