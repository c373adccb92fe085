//! [`Tag`]: how a header names the type of its elements.

use super::fnv1a;
use std::fmt;

/// Bytes of the tag's field in a header.
pub(super) const TAG_LEN: usize = 64;

/// The name of an element type in a header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag([u8; TAG_LEN]);

impl Tag {
    /// Returns the tag of a Rust type: its name without module paths, so that the same struct, compiled into
    /// two programs, matches. A name that is too long for the field is cut, and ends in a hash of the whole
    /// name.
    pub(crate) fn of_type<T>() -> Self {
        let name = unqualified(std::any::type_name::<T>());
        if name.len() <= TAG_LEN {
            return Self::of_text(&name);
        }
        let hash = format!("~{:016x}", fnv1a(name.as_bytes()));
        let mut end = TAG_LEN - hash.len();
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        Self::of_text(&format!("{}{hash}", &name[..end]))
    }

    pub(super) fn bytes(self) -> [u8; TAG_LEN] {
        self.0
    }

    pub(super) fn from_bytes(bytes: [u8; TAG_LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the tag of a schema that has been checked.
    pub(crate) fn of_text(text: &str) -> Self {
        let mut tag = [0; TAG_LEN];
        tag[..text.len()].copy_from_slice(text.as_bytes());
        Self(tag)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|&byte| byte == 0);
        let text = &self.0[..end.unwrap_or(TAG_LEN)];
        f.write_str(&String::from_utf8_lossy(text))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Strips `path::to::` from every name in a type: `[a::B; 2]` becomes `[B; 2]`.
fn unqualified(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut segment = 0; // where the current path segment began
    let mut rest = name.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ':' && rest.peek() == Some(&':') {
            rest.next();
            out.truncate(segment);
        } else {
            out.push(c);
            let of_a_name = c.is_alphanumeric() || matches!(c, '_' | '{' | '}' | '#');
            if !of_a_name {
                segment = out.len();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::marker::PhantomData;

    #[test]
    fn module_paths_are_stripped_and_nothing_else() {
        let cases = [
            ("f64", "f64"),
            ("a::b::Job", "Job"),
            ("[u8; 16]", "[u8; 16]"),
            ("[a::b::Job; 4]", "[Job; 4]"),
            ("x::Pair<y::A, z::w::B>", "Pair<A, B>"),
            ("a::main::{{closure}}::Job", "Job"),
            ("a::f::{closure#0}::Job", "Job"),
        ];
        for (full, short) in cases {
            assert_eq!(unqualified(full), short);
        }
    }

    #[test]
    fn long_type_names_are_told_apart() {
        type Deep<T> = PhantomData<PhantomData<PhantomData<PhantomData<PhantomData<T>>>>>;
        let a = Tag::of_type::<Deep<[u64; 1111]>>();
        let b = Tag::of_type::<Deep<[u64; 2222]>>();
        assert_ne!(a, b);
        assert_eq!(a.to_string().len(), TAG_LEN);
    }
}
