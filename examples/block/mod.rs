//! `producer` and `consumer` agree on this: the block that travels, and the arguments that name the queue.

use bytemuck::{Pod, Zeroable};
use shmkit::Queue;
use std::process::exit;

/// A piece of the stream. It has its place in the stream, so that writing it twice does no harm.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Block {
    /// How many bytes of the stream come before this block.
    pub(crate) offset: u64,
    /// How many of `bytes` are filled. 0 is the end of the stream.
    pub(crate) len: u32,
    /// The bytes, and behind them whatever fills the block up.
    pub(crate) bytes: [u8; 4084],
}

/// The arguments that name the queue, the same on both sides.
#[derive(clap::Args)]
pub(crate) struct Where {
    /// Name of the queue, the same on both sides
    #[arg(short, long, default_value = "demo")]
    pub(crate) name: String,

    /// How many blocks of 4 KiB the queue holds, the same on both sides
    #[arg(short, long, default_value_t = 64, value_name = "BLOCKS")]
    capacity: usize,
}

impl Where {
    /// Opens the queue, or creates it if the other side is not there yet.
    pub(crate) fn open(&self) -> shmkit::Result<Queue<Block>> {
        Queue::open_or_create(self.name.as_str(), self.capacity)
    }
}

/// Ends the program with a message.
pub(crate) fn fail(program: &str, error: impl std::fmt::Display) -> ! {
    eprintln!("{program}: {error}");
    exit(1)
}
