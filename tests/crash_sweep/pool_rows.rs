//! Rows that need serde: [`MessageQueue`], and a worker's take of a pool's task.

use crate::contents::{CONSUMERS, Contents, Numbered, PRODUCERS, row, take_all};
use crate::queue_rows::accept;
use crate::row::{Family, First, Outcome, Predecessor, Row, expect, succeed, text, timed};
use crate::step;
use shmkit::internals::{Words, leases_of, new_task, take_task};
use shmkit::{ByteQueue, GetError, MessageQueue, PutError};

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
