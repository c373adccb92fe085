//! Values that a forked child inherits.

use crate::fork::Name;
use crate::{finish, spawn};
use shmkit::{Element, Value};
use std::fmt::Debug;

/// The parent sees the writes of its child, through an anonymous value and a named one, inherited and
/// opened.
fn child_writes<T: Element + PartialEq + Debug>(from: T, to: T) {
    let name = Name::new("written");
    let nameless = Value::new(from).expect("create");
    let named = Value::create(&name.0, from).expect("create");
    let child = spawn(|| {
        assert_eq!((nameless.get(), named.get()), (from, from));
        nameless.set(to);
        assert_eq!(named.swap(to), from);
        let opened = Value::<T>::open(&name.0).expect("open");
        assert_eq!(opened.compare_exchange(to, from), Ok(to));
    });
    finish(&child);
    assert_eq!(nameless.get(), to);
    assert_eq!(named.get(), from);
    drop(named);
    assert!(!name.exists());
}

pub(crate) fn a_childs_writes_are_seen_by_the_parent_for_every_primitive_type() {
    macro_rules! integers {
        ($($integer:ty)*) => { $( child_writes(<$integer>::MIN, <$integer>::MAX); )* };
    }
    integers!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize);
    child_writes(f32::MIN, f32::MAX);
    child_writes(-0.0f64, f64::EPSILON);
    child_writes(u32::from('a'), u32::from('\u{10ffff}'));
    child_writes([u8::from(false); 3], [u8::from(true); 3]);
}
