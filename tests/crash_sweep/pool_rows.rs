//! Rows of what needs serde: [`MessageQueue`], and a worker's take of a pool's task.

use crate::queue_rows::{CONSUMERS, PRODUCERS};
use crate::step::Raw;
use crate::sweep::{First, Outcome, Predecessor, Row, expect, timed};
use shmkit::internals::{Words, leases_of, new_task, take_task};
use shmkit::{ByteQueue, GetError, MessageQueue};

type Item = (u64, String);

fn item(number: u64) -> Item {
    (
        number,
        "item".repeat(usize::try_from(number).expect("small")),
    )
}

/// One row: the items that the operation finds, and leaves, by number.
pub(crate) struct MessageRow {
    name: &'static str,
    items: &'static [u64],
    operate: fn(&MessageQueue<Item>) -> bool,
    after: &'static [u64],
}

pub(crate) const MESSAGES: &[MessageRow] = &[
    MessageRow {
        name: "MessageQueue::put",
        items: &[1],
        operate: |queue| queue.put(&item(9)) == Ok(()),
        after: &[1, 9],
    },
    MessageRow {
        name: "MessageQueue::get",
        items: &[1, 2],
        operate: |queue| queue.get() == Ok(item(1)),
        after: &[2],
    },
];

impl Row for MessageRow {
    type Handle = MessageQueue<Item>;

    fn name(&self) -> &'static str {
        self.name
    }

    fn commits(&self) -> bool {
        true
    }

    fn locks(&self) -> &'static [u64] {
        &[PRODUCERS, CONSUMERS]
    }

    fn prepare(&self, name: &str) -> Result<MessageQueue<Item>, String> {
        let queue = MessageQueue::create(name, 256).map_err(|error| error.to_string())?;
        for number in self.items {
            let put = queue.put(&item(*number));
            put.map_err(|error| error.to_string())?;
        }
        Ok(queue)
    }

    fn predecessor(&self) -> Option<&Predecessor<MessageQueue<Item>>> {
        None
    }

    fn operate(&self, queue: &MessageQueue<Item>) -> bool {
        (self.operate)(queue)
    }

    fn judge(
        &self,
        attached: MessageQueue<Item>,
        name: &str,
        first: First,
    ) -> Result<Outcome, String> {
        let newcomer = timed("open", || MessageQueue::open(name))?;
        let newcomer = newcomer.map_err(|error| error.to_string())?;
        let [one, other] = first.order(&attached, &newcomer);
        expect(
            "a survivor's put",
            timed("put", || one.put(&item(5)))?,
            Ok(()),
        )?;
        let mut found = Vec::new();
        loop {
            match timed("get", || other.try_get())? {
                Ok((number, text)) => {
                    expect("a whole item", text, item(number).1)?;
                    found.push(number);
                }
                Err(GetError::Empty) => break,
                Err(error) => return Err(format!("a survivor's get: {error}")),
            }
        }
        expect("the last item", found.pop(), Some(5))?;
        let raw = Raw::open(name)?;
        expect("the producers' lock at the end", raw.word(PRODUCERS), 0)?;
        expect("the consumers' lock at the end", raw.word(CONSUMERS), 0)?;
        match found {
            found if found == self.items => Ok(Outcome::Before),
            found if found == self.after => Ok(Outcome::After),
            found => Err(format!("a state that is none: {found:?}")),
        }
    }
}

/// A worker's take: its task is the next worker's, or the dead one's, and never both or neither's.
pub(crate) struct TakeRow;

pub(crate) const TAKES: &[TakeRow] = &[TakeRow];

const DYING: u32 = 1;
const NEXT: u32 = 2;

/// Slot and generation of the tasks.
const TASKS: [(u32, u32); 2] = [(3, 1), (4, 1)];

fn take(tasks: &ByteQueue, words: &Words, worker: u32) -> Result<Vec<u8>, GetError> {
    let mut message = Vec::new();
    take_task(tasks, words, worker, &mut message, None).map(|()| message)
}

impl Row for TakeRow {
    type Handle = (ByteQueue, Words);

    fn name(&self) -> &'static str {
        "a pool's take"
    }

    fn commits(&self) -> bool {
        true
    }

    fn locks(&self) -> &'static [u64] {
        &[PRODUCERS, CONSUMERS]
    }

    fn prepare(&self, name: &str) -> Result<(ByteQueue, Words), String> {
        let tasks = ByteQueue::create(name, 4096).map_err(|error| error.to_string())?;
        for (slot, generation) in TASKS {
            let put = tasks.put(&new_task(slot, generation));
            put.map_err(|error| error.to_string())?;
        }
        let words = Words::new(2).map_err(|error| error.to_string())?;
        Ok((tasks, words))
    }

    fn predecessor(&self) -> Option<&Predecessor<(ByteQueue, Words)>> {
        None
    }

    fn operate(&self, (tasks, words): &(ByteQueue, Words)) -> bool {
        let [(slot, generation), _] = TASKS;
        take(tasks, words, DYING) == Ok(new_task(slot, generation))
    }

    fn judge(
        &self,
        (tasks, words): (ByteQueue, Words),
        name: &str,
        first: First,
    ) -> Result<Outcome, String> {
        let newcomer = timed("open", || ByteQueue::open(name))?;
        let newcomer = newcomer.map_err(|error| error.to_string())?;
        let [one, other] = first.order(&tasks, &newcomer);
        let of_the_dead =
            || timed("leases_of", || leases_of(one, &words, DYING))?.map_err(|e| e.to_string());
        // The supervisor looks at once, or when the next worker has taken its task.
        let early = match first {
            First::Attached => Some(of_the_dead()?),
            First::Newcomer => None,
        };
        let next = timed("take", || take(other, &words, NEXT))?;
        let next = next.map_err(|error| error.to_string())?;
        let taken = of_the_dead()?;
        expect(
            "what the dead had before",
            early.unwrap_or(taken.clone()),
            taken.clone(),
        )?;
        let raw = Raw::open(name)?;
        expect("the consumers' lock at the end", raw.word(CONSUMERS), 0)?;

        let [front, second] = TASKS;
        let found = TASKS
            .into_iter()
            .find(|(slot, generation)| next == new_task(*slot, *generation));
        expect(
            "the next one's",
            leases_of(one, &words, NEXT),
            Ok(found.into_iter().collect()),
        )?;
        match (found, &*taken) {
            (Some(found), []) if found == front => Ok(Outcome::Before),
            (Some(found), [dead]) if found == second && *dead == front => Ok(Outcome::After),
            _ => Err(format!(
                "the dead one has {taken:?}, the next one {found:?}"
            )),
        }
    }
}
