//! The memory that the processes share, and the work on one band in it.

use crate::filter::{Kernel, Size};
use shmkit::{Array, Place, Result, Value};
use std::ops::Range;

/// Two pictures, of which each pass reads one and writes the other, and a count of the rows.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) size: Size,
    pictures: [Array<u8>; 2],
    /// The rows that all processes have done in all passes.
    pub(crate) rows: Value<u64>,
}

impl Shared {
    /// `place` gives the place of each part. A child inherits nameless parts; a task gets parts by their names.
    pub(crate) fn new(size: Size, picture: &[u8], place: impl Fn(&str) -> Place) -> Result<Self> {
        Ok(Self {
            size,
            pictures: [
                Array::create(place("even"), picture)?,
                Array::zeroed(place("odd"), picture.len())?,
            ],
            rows: Value::create(place("rows"), 0)?,
        })
    }

    /// Reads a band with its margins, blurs it, and writes it. The locks are held only for the copies, so
    /// that several processes blur at the same time.
    pub(crate) fn blur_band(
        &self,
        kernel: &Kernel,
        pass: usize,
        band: &Range<usize>,
    ) -> Result<()> {
        let (from, to) = (&self.pictures[pass % 2], &self.pictures[(pass + 1) % 2]);
        let row = self.size.row();
        let have = kernel.rows_for(band, self.size);
        let mut source = vec![0; have.len() * row];
        from.read_at(have.start * row, &mut source)?;
        let mut target = vec![0; band.len() * row];
        kernel.blur(self.size, band, &source, &mut target, |more| {
            self.rows.update(|rows| *rows += more as u64);
        });
        to.write_at(band.start * row, &target)?;
        Ok(())
    }

    /// The picture after so many passes. `None` if it is poisoned, because a process died while it wrote.
    pub(crate) fn after(&self, passes: usize) -> Option<Vec<u8>> {
        let picture = self.pictures[passes % 2].lock().ok()?;
        Some(picture.to_vec())
    }

    /// The picture after so many passes, poisoned or not. The caller knows that all rows were written again.
    #[cfg(feature = "serde")]
    pub(crate) fn rewritten_after(&self, passes: usize) -> Vec<u8> {
        self.pictures[passes % 2].to_vec()
    }
}

/// Divides the rows into bands of about the same height, from top to bottom.
pub(crate) fn bands(height: usize, count: usize) -> Vec<Range<usize>> {
    let edge = |n: usize| height * n / count;
    (0..count).map(|n| edge(n)..edge(n + 1)).collect()
}
