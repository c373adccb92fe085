//! `Value` against a plain variable.

use crate::{
    Aligned, BODY, HOLDERS, STEPS, Sample, Wide, config, die, die_holding, holders, panic_quietly,
    until_panic, watchdog,
};
use bytemuck::bytes_of;
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::Value;
use shmkit::memory::HeapMemory;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Set(u64),
    Swap(u64),
    Update(u64),
    TryUpdate(u64),
    /// Writes, then panics: nothing may show.
    PanicInUpdate(u64),
    /// Writes, then dies: nothing may show, and the next one takes over.
    DieInUpdate(u64),
    /// Dies with the lock in its hand, outside of any operation.
    DieHolding,
    /// With the right value (which succeeds), or one that differs, as a rule.
    CompareExchange(Option<u64>, u64),
    WaitForTrue,
    WaitInVain,
    /// The handle is replaced by a clone of itself.
    Clone,
    /// The holder leaves, and comes back as another.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..1000u64;
    prop_oneof![
        3 => any.clone().prop_map(Step::Set),
        2 => any.clone().prop_map(Step::Swap),
        3 => any.clone().prop_map(Step::Update),
        2 => any.clone().prop_map(Step::TryUpdate),
        1 => any.clone().prop_map(Step::PanicInUpdate),
        3 => any.clone().prop_map(Step::DieInUpdate),
        1 => Just(Step::DieHolding),
        3 => (proptest::option::of(any.clone()), any)
            .prop_map(|(current, new)| Step::CompareExchange(current, new)),
        1 => Just(Step::WaitForTrue),
        1 => Just(Step::WaitInVain),
        1 => Just(Step::Clone),
        1 => Just(Step::Reopen),
    ]
}

fn run<T: Sample>(steps: &[(usize, Step)]) {
    let mut memories = holders(2 * size_of::<T>());
    let mut model = T::sample(0);
    let mut values: Vec<Value<T>> = memories
        .iter()
        .enumerate()
        .map(|(i, memory)| match i {
            0 => Value::create_in(memory.clone(), model).unwrap(),
            _ => Value::open_in(memory.clone()).unwrap(),
        })
        .collect();
    for (who, step) in steps {
        let value = &values[*who];
        match *step {
            Step::Set(n) => {
                value.set(T::sample(n));
                model = T::sample(n);
            }
            Step::Swap(n) => {
                assert_eq!(value.swap(T::sample(n)), model);
                model = T::sample(n);
            }
            Step::Update(n) => {
                let seen = value.update(|v| std::mem::replace(v, T::sample(n)));
                assert_eq!(seen, model);
                model = T::sample(n);
            }
            Step::TryUpdate(n) => {
                let seen = value.try_update(|v| std::mem::replace(v, T::sample(n)));
                assert_eq!(seen, Some(model));
                model = T::sample(n);
            }
            Step::PanicInUpdate(n) => {
                let ended = until_panic(|| {
                    value.update(|v| {
                        *v = T::sample(n);
                        panic_quietly()
                    })
                });
                assert!(ended.is_none());
            }
            Step::DieInUpdate(n) => {
                let ended = HeapMemory::until_death(|| {
                    value.update(|v| {
                        *v = T::sample(n);
                        die(&memories[*who])
                    })
                });
                assert!(ended.is_none());
            }
            Step::DieHolding => die_holding(&memories[*who], BODY),
            Step::CompareExchange(current, new) => {
                let current = current.map_or(model, T::sample);
                let new = T::sample(new);
                let result = value.compare_exchange(current, new);
                if bytes_of(&current) == bytes_of(&model) {
                    assert_eq!(result, Ok(model));
                    model = new;
                } else {
                    assert_eq!(result, Err(model));
                }
            }
            Step::WaitForTrue => {
                assert_eq!(value.wait_until(|v| *v == model), model);
                let found = value.wait_until_timeout(Duration::MAX, |v| *v == model);
                assert_eq!(found, Some(model));
            }
            Step::WaitInVain => {
                let found = value.wait_until_timeout(Duration::ZERO, |v| *v != model);
                assert_eq!(found, None);
            }
            Step::Clone => {
                let clone = value.clone();
                assert_eq!(clone.was_created(), value.was_created());
                values[*who] = clone;
            }
            Step::Reopen => {
                memories[*who] = Arc::new(memories[*who].attach());
                values[*who] = Value::open_in(memories[*who].clone()).unwrap();
                assert!(!values[*who].was_created());
            }
        }
        for value in &values {
            assert_eq!(value.get(), model, "after {step:?}");
        }
    }
}

macro_rules! like_a_variable {
    ($($name:ident: $element:ty;)*) => {
        proptest! {
            #![proptest_config(config())]
            $(
                #[test]
                fn $name(steps in vec((0..HOLDERS, step()), 1..STEPS)) {
                    let _watchdog = watchdog(stringify!($name));
                    run::<$element>(&steps);
                }
            )*
        }
    };
}

like_a_variable! {
    a_byte_is_like_a_variable: u8;
    a_word_is_like_a_variable: u64;
    three_bytes_are_like_a_variable: [u8; 3];
    a_struct_is_like_a_variable: Wide;
    an_aligned_struct_is_like_a_variable: Aligned;
}
