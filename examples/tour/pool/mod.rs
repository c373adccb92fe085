//! Steps with pools. Each step makes its pool in its own process, which has a single thread. Shared memory
//! goes to the tasks as an argument, by name.

pub(crate) mod changes;
pub(crate) mod letters;
pub(crate) mod waves;
