#[derive(Clone, Copy, shmkit::bytemuck::Pod, shmkit::bytemuck::Zeroable)]
#[bytemuck(crate = "shmkit::bytemuck")]
#[repr(C)]
struct Job {
    id: u64,
    letters: [u8; 8],
}

fn main() {
    let letters = *b"one job.";
    let job = shmkit::Value::new(Job { id: 1, letters }).unwrap().get();
    assert_eq!((job.id, job.letters), (1, letters));
}
