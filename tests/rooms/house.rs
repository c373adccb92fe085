//! The sources, and what each of them defines.

use crate::table::Row;
use crate::walk::Walk;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::visit::{self, Visit};

/// The wing that may enter all others, and that nobody may enter.
pub(crate) const LIB: &str = "lib";

/// One source file.
pub(crate) struct Source {
    /// Its path below `src`, for messages.
    pub(crate) name: String,
    /// Its module path: `["os", "file"]` for `os/file.rs`, `["os"]` for `os/mod.rs`.
    pub(crate) module: Vec<String>,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(name: &str, text: &str) -> Self {
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

    pub(crate) fn wing(&self) -> &str {
        self.module.first().map_or(LIB, String::as_str)
    }

    /// The room, as `wing/room`; `None` for a wing's door.
    pub(crate) fn room(&self) -> Option<String> {
        let [wing, room, ..] = &self.module[..] else {
            return None;
        };
        Some(format!("{wing}/{room}"))
    }

    pub(crate) fn parsed(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// All sources, the plan, and the names that the rooms define.
pub(crate) struct House<'a> {
    pub(crate) sources: &'a [Source],
    pub(crate) wings: &'a [Row],
    pub(crate) rooms: &'a [Row],
    /// The rooms that exist, as `wing/room`.
    pub(crate) existing: BTreeSet<String>,
    /// The types and traits that each room, or door of a wing, defines.
    pub(crate) defined: BTreeMap<String, BTreeSet<String>>,
}

/// The arrows that a file's code draws.
#[derive(Default)]
pub(crate) struct Arrows {
    /// Wings that the file enters.
    pub(crate) wings: BTreeSet<String>,
    /// Rooms of its own wing that the file enters.
    pub(crate) rooms: BTreeSet<String>,
    /// How often a room imports from its own wing's door.
    pub(crate) up: usize,
}

impl<'a> House<'a> {
    pub(crate) fn new(sources: &'a [Source], wings: &'a [Row], rooms: &'a [Row]) -> Self {
        let mut defined: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for source in sources {
            let home = source.room().unwrap_or_else(|| source.wing().to_owned());
            let mut names = Names(defined.entry(home).or_default());
            names.visit_file(&source.parsed());
        }
        Self {
            sources,
            wings,
            rooms,
            existing: sources.iter().filter_map(Source::room).collect(),
            defined,
        }
    }

    /// The violations of all files.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.sources
            .iter()
            .flat_map(|source| Walk::judge(self, source).0)
            .collect()
    }
}

/// Collects the names that items define.
struct Names<'a>(&'a mut BTreeSet<String>);

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let name = match item {
            syn::Item::Struct(item) => &item.ident,
            syn::Item::Enum(item) => &item.ident,
            syn::Item::Union(item) => &item.ident,
            syn::Item::Trait(item) => &item.ident,
            syn::Item::Type(item) => &item.ident,
            _ => return visit::visit_item(self, item),
        };
        self.0.insert(name.to_string());
        visit::visit_item(self, item);
    }
}
