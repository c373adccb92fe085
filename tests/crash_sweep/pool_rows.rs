//! Rows that need serde: [`MessageQueue`], and a pool's worker, which takes a task and puts a long result.

use crate::contents::{CONSUMERS, Contents, Numbered, PRODUCERS, row, take_all};
use crate::queue_rows::accept;
use crate::row::{Family, First, Outcome, Predecessor, Row, expect, succeed, text, timed};
use crate::step;
use shmkit::internals::{
    Words, discard_result, leases_of, new_task, put_result, take_result, take_task,
};
use shmkit::{ByteQueue, GetError, MessageQueue, PutError};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

type Item = (u64, String);

fn item(number: u64) -> Item {
    let count = usize::try_from(number).expect("small");
    (number, "item".repeat(count))
}

fn number_of((number, text): Item) -> Result<u64, String> {
    expect("a whole item", text, item(number).1)?;
    Ok(number)
}

pub(crate) fn messages() -> Vec<Row<Contents<MessageQueue<Item>>>> {
    let row = row::<MessageQueue<Item>>;
    vec![
        row("MessageQueue::put", |queue| queue.put(&item(9)) == Ok(()))
            .finds(&[1])
            .leaves(&[1, 9]),
        row("MessageQueue::get", |queue| queue.get() == Ok(item(1)))
            .finds(&[1, 2])
            .leaves(&[2]),
        row("MessageQueue::take_with, accepted", |queue| {
            queue.take_with(|found| accept(found == item(1))) == Ok(Ok(()))
        })
        .finds(&[1, 2])
        .leaves(&[2]),
        row("MessageQueue::take_with, refused", |queue| {
            queue.take_with(|found| accept(found != item(1))) == Ok(Err(()))
        })
        .finds(&[1, 2]),
        row("MessageQueue::get, after a death in take_with", |queue| {
            queue.get() == Ok(item(1))
        })
        .finds(&[1, 2])
        .after(Predecessor::by_itself(|queue| {
            queue
                .take_with(|_| -> Result<(), ()> { step::die() })
                .is_ok()
        }))
        .leaves(&[2]),
    ]
}

impl Numbered for MessageQueue<Item> {
    fn create(name: &str) -> shmkit::Result<Self> {
        MessageQueue::create(name, 256)
    }

    fn open(name: &str) -> shmkit::Result<Self> {
        MessageQueue::open(name)
    }

    fn put_number(&self, number: u64) -> Result<(), PutError> {
        self.put(&item(number))
    }

    fn close(&self) {
        self.close();
    }

    fn look(survivors: [&Self; 2]) -> Result<(Vec<u64>, bool), String> {
        let put = timed("put", || survivors[0].put(&item(5)))?;
        expect("a survivor's put", put, Ok(()))?;
        let mut found = take_all(survivors, |survivor| survivor.try_get(), number_of)?;
        expect("the last item", found.pop(), Some(5))?;
        Ok((found, survivors[1].is_closed()))
    }

    fn use_on([one, other]: [&Self; 2], _closed: bool) -> Result<(), String> {
        other.close();
        expect("after closing", one.get(), Err(GetError::Closed))
    }
}

/// The family of a worker's take: either the dead worker or the next one has the first task, and never both.
pub(crate) struct Take;

pub(crate) fn takes() -> [Row<Take>; 1] {
    [Row::new(
        "a pool's take",
        |(tasks, words)| {
            let [(slot, generation), _] = TASKS;
            take(tasks, words, DYING) == Ok(new_task(slot, generation))
        },
        Take,
    )]
}

const DYING: u32 = 1;
const NEXT: u32 = 2;

/// The slot and the generation of each task.
const TASKS: [(u32, u32); 2] = [(3, 1), (4, 1)];

fn take(tasks: &ByteQueue, words: &Words, worker: u32) -> Result<Vec<u8>, GetError> {
    let mut message = Vec::new();
    take_task(tasks, words, worker, &mut message, None).map(|()| message)
}

impl Family for Take {
    type Handle = (ByteQueue, Words);
    const LOCKS: &'static [u64] = &[PRODUCERS, CONSUMERS];

    fn prepare(&self, name: &str) -> Result<(ByteQueue, Words), String> {
        let tasks = ByteQueue::create(name, 4096).map_err(text)?;
        for (slot, generation) in TASKS {
            tasks.put(&new_task(slot, generation)).map_err(text)?;
        }
        Ok((tasks, Words::new(2).map_err(text)?))
    }

