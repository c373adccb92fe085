//! Blurs a picture in several processes, and prints how much faster they are than one:
//! `cargo run --release --example blur -- --processes 2 --output blurred.png`.
//!
//! The picture lies in two shared arrays. Each worker, a forked child that inherits them, reads a band of
//! rows with its margins from one array and writes it to the other, and at the end of each pass all workers
//! wait for each other. One progress bar shows the work of all, through a shared value. In the end this
//! process blurs the picture alone, and compares the two results byte for byte.
//!
//! If a worker is killed, the run ends with an error. With `--pool` it goes on: there the bands of each pass
//! are tasks of a pool, which get the arrays by name, and the band of a killed worker is given again.

mod filter;
mod shared;
#[cfg(feature = "serde")]
mod tasks;
mod workers;

use clap::Parser;
use filter::{Kernel, Size};
use image::RgbImage;
use image::imageops::{FilterType, resize};
use indicatif::{ProgressBar, ProgressStyle};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::process::exit;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/chelsea.png");

/// Blurs a picture in several processes that share it
#[derive(Parser)]
struct Args {
    /// The picture, a PNG (an alpha channel is dropped)
    #[arg(default_value = PHOTO, hide_default_value = true)]
    input: PathBuf,

    /// Where the blurred picture goes, as a PNG
    #[arg(short, long, default_value = "blurred.png")]
    output: PathBuf,

    /// How many processes [default: as many as there are CPUs]
    #[arg(short, long)]
    processes: Option<NonZeroUsize>,

    /// Have a pool do it; the band of a worker that is killed is given again
    #[cfg(feature = "serde")]
    #[arg(long)]
    pool: bool,

    /// How often the picture is blurred
    #[arg(long, default_value = "9")]
    passes: NonZeroUsize,

    /// How far a pixel spreads in one pass, in pixels
    #[arg(long, default_value_t = 24)]
    radius: usize,

    /// How many times larger the picture is made first, so that there is some work
    #[arg(long, default_value = "6")]
    scale: NonZeroU32,

    /// How often all of it is done; the times are the medians
    #[arg(long, default_value = "1")]
    rounds: NonZeroUsize,
}

fn main() {
    if let Err(error) = run(&Args::parse()) {
        eprintln!("blur: {error}");
        exit(1);
    }
}

fn run(args: &Args) -> Result<(), String> {
    let picture = read(args)?;
    let size = Size {
        width: to_usize(picture.width())?,
        height: to_usize(picture.height())?,
    };
    let (kernel, passes) = (Kernel::gaussian(args.radius), args.passes.get());
    let processes = match args.processes {
        Some(processes) => processes.get(),
        None => available_parallelism()
            .map_err(|error| format!("count the CPUs: {error}"))?
            .get(),
    };
    let processes = processes.min(size.height);

    let mut result = Vec::new();
    let (mut alone_took, mut shared_took) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds.get() {
        let bar = bar((passes * size.height) as u64);
        let (blurred, took) = timed(|| {
            let show = |rows| bar.set_position(rows);
            #[cfg(feature = "serde")]
            if args.pool {
                let again = |why: &str| bar.suspend(|| eprintln!("blur: {why}"));
                return tasks::blur(&picture, size, &kernel, passes, processes, show, again);
            }
            workers::blur(&picture, size, &kernel, passes, processes, show)
        });
        shared_took.push(took);
        bar.finish_and_clear();
        result = blurred?;
        let (expected, took) = timed(|| blur_alone(&picture, size, &kernel, passes));
        alone_took.push(took);
        same(&result, &expected)?;
    }
    write(args, size, result)?;

    let (alone, shared) = (median(alone_took), median(shared_took));
    println!("{} x {} pixels, {passes} passes", size.width, size.height);
    println!("this process alone   {alone:.2} s");
    println!("{:<20} {shared:.2} s", format!("processes: {processes}"));
    println!("byte for byte        the same");
    println!("faster               {:.2} x", alone / shared);
    println!("written              {}", args.output.display());
    Ok(())
}

fn to_usize(pixels: u32) -> Result<usize, String> {
    usize::try_from(pixels).map_err(|error| error.to_string())
}

fn read(args: &Args) -> Result<RgbImage, String> {
    let path = args.input.display();
    let picture =
        image::open(&args.input).map_err(|error| format!("cannot read {path}: {error}"))?;
    let picture = picture.into_rgb8();
    if picture.is_empty() {
        return Err(format!("{path} has no pixels"));
    }
    let scale = args.scale.get();
    let larger = |side: u32| side.checked_mul(scale).ok_or("that is too large");
    let (width, height) = (larger(picture.width())?, larger(picture.height())?);
    Ok(match scale {
        1 => picture,
        _ => resize(&picture, width, height, FilterType::Triangle),
    })
}

fn write(args: &Args, size: Size, pixels: Vec<u8>) -> Result<(), String> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(|error| error.to_string());
    let picture = RgbImage::from_raw(side(size.width)?, side(size.height)?, pixels);
    let picture = picture.expect("as many bytes as the picture that was read");
    let failed = |error| format!("cannot write {}: {error}", args.output.display());
    let png = image::ImageFormat::Png;
    picture.save_with_format(&args.output, png).map_err(failed)
}

/// Blurs the picture in this process, without shared memory.
fn blur_alone(picture: &[u8], size: Size, kernel: &Kernel, passes: usize) -> Vec<u8> {
    let (mut from, mut to) = (picture.to_vec(), vec![0; size.bytes()]);
    for _ in 0..passes {
        kernel.blur(size, &(0..size.height), &from, &mut to, |_| ());
        std::mem::swap(&mut from, &mut to);
    }
    from
}

fn same(found: &[u8], expected: &[u8]) -> Result<(), String> {
    let differs = |(found, expected): (&u8, &u8)| found != expected;
    match found.iter().zip(expected).position(differs) {
        Some(at) => Err(format!(
            "byte {at} is not what one process makes of it: expected {}, found {}",
            expected[at], found[at]
        )),
        None => Ok(()),
    }
}

/// The bar draws from this thread, because a process with several threads could not fork.
fn bar(rows: u64) -> ProgressBar {
    let template = "{bar:40} {percent:>3} %  {pos} of {len} rows";
    let style = ProgressStyle::with_template(template).expect("a template");
    ProgressBar::new(rows).with_style(style)
}

fn timed<R>(f: impl FnOnce() -> R) -> (R, Duration) {
    let started = Instant::now();
    let result = f();
    (result, started.elapsed())
}

/// The median in seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}
