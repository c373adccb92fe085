fn main() {
    let _ = shmkit::Value::create("greeting", String::from("hello"));
}
