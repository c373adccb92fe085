//! The crate's rooms: which file of `src` may use which other, enforced.
//!
//! A room is a file, or a folder, directly in `src`. Every path in the code is looked at (`use`,
//! inline `crate::`, `super::` and `self::`, the inside of macros), and must lead to a room that
//! the table allows; `libc` is for `os` alone. Documentation may link anywhere: a doc comment is a
//! string to the parser.
//!
//! Unit tests (`#[cfg(test)]`) live in a room and keep to its doors; what a room's tests need beyond
//! them is a second table, empty so far.

use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Who may enter where. Everybody may use `error`.
const DOORS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("os", &[]),
    ("sync", &["os"]),
    ("segment", &["os", "sync"]),
    ("types", &["os", "segment", "sync"]),
    ("process", &["os", "segment"]),
    ("pool", &["os", "process", "segment", "sync", "types"]),
];

/// What the unit tests of a room may enter beyond its own doors.
const DOORS_OF_TESTS: [(&str, &[&str]); 0] = [];

/// The room that may enter all others, and that nobody may enter: nothing goes through its
/// re-exports.
const LIB: &str = "lib";

/// Names for rooms in which everything ends up.
const NO_ROOMS: [&str; 2] = ["utils", "prelude"];

const MOST_LINES: usize = 600;

/// One source file.
struct Source {
    /// Its path below `src`, for messages.
    name: String,
    /// Its module path: `["os", "file"]` for `os/file.rs`, `["os"]` for `os/mod.rs`.
    module: Vec<String>,
    text: String,
}

impl Source {
    fn new(name: &str, text: &str) -> Self {
        let mut module: Vec<String> = Path::new(name)
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if matches!(module.last().map(String::as_str), Some("mod" | LIB)) {
            module.pop();
        }
        Self {
            name: name.to_owned(),
            module,
            text: text.to_owned(),
        }
    }

    fn room(&self) -> &str {
        self.module.first().map_or(LIB, String::as_str)
    }

    fn violations(&self) -> Vec<String> {
        let file =
            syn::parse_file(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let mut walk = Walk {
            source: self,
            module: self.module.clone(),
            in_test: false,
            found: Vec::new(),
        };
        if self.room() != LIB && !DOORS.iter().any(|(room, _)| *room == self.room()) {
            walk.report(1, "is not in the table of rooms".into());
        }
        walk.visit_file(&file);
        walk.found
    }
}

struct Walk<'a> {
    source: &'a Source,
    /// The module that the walk is in, inline ones included.
    module: Vec<String>,
    in_test: bool,
    found: Vec<String>,
}

