//! The compiler must tell users why a type can't be shared, and what to do instead. `tests/element` has a
//! program for each case, and beside it the compiler's text.
//!
//! The test compares the texts to the letter. Their layout changes between versions of rustc, so the texts
//! hold for one version. Under any other the test prints that it was not run, and fails if
//! `SHMKIT_REQUIRE_ALL` is set, as in CI. To move to a new version, change `WRITTEN_WITH`, run
//! `TRYBUILD=overwrite cargo test --test element`, and read the difference. Do the same after a change of the
//! lines that a text quotes from `src/types` and `src/segment`; the test ignores line numbers.

use std::io::Write;
use std::process::Command;

/// The version of rustc that wrote the `.stderr` files.
const WRITTEN_WITH: &str = "rustc 1.95.";

/// The phrases that each text must have, whatever its layout.
const MUST_SAY: [(&str, &[&str]); 6] = [
    (
        "bool",
        &["`bool` can't be shared between processes", "use a `u8`"],
    ),
    (
        "tuple",
        &[
            "`(u32, f64)` can't be shared between processes",
            "instead of a tuple a `#[repr(C)]` struct",
        ],
    ),
    (
        "string_in_value",
        &[
            "`String` can't be shared between processes",
            "a fixed-size array such as `[u8; 64]` and a length",
        ],
    ),
    (
        "string_in_queue",
        &[
            "`String` can't be shared between processes",
            "a fixed-size array such as `[u8; 64]` and a length",
        ],
    ),
    (
        "size_zero",
        &["shared elements need a size of at least 1 byte"],
    ),
    (
        "alignment_above_4096",
        &["shared elements are aligned to at most 4096 bytes"],
    ),
];

fn rustc_version() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc)
        .arg("--version")
        .output()
        .expect("rustc built this test");
    String::from_utf8(output.stdout).expect("a version is text")
}

#[test]
fn the_compiler_says_what_to_do_instead() {
    let version = rustc_version();
    if !version.starts_with(WRITTEN_WITH) {
        let why = format!("the texts are those of {WRITTEN_WITH}x, this is {version}");
        assert!(std::env::var_os("SHMKIT_REQUIRE_ALL").is_none(), "{why}");
        // The test harness hides the `eprintln` output of a passing test, so this writes past the harness.
        let _ = writeln!(std::io::stderr(), "not run: {why}");
        return;
    }
    let cases = trybuild::TestCases::new();
    // The compiler checks a size and an alignment when it generates code. trybuild generates code only if
    // one of the programs is to run.
    cases.pass("tests/element/may_be_shared.rs");
    for (case, _) in MUST_SAY {
        cases.compile_fail(format!("tests/element/{case}.rs"));
    }
}

/// This keeps anybody from overwriting the texts with texts that say nothing.
#[test]
fn the_expected_texts_say_it() {
    for (case, phrases) in MUST_SAY {
        let path = format!("{}/tests/element/{case}.stderr", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        for phrase in phrases {
            assert!(text.contains(phrase), "{case}: no {phrase:?} in\n{text}");
        }
    }
}
