//! Sends a file, or standard input, through a named queue. `consumer` takes it, in another terminal:
//!
//! ```sh
//! cargo run --release --example consumer -- --output copy.png
//! cargo run --release --example producer -- examples/data/chelsea.png
//! ```
//!
//! Either may be started first. The queue lives as long as one of the two programs, so the producer stays
//! until everything was taken: if it left earlier, the rest could be lost. If the producer is killed, the
//! queue stays open and the consumer waits; a new producer sends its input from the start. Run one producer
//! at a time, because two would mix their inputs.

mod block;

use block::{Block, Where, fail};
use bytemuck::Zeroable;
use clap::Parser;
use std::error::Error;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// Sends a file, or standard input, through a named queue.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    queue: Where,

    /// File to send [default: standard input]
    path: Option<PathBuf>,
}

fn main() {
    if let Err(error) = run(&Args::parse()) {
        fail("producer", error);
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut input: Box<dyn Read> = match &args.path {
        None => Box::new(io::stdin()),
        Some(path) => Box::new(
            File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?,
        ),
    };
    let queue = args.queue.open()?;
    eprintln!("producer: sending to queue {:?}", args.queue.name);
    let mut block = Block::zeroed();
    loop {
        // Each read makes a block, full or not, so that a terminal's input arrives line by line.
        let len = read(&mut input, &mut block.bytes).map_err(|e| format!("cannot read: {e}"))?;
        block.len = u32::try_from(len).expect("a block is smaller");
        queue.put(block)?;
        if len == 0 {
            break;
        }
        block.offset += u64::from(block.len);
    }
    queue.close();
    eprintln!("producer: all {} bytes are in the queue", block.offset);

    // A closed queue takes no items, so an empty one stays empty. And the queue is not empty before the
    // consumer has written the last block.
    if !queue.is_empty() {
        eprintln!("producer: waiting until a consumer has taken them");
    }
    while !queue.is_empty() {
        sleep(Duration::from_millis(5));
    }
    eprintln!("producer: all taken");
    Ok(())
}

fn read(input: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
