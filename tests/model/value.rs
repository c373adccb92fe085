//! `Value` against a plain variable.

use crate::ops::{BODY, Crew, End, Sample, die_holding, holders};
use crate::{Aligned, FEW, HOLDERS, Large, STEPS, Wide, ends, few, properties, with_stack};
use bytemuck::bytes_of;
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::{TimedOut, Value};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
enum Step {
    Set(u64),
    SetFrom(u64),
    Swap(u64),
    Update(u64),
    TryUpdate(u64),
    /// The timed forms, in which nobody has to wait: a dead holder's lock is taken over.
    SetTimeout(u64),
    SwapTimeout(u64),
    UpdateTimeout(u64),
    /// Inside an update, in which each timed form gives up.
    TimeOut(u64),
    /// Writes, then comes to an end: nobody may see that write.
    EndInUpdate(End, u64),
    /// Dies with the lock, outside of any operation.
    DieHolding,
    /// Expects the present value, or the sample of a number.
    CompareExchange(Option<u64>, u64),
    CompareExchangeTimeout(Option<u64>, u64),
    WaitForTrue,
    WaitInVain,
    Clone,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..1000u64;
    prop_oneof![
        2 => any.clone().prop_map(Step::Set),
        1 => any.clone().prop_map(Step::SetFrom),
        2 => any.clone().prop_map(Step::Swap),
        3 => any.clone().prop_map(Step::Update),
        2 => any.clone().prop_map(Step::TryUpdate),
        1 => any.clone().prop_map(Step::SetTimeout),
        1 => any.clone().prop_map(Step::SwapTimeout),
        1 => any.clone().prop_map(Step::UpdateTimeout),
        1 => any.clone().prop_map(Step::TimeOut),
        4 => (ends(), any.clone()).prop_map(|(end, n)| Step::EndInUpdate(end, n)),
        1 => Just(Step::DieHolding),
        3 => (proptest::option::of(any.clone()), any.clone())
            .prop_map(|(current, new)| Step::CompareExchange(current, new)),
        1 => (proptest::option::of(any.clone()), any)
            .prop_map(|(current, new)| Step::CompareExchangeTimeout(current, new)),
        1 => Just(Step::WaitForTrue),
        1 => Just(Step::WaitInVain),
        1 => Just(Step::Clone),
        1 => Just(Step::Reopen),
    ]
}

/// Tries each timed form through every handle, while this thread is in an update.
fn time_out<T: Sample>(handles: &[Value<T>], n: u64) {
    let soon = Duration::ZERO;
    // Another thread, since this one would wait for itself.
    let tries = || {
        let new = T::sample(n);
        for value in handles {
            assert_eq!(value.set_timeout(new, soon), Err(TimedOut));
            assert_eq!(value.swap_timeout(new, soon), Err(TimedOut));
            let updated = value.update_timeout(soon, |_| unreachable!("without the lock"));
            assert_eq!(updated, Err::<(), _>(TimedOut));
            let exchanged = value.compare_exchange_timeout(value.get(), new, soon);
            assert_eq!(exchanged, Err(TimedOut));
        }
    };
    std::thread::scope(|scope| scope.spawn(tries).join().unwrap());
}

fn run<T: Sample>(steps: Vec<(usize, Step)>) {
    let mut model = T::sample(0);
    let memories = holders(2 * size_of::<T>());
    let mut crew = Crew::new(memories, |memory| Value::create_in(memory, model));
    for (who, step) in steps {
        let (value, memory) = (&crew.handles[who], &crew.memories[who]);
        match step {
            Step::Set(n) => {
                value.set(T::sample(n));
                model = T::sample(n);
            }
            Step::SetFrom(n) => {
                value.set_from(&T::sample(n));
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
            Step::SetTimeout(n) => {
                assert_eq!(value.set_timeout(T::sample(n), Duration::ZERO), Ok(()));
                model = T::sample(n);
            }
            Step::SwapTimeout(n) => {
                let seen = value.swap_timeout(T::sample(n), Duration::ZERO);
                assert_eq!(seen, Ok(model));
                model = T::sample(n);
            }
            Step::UpdateTimeout(n) => {
                let write = |v: &mut T| std::mem::replace(v, T::sample(n));
                assert_eq!(value.update_timeout(Duration::MAX, write), Ok(model));
                model = T::sample(n);
            }
            Step::TimeOut(n) => {
                value.update(|_| time_out(&crew.handles, n));
            }
            Step::EndInUpdate(end, n) => {
                let ended = End::catch(|| {
                    value.update(|v| {
                        *v = T::sample(n);
                        end.come(memory)
                    })
                });
                assert!(ended.is_none());
            }
            Step::DieHolding => die_holding(memory, BODY),
            Step::CompareExchange(current, new) | Step::CompareExchangeTimeout(current, new) => {
                let current = current.map_or(model, T::sample);
                let new = T::sample(new);
                let result = if matches!(step, Step::CompareExchange(..)) {
                    value.compare_exchange(current, new)
                } else {
                    value
                        .compare_exchange_timeout(current, new, Duration::ZERO)
                        .expect("nobody alive has the lock")
                };
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
            Step::Clone => crew.clone_handle(who),
            Step::Reopen => crew.reopen(who),
        }
        for value in &crew.handles {
            assert_eq!(value.get(), model, "after {step:?}");
            let mut copy = T::sample(u64::MAX);
            value.get_into(&mut copy);
            assert_eq!(copy, model);
        }
    }
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn a_large_struct_is_like_a_variable(steps in vec((0..HOLDERS, step()), 1..FEW)) {
        with_stack(|| run::<Large>(steps));
    }
}

properties! {
    run, vec((0..HOLDERS, step()), 1..STEPS);
    a_byte_is_like_a_variable: u8;
    a_word_is_like_a_variable: u64;
    three_bytes_are_like_a_variable: [u8; 3];
    a_struct_is_like_a_variable: Wide;
    an_aligned_struct_is_like_a_variable: Aligned;
}
