//! The walk through a source file: which paths it uses, and which of these the plan forbids.

use crate::house::{Arrows, House, LIB, Source};
use crate::table::{FORBIDDEN, FORBIDDEN_METHODS, NO_ROOMS, Row};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The walk through one file.
pub(crate) struct Walk<'a> {
    house: &'a House<'a>,
    source: &'a Source,
    /// The module that the walk is in, inline modules included.
    module: Vec<String>,
    in_test: bool,
    in_macro: bool,
    found: Vec<String>,
    arrows: Arrows,
}

fn allows(table: &[Row], from: &str, to: &str) -> bool {
    let mut rows = table.iter().filter(|(name, _)| *name == from);
    rows.any(|(_, doors)| doors.contains(&to))
}

impl<'a> Walk<'a> {
    /// Returns the violations in a file, and the arrows that its code draws.
    pub(crate) fn judge(house: &'a House<'a>, source: &'a Source) -> (Vec<String>, Arrows) {
        let mut walk = Self {
            house,
            source,
            module: source.module.clone(),
            in_test: false,
            in_macro: false,
            found: Vec::new(),
            arrows: Arrows::default(),
        };
        let wing = source.wing();
        if wing != LIB && !house.wings.iter().any(|(name, _)| *name == wing) {
            walk.report(1, format!("the wing `{wing}` is not in the table"));
        }
        walk.visit_file(&source.parsed());
        (walk.found, walk.arrows)
    }

    fn report(&mut self, line: usize, what: String) {
        self.found
            .push(format!("src/{}:{line}: {what}", self.source.name));
    }

    /// Judges one path as it stands in the code.
    fn path(&mut self, segments: &[String], line: usize) {
        let shown = segments.join("::");
        let wing = self.source.wing().to_owned();
        for (prefix, allowed) in FORBIDDEN {
            let begins = segments
                .iter()
                .map(String::as_str)
                .take(prefix.split("::").count())
                .eq(prefix.split("::"));
            if begins && wing != *allowed && (!self.in_test || *prefix == "libc") {
                return self.report(
                    line,
                    format!("`{shown}`: {prefix} is for `{allowed}` alone"),
                );
            }
        }
        let Some(target) = self.resolve(segments) else {
            return; // the path leads to another crate, or stays in this module
        };
        let Some(entered) = target.first().cloned() else {
            if wing != LIB {
                self.report(line, format!("`{shown}` opens every wing at once"));
            }
            return;
        };
        let room = target.get(1).map(|room| format!("{entered}/{room}"));
        let room = room.filter(|room| self.house.existing.contains(room));
        if entered != wing {
            self.enter_wing(&entered, room, &shown, line);
        } else if let Some(own) = self.source.room() {
            self.enter_room(&own, room, &shown, line);
        }
    }

    /// Judges a path from this wing to another one.
    fn enter_wing(&mut self, entered: &str, room: Option<String>, shown: &str, line: usize) {
        let wing = self.source.wing();
        if wing == LIB {
            return;
        }
        if !allows(self.house.wings, wing, entered) {
            return self.report(
                line,
                format!("`{shown}`: `{wing}` has no door to `{entered}`"),
            );
        }
        if let Some(room) = room {
            let what = format!("`{shown}` enters the room `{room}` past the door of its wing");
            return self.report(line, what);
        }
        self.arrows.wings.insert(entered.to_owned());
    }

    /// Judges a path from the room `own` to another one of the same wing.
    fn enter_room(&mut self, own: &str, room: Option<String>, shown: &str, line: usize) {
        match room {
            Some(room) if room == own => {}
            Some(room) if allows(self.house.rooms, own, &room) || self.in_test => {
                if !self.in_test {
                    self.arrows.rooms.insert(room);
                }
            }
            Some(room) => {
                self.report(line, format!("`{shown}`: `{own}` has no door to `{room}`"));
            }
            None => {
                self.arrows.up += 1;
                let wing = self.source.wing();
                let what =
                    format!("`{shown}`: `{own}` imports from the door of its own wing `{wing}`");
                self.report(line, what);
            }
        }
    }

    /// Returns a path as seen from the crate's root. `None` if it begins with no `crate`, `self` or `super`.
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

    /// Judges the inside of a macro, which is no syntax tree: every `a::b::c` is taken for a path.
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

    /// Finds an impl of a trait that crosses a wall: in a room that defines neither the trait, nor the type,
    /// nor an argument of the trait. A user of the impl would depend on that room unseen.
    fn check_impl(&mut self, item: &syn::ItemImpl) {
        let Some((_, path, _)) = &item.trait_ else {
            return;
        };
        let mut names = Idents::default();
        names.visit_path(path);
        names.visit_type(&item.self_ty);
        let home = self.source.room();
        let home = home.unwrap_or_else(|| self.source.wing().to_owned());
        let defined = self.house.defined.get(&home);
        if !names
            .0
            .iter()
            .any(|name| defined.is_some_and(|all| all.contains(name)))
        {
            let last = path
                .segments
                .last()
                .expect("a path has a segment")
                .ident
                .to_string();
            let line = item.impl_token.span().start().line;
            self.report(
                line,
                format!("this impl of {last} lives in `{home}`, which defines no part of it"),
            );
        }
    }
}

/// The names in a path or a type.
#[derive(Default)]
struct Idents(BTreeSet<String>);

impl<'ast> Visit<'ast> for Idents {
    fn visit_ident(&mut self, ident: &'ast proc_macro2::Ident) {
        self.0.insert(ident.to_string());
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&mut Vec::new(), &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.path(&[item.ident.to_string()], item.span().start().line);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !self.in_test && !self.in_macro {
            self.check_impl(item);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.path(&segments, path.span().start().line);
        visit::visit_path(self, path); // also judges the paths between its angle brackets
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let name = call.method.to_string();
        let is_forbidden = FORBIDDEN_METHODS.contains(&name.as_str());
        if is_forbidden && self.source.wing() != "os" && !self.in_test {
            let line = call.method.span().start().line;
            self.report(
                line,
                format!("`.{name}()` calls the operating system, which is for `os` alone"),
            );
        }
        visit::visit_expr_method_call(self, call);
    }

    /// `pub(crate)` and `pub(in crate::room)` don't use the modules that they name.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_macro(&mut self, makro: &'ast syn::Macro) {
        if makro.path.is_ident("include") {
            let line = makro.path.span().start().line;
            self.report(
                line,
                "`include!` brings in code that this test does not see".into(),
            );
        }
        self.visit_path(&makro.path);
        self.in_macro = true;
        self.tokens(makro.tokens.clone());
        self.in_macro = false;
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let line = attribute.span().start().line;
        if attribute.path().is_ident("path") {
            self.report(line, "`#[path]` hides in which room a file is".into());
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

/// Recognises `cfg(test)` and `cfg(all(test, ...))`.
fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    let is_test = |list: &syn::MetaList| {
        let mut text = list.tokens.to_string();
        text.retain(|c| !c.is_whitespace());
        text == "test" || text.starts_with("all(test,")
    };
    attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(is_test)
}
