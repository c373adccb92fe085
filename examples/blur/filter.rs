//! The filter: a separable Gaussian blur of some rows of a picture. It knows no processes.
//!
//! The filter sums each pixel up in the same order, whichever rows it blurs together. So several bands make,
//! byte for byte, the same picture as one process.

use std::ops::Range;

/// Bytes of a pixel: red, green, blue.
pub(crate) const CHANNELS: usize = 3;

/// The size of a picture in pixels.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Size {
    /// Bytes of a row.
    pub(crate) fn row(self) -> usize {
        self.width * CHANNELS
    }

    pub(crate) fn bytes(self) -> usize {
        self.row() * self.height
    }
}

/// The weights of a pixel's neighbours, from `-radius` to `radius`. Their sum is 1.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Debug)]
pub(crate) struct Kernel(Vec<f32>);

impl Kernel {
    /// A bell curve whose radius is three standard deviations.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // small numbers
    pub(crate) fn gaussian(radius: usize) -> Self {
        let sigma = (radius as f64 / 3.0).max(0.1);
        let bell = |at: usize| (-0.5 * ((at as f64 - radius as f64) / sigma).powi(2)).exp();
        let weights: Vec<f64> = (0..=2 * radius).map(bell).collect();
        let sum: f64 = weights.iter().sum();
        Self(weights.iter().map(|weight| (weight / sum) as f32).collect())
    }

    pub(crate) fn radius(&self) -> usize {
        self.0.len() / 2
    }

    /// The rows that a blur of `rows` reads.
    pub(crate) fn rows_for(&self, rows: &Range<usize>, size: Size) -> Range<usize> {
        let (above, below) = (self.radius(), rows.end + self.radius());
        rows.start.saturating_sub(above)..below.min(size.height)
    }

    /// Blurs `rows` from `source`, which has the rows of `rows_for`, to `target`. Every now and then it tells
    /// `tell` how many more rows are done.
    pub(crate) fn blur(
        &self,
        size: Size,
        rows: &Range<usize>,
        source: &[u8],
        target: &mut [u8],
        mut tell: impl FnMut(usize),
    ) {
        const OFTEN: usize = 16;
        let have = self.rows_for(rows, size);
        let along: Vec<f32> = source
            .chunks_exact(size.row())
            .flat_map(|row| self.along(row))
            .collect();
        let mut sums = vec![0.0; size.row()];
        let out = target.chunks_exact_mut(size.row());
        for (done, (row, out)) in rows.clone().zip(out).enumerate() {
            sums.fill(0.5); // so that the cast below rounds
            for (step, weight) in self.0.iter().enumerate() {
                // Beyond the picture's edge, the last row stands in.
                let from = (row + step).saturating_sub(self.radius());
                let from = from.min(size.height - 1) - have.start;
                let row = &along[from * size.row()..][..size.row()];
                add(&mut sums, row.iter().copied(), *weight);
            }
            for (byte, sum) in out.iter_mut().zip(&sums) {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0.5 to 255.5
                let rounded = *sum as u8;
                *byte = rounded;
            }
            if (done + 1) % OFTEN == 0 {
                tell(OFTEN);
            }
        }
        tell(rows.len() % OFTEN);
    }

    /// Blurs a row along itself.
    fn along(&self, row: &[u8]) -> Vec<f32> {
        let radius = self.radius();
        let (first, last) = (&row[..CHANNELS], &row[row.len() - CHANNELS..]);
        let padded = [&first.repeat(radius), row, &last.repeat(radius)].concat();
        let mut sums = vec![0.0; row.len()];
        for (step, weight) in self.0.iter().enumerate() {
            let bytes = &padded[step * CHANNELS..][..row.len()];
            add(
                &mut sums,
                bytes.iter().map(|byte| f32::from(*byte)),
                *weight,
            );
        }
        sums
    }
}

fn add(sums: &mut [f32], what: impl Iterator<Item = f32>, weight: f32) {
    for (sum, value) in sums.iter_mut().zip(what) {
        *sum += weight * value;
    }
}
