#[derive(Clone, Copy, shmkit::bytemuck::Pod, shmkit::bytemuck::Zeroable)]
#[bytemuck(crate = "shmkit::bytemuck")]
#[repr(C)]
struct Job {
    _id: u64,
    _letter: u8,
}

fn main() {
    let _ = shmkit::Queue::<Job>::new(1);
}
