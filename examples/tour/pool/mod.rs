//! Steps with pools. Each makes its pool in the step's own process, which has a single thread; what
//! the tasks share with each other and with the step goes to them as an argument, by name.

pub(crate) mod changes;
pub(crate) mod letters;
pub(crate) mod waves;
