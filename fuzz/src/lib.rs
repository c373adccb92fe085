//! What the fuzz targets share with the properties of `tests/model`: the interpreters of operations.

#[path = "../../tests/model/ops/mod.rs"]
pub mod ops;

/// The operations, each with the index of the holder that a byte of the input stands for.
#[must_use]
pub fn of_holders<Op: Copy>(ops: &[(u8, Op)]) -> Vec<(usize, Op)> {
    let index = |who| usize::from(who) % ops::HOLDERS;
    ops.iter().map(|&(who, op)| (index(who), op)).collect()
}
