//! A pool with one worker, from its start to its end.

use crate::rows::{Told, between_marks, told};
use shmkit::Pool;

/// Longer than what a queue carries.
const LEN: usize = 200_000;

pub(crate) fn pool() -> Told {
    between_marks(|| {
        let pool = told(Pool::with_workers(1))?;
        let big = told(pool.apply(|len: usize| vec![7u8; len], LEN));
        let long = told(pool.apply(|bytes: Vec<u8>| bytes.len(), vec![1u8; LEN]));
        let joined = told(pool.join());
        if let Ok(bytes) = &big {
            assert!(bytes.len() == LEN && bytes.iter().all(|byte| *byte == 7));
        }
        if let Ok(len) = &long {
            assert_eq!(*len, LEN);
        }
        big.map(drop).and(long.map(drop)).and(joined)
    })
}
