//! What the processes share, and one band's work in it.

use crate::filter::{Kernel, Size};
use shmkit::{Array, Place, Result, Value};
use std::ops::Range;

/// Two pictures, of which each pass reads one and writes the other, and how far everybody is.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) size: Size,
    pictures: [Array<u8>; 2],
    /// Rows done, by all, over all passes.
    pub(crate) rows: Value<u64>,
}

impl Shared {
    /// `place` is asked once for each part: nameless ones are inherited, ones with a name can be sent.
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

    /// What has come of the picture after so many passes; `None` where it is poisoned: somebody died while
    /// writing it.
    pub(crate) fn after(&self, passes: usize) -> Option<Vec<u8>> {
        let picture = self.pictures[passes % 2].lock().ok()?;
        Some(picture.to_vec())
    }

    /// The same, poisoned or not: for who knows that all of its rows have been written since.
    #[cfg(feature = "serde")]
    pub(crate) fn rewritten_after(&self, passes: usize) -> Vec<u8> {
        self.pictures[passes % 2].to_vec()
    }
}

/// Bands of about the same height, from top to bottom.
pub(crate) fn bands(height: usize, count: usize) -> Vec<Range<usize>> {
    let edge = |n: usize| height * n / count;
    (0..count).map(|n| edge(n)..edge(n + 1)).collect()
}
