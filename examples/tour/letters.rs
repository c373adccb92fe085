//! The letters 'A', 'B', 'C' go through a queue, from one program to another.

use crate::show::{Outcome, Program, check, name, rows};
use shmkit::Queue;

pub(crate) const LETTERS: &[u8] = b"ABC";

/// The step.
pub(crate) fn run() -> Outcome {
    let name = name("letters");
    let queue = Queue::<u8>::create(&name, 16)?;
    // The reader comes first, and waits.
    let mut reader = Program::start("reader", &[&name])?;
    let mut writer = Program::start("writer", &[&name])?;
    let (put, took) = (writer.line()?, reader.line()?);
    rows(&[
        (
            format!("writer, pid {}", writer.pid()),
            format!("put  {put}"),
        ),
        (
            format!("reader, pid {}", reader.pid()),
            format!("took {took}"),
        ),
    ]);
    writer.finish()?;
    reader.finish()?;
    check("what the reader took", "'A' 'B' 'C'".to_owned(), took)?;
    check("letters left in the queue", 0, queue.len())
}

pub(crate) fn quoted(letters: &[u8]) -> String {
    let quoted: Vec<String> = letters
        .iter()
        .map(|letter| format!("{:?}", char::from(*letter)))
        .collect();
    quoted.join(" ")
}

/// The writer.
pub(crate) fn write(args: &[String]) -> Outcome {
    let queue = Queue::<u8>::open(args[0].as_str())?;
    for letter in LETTERS {
        queue.put(*letter)?;
    }
    queue.close();
    println!("{}", quoted(LETTERS));
    Ok(())
}

/// The reader.
pub(crate) fn read(args: &[String]) -> Outcome {
    let queue = Queue::<u8>::open(args[0].as_str())?;
    let letters: Vec<u8> = queue.iter().collect(); // ends where the writer closes the queue
    println!("{}", quoted(&letters));
    Ok(())
}
