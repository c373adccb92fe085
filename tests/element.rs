//! The compiler must tell users why a type can't be shared, and what to do instead. `tests/element` has a
//! program for each case, and beside it the compiler's text.
//!
//! The test compares the texts to the letter. Their layout changes between versions of rustc, so the texts
//! hold for one version. Under any other the test prints that it was not run, and fails if
//! `SHMKIT_REQUIRE_ALL` is set, as in CI. To move to a new version, change `WRITTEN_WITH`, run
//! `TRYBUILD=overwrite cargo test --test element`, and read the difference. Do the same after a change of the
//! lines that a text quotes from `src/types` and `src/segment`; the test ignores line numbers.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// The version of rustc that wrote the `.stderr` files.
const WRITTEN_WITH: &str = "rustc 1.95.";

/// The phrases that each text must have, whatever its layout.
const MUST_SAY: [(&str, &[&str]); 9] = [
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
        "struct_without_derives",
        &[
            "`Job` can't be shared between processes",
            "`#[derive(Clone, Copy, shmkit::bytemuck::Pod, shmkit::bytemuck::Zeroable)]`",
            "`#[bytemuck(crate = \"shmkit::bytemuck\")]`",
            "a struct must have no padding",
        ],
    ),
    // The next two texts are bytemuck's. `Element`'s documentation explains them.
    (
        "padded_struct",
        &["derive(Pod) was applied to a type with padding"],
    ),
    (
        "struct_with_a_bool",
        &["the trait bound `bool: Pod` is not satisfied"],
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

/// The text about a struct that names no crate. Such a struct does compile in `tests/element`, because trybuild's
/// programs have this crate's dependencies as their own.
const WITHOUT_THE_CRATE: [&str; 2] = [
    "cannot find `bytemuck` in the crate root",
    "could not find `bytemuck` in the list of imported crates",
];

#[test]
fn a_program_whose_struct_names_no_crate_does_not_compile() {
    if !rustc_version().starts_with(WRITTEN_WITH) {
        return; // `the_compiler_says_what_to_do_instead` says so
    }
    let here = env!("CARGO_MANIFEST_DIR");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("without-the-crate");
    let write = |name: &str, text: &str| fs::write(program.join(name), text).expect("write");
    fs::create_dir_all(&program).expect("a folder for the program");
    write(
        "Cargo.toml",
        &format!(
            r#"
            workspace = {{}}
            package = {{ name = "without-the-crate", edition = "2024" }}
            lib = {{ path = "lib.rs" }}
            [dependencies.shmkit]
            path = "{here}"
            default-features = false
            features = ["derive"]
            "#
        ),
    );
    let lines =
        "#[derive(Clone, Copy, shmkit::bytemuck::Pod, shmkit::bytemuck::Zeroable)]\n#[repr(C)]\n";
    let named = "#[bytemuck(crate = \"shmkit::bytemuck\")]\n";
    // The versions that the test was built with, which are on this machine.
    let _ = fs::copy(format!("{here}/Cargo.lock"), program.join("Cargo.lock"));
    let check = |lines: &str| {
        write("lib.rs", &format!("{lines}pub struct Job(pub u64);"));
        let cargo = Command::new(env!("CARGO"))
            .args(["check", "--offline", "--target-dir", "target"])
            .current_dir(&program)
            .output()
            .expect("cargo runs");
        let text = String::from_utf8(cargo.stderr).expect("text");
        (cargo.status.success(), text)
    };
    let (compiles, text) = check(lines);
    assert!(!compiles, "{text}");
    for phrase in WITHOUT_THE_CRATE {
        assert!(text.contains(phrase), "no {phrase:?} in\n{text}");
    }
    let (compiles, text) = check(&format!("{lines}{named}"));
    assert!(compiles, "{text}");
}

/// Users look for the compiler's words in the documentation.
#[test]
fn the_documentation_explains_the_texts_that_are_not_ours() {
    let path = format!("{}/src/types/element.rs", env!("CARGO_MANIFEST_DIR"));
    let documentation = fs::read_to_string(path).expect("the source of `Element`");
    let is_bytemucks = |case: &str| ["padded_struct", "struct_with_a_bool"].contains(&case);
    let bytemucks = MUST_SAY.iter().filter(|(case, _)| is_bytemucks(case));
    let phrases = bytemucks.flat_map(|(_, phrases)| *phrases);
    for phrase in phrases.chain(&WITHOUT_THE_CRATE) {
        assert!(documentation.contains(phrase), "no {phrase:?}");
    }
}

/// This keeps anybody from overwriting the texts with texts that say nothing.
#[test]
fn the_expected_texts_say_it() {
    for (case, phrases) in MUST_SAY {
        let path = format!("{}/tests/element/{case}.stderr", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        for phrase in phrases {
            assert!(text.contains(phrase), "{case}: no {phrase:?} in\n{text}");
        }
    }
}
