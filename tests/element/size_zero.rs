fn main() {
    let _ = shmkit::Value::new([0u64; 0]);
}
