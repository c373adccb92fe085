//! [`Pool`]: worker processes that run functions, and may die.
//!
//! ```text
//! caller -- tasks ----> worker, worker ...    daemons of the supervisor
//!   |  <---- results -- worker, worker ...
//!   |  <---- results -- supervisor            a daemon of the caller; says whose tasks ended by a death
//! ```
//!
//! | who | does what | explained in |
//! |---|---|---|
//! | the caller | puts tasks, files results; has no thread of its own | `caller`, `state`, `task` |
//! | the supervisor | forks workers, and reports what ends with the dead ones | `supervisor` |
//! | a worker | takes, decodes, runs, encodes, answers | `worker`, `code` |
//! | all three | note who has which task, so that a death ends that one and no other | `lease` |
//! | sender and receiver | carry what is too long for a queue | `payload` |
//!
//! What they share is anonymous, and inherited by the forks: it ends with the last of them.

mod caller;
mod code;
mod error;
mod handle;
mod imap;
mod lease;
mod payload;
mod state;
mod supervisor;
mod task;
mod wire;
mod worker;

pub use error::TaskError;
pub use handle::Pool;
pub use imap::{Imap, ImapUnordered};
pub use lease::{leases_of, new_task, record_lease, take_task};
pub use task::Task;
pub use wire::Words;
