use shmkit::bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy)]
#[repr(C, align(8192))]
struct Aligned([u8; 8192]);

// SAFETY: zeros are bytes like any others.
unsafe impl Zeroable for Aligned {}
// SAFETY: as large as its alignment, so without padding; bytes alone.
unsafe impl Pod for Aligned {}

fn main() {
    let _ = shmkit::Queue::<Aligned>::new(1);
}
