//! [`Pool`]: worker processes that run functions. Any of them may die.
//!
//! ```text
//! caller -- tasks ----> worker, worker ...    daemons of the supervisor
//!   |  <---- results -- worker, worker ...
//!   |  <---- results -- supervisor            a daemon of the caller; reports the tasks of dead workers
//! ```
//!
//! | process | what it does | explained in |
//! |---|---|---|
//! | the caller | puts tasks and collects results, without a thread of its own | `caller`, `state`, `task`, `imap` |
//! | the supervisor | forks workers, and reports the tasks that ended with dead workers | `supervisor` |
//! | a worker | takes a task, decodes its argument, runs it, encodes and puts its result | `worker`, `code` |
//! | worker and supervisor | record and read which worker has which task, so that a death ends this task and no other | `lease` |
//! | the caller and a worker | carry arguments that are too long for one message | `payload` |
//! | a worker and the caller | carry results that are too long for one message | `result` |
//!
//! The channels between the processes (`wire`) are anonymous, and forks inherit them: they end with the last
//! process.

mod caller;
mod code;
mod error;
mod handle;
mod imap;
mod lease;
mod payload;
mod result;
mod state;
mod supervisor;
mod task;
mod wire;
mod worker;

pub use error::TaskError;
pub use handle::{Pool, PoolBuilder};
pub use imap::{Imap, ImapUnordered};
pub use lease::{leases_of, new_task, record_lease, take_task};
pub use result::{discard_result, put_result, take_result};
pub use task::Task;
pub use wire::Words;
