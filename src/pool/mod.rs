//! [`Pool`]: worker processes that run functions, and may die.
//!
//! ```text
//! caller -- tasks ----> worker, worker ...    daemons of the supervisor
//!   |  <---- results -- worker, worker ...
//!   |  <---- results -- supervisor            a daemon of the caller; reports tasks that ended by a death
//! ```
//!
//! | process | what it does | explained in |
//! |---|---|---|
//! | the caller | puts tasks and files results; it has no thread of its own | `caller`, `state`, `task`, `imap` |
//! | the supervisor | forks workers, and reports the tasks that end with dead workers | `supervisor` |
//! | a worker | takes, decodes, runs, encodes, answers | `worker`, `code` |
//! | all three | record which worker has which task, so that a death ends that task and no other | `lease` |
//! | sender and receiver | carry payloads that are too long for a queue | `payload` |
//!
//! The channels between them are anonymous and inherited by the forks: they end with the last process.

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
