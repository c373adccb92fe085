//! What the processes share, and one band's work in it.

use crate::filter::{Kernel, Size};
use shmkit::{Array, Place, Result, Value};
use std::ops::Range;

/// Two pictures, of which each pass reads one and writes the other, and how far everybody is.
pub(crate) struct Shared {
    pub(crate) size: Size,
    pictures: [Array<u8>; 2],
    /// Rows done, by all, over all passes.
    pub(crate) rows: Value<u64>,
    /// How often somebody has come to the end of a pass.
    arrivals: Value<u64>,
}

impl Shared {
    /// Nameless: the workers inherit it.
    pub(crate) fn new(size: Size, picture: &[u8]) -> Result<Self> {
        Ok(Self {
            size,
            pictures: [
                Array::new(picture)?,
                Array::zeroed(Place::anonymous(), picture.len())?,
            ],
            rows: Value::new(0)?,
            arrivals: Value::new(0)?,
        })
    }

    /// One band in one pass: read with its margins, blurred, written. The locks are held for the copies
    /// alone, so that bands are blurred at the same time.
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

    /// The barrier: waits until all of `workers` are at the end of that pass. If one of them died, that is
    /// never; then their parent, which watches them, ends the others.
    pub(crate) fn meet(&self, workers: usize, pass: usize) {
        let all = (workers * (pass + 1)) as u64;
        self.arrivals.update(|arrivals| *arrivals += 1);
        self.arrivals.wait_until(|arrivals| *arrivals >= all);
    }

    /// What has come of the picture after so many passes; `None` where it is poisoned: somebody died while
    /// writing it.
    pub(crate) fn after(&self, passes: usize) -> Option<Vec<u8>> {
        let picture = self.pictures[passes % 2].lock().ok()?;
        Some(picture.to_vec())
    }
}

/// Bands of about the same height, from top to bottom.
pub(crate) fn bands(height: usize, count: usize) -> Vec<Range<usize>> {
    let edge = |n: usize| height * n / count;
    (0..count).map(|n| edge(n)..edge(n + 1)).collect()
}
