//! Compiles Boost's side, or says what is missing for it.

use std::env::var;
use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(boost)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/boost.cpp");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").file("src/boost.cpp");
    // Its headers are not ours to warn about.
    build.warnings(false).define("NDEBUG", None);
    let Err(why) = build.try_compile("boost_peer") else {
        println!("cargo::rustc-cfg=boost");
        return;
    };
    // What the compiler itself says is among the warnings already; its command line is too long.
    let why = why.to_string();
    let why = why.split(": \"").next().unwrap_or_default();
    println!(
        "cargo::warning=Boost will not be measured ({why}): install a C++ compiler and Boost's \
         headers (Debian: g++ and libboost-dev), and build again"
    );
    // A file that isn't there is always out of date, so that the next build looks again.
    let out = var("OUT_DIR").expect("cargo sets it");
    let absent = Path::new(&out).join("look-again");
    println!("cargo::rerun-if-changed={}", absent.display());
}
