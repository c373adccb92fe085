use shmkit::bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy)]
#[repr(C, align(8192))]
struct Aligned([u8; 8192]);

// SAFETY: zeros are valid bytes.
unsafe impl Zeroable for Aligned {}
// SAFETY: the type is as large as its alignment, so it has no padding, and consists of bytes.
unsafe impl Pod for Aligned {}

fn main() {
    let _ = shmkit::Queue::<Aligned>::new(1);
}
