fn main() {
    let _ = shmkit::Queue::<String>::create("lines", 8);
}