    fn judge(
        &self,
        (tasks, words): (ByteQueue, Words),
        name: &str,
        first: First,
    ) -> Result<Outcome, String> {
        let newcomer = succeed("open", || ByteQueue::open(name))?;
        let [one, other] = first.order(&tasks, &newcomer);
        let of_the_dead = || succeed("leases_of", || leases_of(one, &words, DYING));
        // In half of the cases the supervisor also looks before the next worker takes its task.
        let early = match first {
            First::Attached => Some(of_the_dead()?),
            First::Newcomer => None,
        };
        let next = succeed("take", || take(other, &words, NEXT))?;
        let taken = of_the_dead()?;
        let early = early.unwrap_or(taken.clone());
        expect(
            "the tasks that the dead worker had before",
            early,
            taken.clone(),
        )?;

        let [front, second] = TASKS;
        let found = TASKS
            .into_iter()
            .find(|(slot, generation)| next == new_task(*slot, *generation));
        let leased = leases_of(one, &words, NEXT);
        expect(
            "the next worker's leases",
            leased,
            Ok(found.into_iter().collect()),
        )?;
        match (found, &*taken) {
            (Some(found), []) if found == front => Ok(Outcome::Before),
            (Some(found), [dead]) if found == second && *dead == front => Ok(Outcome::After),
            _ => Err(format!(
                "the dead worker has {taken:?}, the next one {found:?}"
            )),
        }
    }
}

/// The family of a worker's long result: the survivors find a part of the result, and know whether it is the
/// whole. If the file is `refused`, the result travels in pieces.
pub(crate) struct LongResult {
    refused: bool,
}

/// The queue of results, and the file.
type Results = (ByteQueue, File);

pub(crate) fn long_results() -> [Row<LongResult>; 2] {
    fn operate((results, file): &Results) -> bool {
        put_result(results, file, &mut long_result(), MOST) == Ok(())
    }
    [
        Row::new(
            "a pool's result out of line",
            operate,
            LongResult { refused: false },
        ),
        Row::new(
            "a pool's result in pieces",
            operate,
            LongResult { refused: true },
        ),
    ]
}

/// The longest message in the queue.
const MOST: usize = 28;

/// The lengths of a header, and of the result behind it.
const HEADER: usize = 12;
const RESULT: usize = 40;

const SLOT: u32 = 3;

/// A message that is too long for the queue.
fn long_result() -> Vec<u8> {
    let mut message = new_task(SLOT, 1);
    message.extend(1..=u8::try_from(RESULT).expect("small"));
    message
}

impl Family for LongResult {
    type Handle = Results;
    const LOCKS: &'static [u64] = &[PRODUCERS, CONSUMERS];

    fn prepare(&self, name: &str) -> Result<Results, String> {
        // SAFETY: the name is a C string literal.
        let file = unsafe { libc::memfd_create(c"results".as_ptr(), libc::MFD_ALLOW_SEALING) };
        // SAFETY: the call has just opened the descriptor, if it did not fail.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(file) });
        if self.refused {
            // SAFETY: the call takes numbers.
            let sealed =
                unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_GROW) };
            expect("a sealed file", sealed, 0)?;
        }
        Ok((ByteQueue::create(name, 256).map_err(text)?, file))
    }

    fn judge(&self, (results, file): Results, name: &str, first: First) -> Result<Outcome, String> {
        let newcomer = succeed("open", || ByteQueue::open(name))?;
        let [one, other] = first.order(&results, &newcomer);
        // The supervisor's report follows all that the dead worker put.
        let report = new_task(SLOT, 2);
        succeed("put", || one.put(&report))?;
        let whole = long_result();
        let (mut found, mut ends) = (Vec::new(), 0);
        for survivor in [other, one].into_iter().cycle() {
            let message = succeed("get", || survivor.try_get())?;
            if message == report {
                discard_result(&file, SLOT);
                break;
            }
            expect("messages before the last", ends, 0)?;
            let (header, payload) = message.split_at(HEADER);
            expect("slot and generation", &header[..8], &whole[..8])?;
            let is_long = header[8..] != whole[8..HEADER];
            if is_long && !self.refused {
                found = succeed("take", || take_result(&file, SLOT, payload))?;
                ends = 1;
            } else {
                found.extend_from_slice(payload);
                ends = i32::from(!is_long);
            }
        }
        expect(
            "a part",
            &*found,
            &whole[HEADER..][..found.len().min(RESULT)],
        )?;
        expect("the end", ends == 1, found.len() == RESULT)?;
        expect("the rest", one.try_get(), Err(GetError::Empty))?;
        let memory = file.metadata().map_err(text)?.blocks();
        expect("memory that is left", memory, 0)?;
        Ok(if ends == 1 {
            Outcome::After
        } else {
            Outcome::Before
        })
    }
}