impl Walk<'_> {
    fn report(&mut self, line: usize, what: String) {
        self.found
            .push(format!("src/{}:{line}: {what}", self.source.name));
    }

    /// Judges one path as it stands in the code.
    fn path(&mut self, segments: &[String], line: usize) {
        let shown = segments.join("::");
        let room = self.source.room();
        if room != "os" && segments.iter().any(|segment| segment == "libc") {
            return self.report(line, format!("`{shown}`: libc is for `os` alone"));
        }
        let Some(target) = self.resolve(segments) else {
            return; // not through the crate's root, so to another crate, or within this room
        };
        let Some(entered) = target.first() else {
            if room != LIB {
                self.report(line, format!("`{shown}` opens every room at once"));
            }
            return;
        };
        let allowed = |table: &[(&str, &[&str])]| {
            let mut rows = table.iter().filter(|(name, _)| *name == room);
            rows.any(|(_, doors)| doors.contains(&entered.as_str()))
        };
        let may_enter = entered == room
            || room == LIB
            || entered == "error"
            || allowed(DOORS)
            || self.in_test && allowed(&DOORS_OF_TESTS);
        if !may_enter {
            self.report(
                line,
                format!("`{shown}`: `{room}` has no door to `{entered}`"),
            );
        }
    }

    /// Where a path leads, from the crate's root; `None` for one that does not say.
    fn resolve(&self, segments: &[String]) -> Option<Vec<String>> {
        let mut target = match segments.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.module.clone(),
            _ => return None,
        };
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(target.pop()),
                name => target.push(name.to_owned()),
            }
        }
        Some(target)
    }

    fn use_tree(&mut self, before: &mut Vec<String>, tree: &syn::UseTree) {
        let line = tree.span().start().line;
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.use_tree(before, &path.tree);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(before, tree);
                }
            }
            syn::UseTree::Glob(_) => self.path(before, line),
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                before.push(ident.to_string());
                self.path(before, line);
                before.pop();
            }
        }
    }

    /// The inside of a macro is no syntax tree: there, every `a::b::c` is taken for a path.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.macro_path(&path, line);
                        path.clear();
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.macro_path(&path, line);
                    path.clear();
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.macro_path(&path, line);
    }

    fn macro_path(&mut self, path: &[String], line: usize) {
        // A word alone is a variable or a keyword; `crate` alone is `pub(crate)`.
        if path.len() > 1 {
            self.path(path, line);
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&mut Vec::new(), &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.path(&[item.ident.to_string()], item.span().start().line);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.path(&segments, path.span().start().line);
        visit::visit_path(self, path); // what stands between its angle brackets
    }

    /// `pub(crate)` and `pub(in crate::room)` are no use of what they name.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_macro(&mut self, makro: &'ast syn::Macro) {
        if makro.path.is_ident("include") {
            let line = makro.path.span().start().line;
            self.report(
                line,
                "`include!` brings in code that is not looked at".into(),
            );
        }
        self.visit_path(&makro.path);
        self.tokens(makro.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let line = attribute.span().start().line;
        if attribute.path().is_ident("path") {
            self.report(line, "`#[path]` hides which room a file is".into());
        }
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        let line = item.span().start().line;
        if NO_ROOMS.contains(&name.as_str()) {
            self.report(line, format!("a module called `{name}` says nothing"));
        }
        let was_in_test = self.in_test;
        self.in_test |= item.attrs.iter().any(is_cfg_test);
        self.module.push(name);
        visit::visit_item_mod(self, item);
        self.module.pop();
        self.in_test = was_in_test;
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    let is_test = |list: &syn::MetaList| list.tokens.to_string() == "test";
    attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(is_test)
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("found below it");
            let text = fs::read_to_string(path).expect("a source file is text");
            Source::new(&name.to_string_lossy(), &text)
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("the sources are there").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn every_path_goes_through_a_door() {
    let sources = sources();
    let found: Vec<_> = sources.iter().flat_map(Source::violations).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_row_of_the_table_is_a_room() {
    let sources = sources();
    let rooms: BTreeSet<_> = sources.iter().map(Source::room).collect();
    let rows: BTreeSet<_> = DOORS.iter().map(|(room, _)| *room).chain([LIB]).collect();
    assert_eq!(rooms, rows);
    let doors = DOORS.iter().flat_map(|(_, doors)| *doors);
    assert!(doors.clone().all(|door| rows.contains(door)), "{doors:?}");
}

#[test]
fn no_file_is_a_house_nobody_can_live_in() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(
            lines <= MOST_LINES,
            "src/{} has {lines} lines, more than {MOST_LINES}: it wants two rooms",
            source.name
        );
        let found = source
            .module
            .iter()
            .find(|name| NO_ROOMS.contains(&name.as_str()));
        assert_eq!(found, None, "a room's name says what lives there");
    }
}

/// The test of the test: what is planted is found, each time once.
#[test]
fn planted_paths_are_found() {
    let planted = [
        ("error.rs", "use crate::segment::Segment;"),
        ("error.rs", "use crate::{error::Error, hold};"),
        ("error.rs", "use super::layout::*;"),
        ("error.rs", "use super::*;"),
        ("error.rs", "use crate as root;"),
        ("error.rs", "use crate::{self as root};"),
        ("error.rs", "use crate::Value;"),
        ("error.rs", "fn f() { crate::os::now(); }"),
        ("error.rs", "fn f() { super::os::now(); }"),
        ("error.rs", "fn f(_: Option<crate::place::Place>) {}"),
        ("error.rs", "fn f() { assert!(crate::os::now() == x); }"),
        ("error.rs", "fn f() { vec![(1, [super::os::now()])]; }"),
        ("error.rs", "macro_rules! m { () => { $crate::os::now() } }"),
        ("error.rs", "impl crate::memory::Memory for X {}"),
        (
            "error.rs",
            "mod deep { fn f() { super::super::os::now(); } }",
        ),
        ("error.rs", "#[cfg(test)] mod tests { use crate::hold; }"),
        ("error.rs", "mod utils {}"),
        ("error.rs", "#[path = \"os/file.rs\"] mod file;"),
        ("error.rs", "include!(\"os/file.rs\");"),
        ("sync/lock.rs", "use super::super::hold::Hold;"),
        ("sync/mod.rs", "use super::hold::Hold;"),
        ("process.rs", "use crate::ring::Ring;"),
        ("process.rs", "use libc::c_int;"),
        ("process.rs", "fn f() { libc::getpid(); }"),
        ("process.rs", "fn f() { ::libc::getpid(); }"),
        ("process.rs", "fn f() -> libc::c_int { 0 }"),
        ("process.rs", "fn f() { assert_eq!(libc::getpid(), 1); }"),
        ("process.rs", "extern crate libc;"),
        ("lib.rs", "pub use libc;"),
        ("misc.rs", ""),
        ("prelude/mod.rs", ""),
    ];
    for (name, text) in planted {
        let found = Source::new(name, text).violations();
        assert_eq!(found.len(), 1, "{name}: {text}: {found:?}");
    }
}

#[test]
fn what_is_allowed_is_not_found() {
    let sound = [
        (
            "error.rs",
            "use crate::error::{Error, Result}; use std::fmt;",
        ),
        ("error.rs", "/// See [`crate::segment`].\nfn f() {}"),
        (
            "error.rs",
            "pub(crate) struct A; pub(in crate::segment) struct B;",
        ),
        ("error.rs", "pub(super) fn f() { let super_ = 1; }"),
        ("error.rs", "#[cfg(test)] mod tests { use super::*; }"),
        (
            "error.rs",
            "mod deep { use super::super::error::Error; use self::x::Y; }",
        ),
        ("sync/lock.rs", "use super::event::Deadline; use crate::os;"),
        (
            "sync/lock.rs",
            "fn f() { super::spin(1); println!(\"crate::hold\"); }",
        ),
        (
            "os/file.rs",
            "use libc::c_int; fn f() { super::check(libc::getpid()); }",
        ),
        ("types.rs", "use crate::sync::Ring;"),
        (
            "lib.rs",
            "mod os; pub use element::Element; pub use crate::ring::Ring;",
        ),
    ];
    for (name, text) in sound {
        let found = Source::new(name, text).violations();
        assert!(found.is_empty(), "{name}: {text}: {found:?}");
    }
}
