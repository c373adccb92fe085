//! Algorithms over words that several processes share: the lock, the event, the ring, the seqlock, the
//! journal.
//!
//! Nothing in this wing knows a segment or an item type. The same files compile under `cfg(loom)`, where
//! the words are loom's: `tests/loom` explores their interleavings.
//!
//! Floor by floor, from the ground up: `atomic` and `cpu` (words and instructions), `liveness` (who is
//! alive), `wait` (deadlines) and `spin`, `held` (the locks of this thread), `lock`, then `counted`,
//! `event`, `seqlock`, `journal`, and `ring` on top.

mod atomic;
mod counted;
mod cpu;
mod event;
mod held;
mod journal;
mod liveness;
mod lock;
mod ring;
mod seqlock;
mod spin;
mod wait;

#[cfg(not(loom))]
pub(crate) use atomic::LINE;
#[cfg(not(loom))]
pub(crate) use cpu::{full_fence_after_rmw, prefetch_read, prefetch_write};
pub use event::Event;
pub use held::LockId;
#[cfg(not(loom))]
pub(crate) use held::{count_announced, forget_held_locks};
pub use journal::Journal;
#[cfg(not(loom))]
pub(crate) use liveness::new_identity;
pub use liveness::{Holder, HolderState, Liveness};
pub use lock::{Announced, HeldLock, Lock, LockError, LockGuard, LockWord};
pub use ring::{
    Claim, Commit, Consumers, OwnedHead, OwnedSide, OwnedTail, Producers, ReadClaim, Refusal, Ring,
    RingWords, Seen, Side, Span, WriteClaim,
};
pub use seqlock::SeqLock;
pub use wait::{Deadline, Wait};
