//! A queue as an argument: two workers do a writing and a reading task at the same time.

use crate::letters::{LETTERS, quoted};
use crate::show::{Outcome, check, name, rows};
use shmkit::{Pool, Queue};

/// The process that did a task, and the task's letters.
type Report = (u32, String);

/// The writer. The queue has room for one letter, so the writer goes on only as the reader does.
fn write(queue: Queue<u8>) -> Report {
    for letter in LETTERS {
        queue.put(*letter).expect("nobody has closed it");
    }
    queue.close();
    (std::process::id(), quoted(LETTERS))
}

/// The reader. It reads until the writer closes the queue.
fn read(queue: Queue<u8>) -> Report {
    let letters: Vec<u8> = queue.iter().collect();
    (std::process::id(), quoted(&letters))
}

/// The step.
pub(crate) fn run() -> Outcome {
    let queue = Queue::<u8>::create(name("pool-letters"), 1)?;
    let pool = Pool::with_workers(2)?;
    // The reader comes first, and waits.
    let reader = pool.apply_async(read, queue.clone())?;
    let writer = pool.apply_async(write, queue.clone())?;
    let ((writer, put), (reader, took)) = (writer.get()?, reader.get()?);
    pool.join()?;
    rows(&[
        (format!("task write, pid {writer}"), format!("put  {put}")),
        (format!("task read, pid {reader}"), format!("took {took}")),
    ]);
    check("one worker did both", false, writer == reader)?;
    check("what the reader took", "'A' 'B' 'C'".to_owned(), took)?;
    check("letters left in the queue", 0, queue.len())
}
