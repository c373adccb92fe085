fn main() {
    let _ = shmkit::Queue::<(u32, f64)>::new(8);
}
