#[derive(Clone, Copy)]
struct Job {
    _id: u64,
    _letters: [u8; 8],
}

fn main() {
    let _ = shmkit::Queue::<Job>::new(1);
}
