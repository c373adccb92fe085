//! The filter: a separable Gaussian blur, for some rows of a picture. It knows no processes.
//!
//! Every pixel is summed up in the same order, whichever rows are asked for together: bands put beside
//! each other are, byte for byte, what one process makes of the whole picture.

use std::ops::Range;

/// Bytes of a pixel: red, green, blue.
pub(crate) const CHANNELS: usize = 3;

/// How large a picture is.
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

/// What a pixel's neighbours weigh, from `-radius` to `radius`; 1 in all.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Debug)]
pub(crate) struct Kernel(Vec<f32>);

impl Kernel {
    /// A bell that ends, at the radius, three standard deviations from its middle.
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

    /// The rows that have to be read for these to be blurred.
    pub(crate) fn rows_for(&self, rows: &Range<usize>, size: Size) -> Range<usize> {
        let (above, below) = (self.radius(), rows.end + self.radius());
        rows.start.saturating_sub(above)..below.min(size.height)
    }

    /// Blurs `rows`. `source` has the rows from `rows_for`, and `target` room for what comes of it.
    /// `tell` hears of so many rows more that are done, every now and then.
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
            sums.fill(0.5); // so that the cut below rounds
            for (step, weight) in self.0.iter().enumerate() {
                // Beyond the picture's edge its last row goes on.
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

    /// A row, blurred along itself.
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
