//! Another program can change a shared value, but not a plain variable.
#![allow(clippy::approx_constant)] // 3.14 is just a number here, not pi

use crate::show::{Outcome, Program, check, name, say};
use shmkit::Value;
use std::sync::Mutex;

/// A plain variable. Each program that runs this code has its own.
static PLAIN: Mutex<f64> = Mutex::new(0.0);

fn plain() -> f64 {
    *PLAIN.lock().expect("nobody panicked")
}

/// The step.
pub(crate) fn run() -> Outcome {
    let name = name("number");
    let shared = Value::<f64>::create(&name, 0.0)?;
    let row = |what: &str, plain: String, shared: String| {
        say(format!("   {what:22}   {plain:>14}   {shared:>12}"));
    };
    row("", "plain variable".into(), "Value<f64>".into());
    row(
        "this program, before",
        format!("{:?}", plain()),
        format!("{:?}", shared.get()),
    );
    let mut changer = Program::start("changer", &[&name])?;
    let (its_plain, its_shared) = (changer.line()?, changer.line()?);
    changer.finish()?;
    row("another program sets", its_plain.clone(), its_shared);
    row(
        "this program, after",
        format!("{:?}", plain()),
        format!("{:?}", shared.get()),
    );
    check("the other program's variable", "3.14".to_owned(), its_plain)?;
    check("the plain variable", 0.0, plain())?;
    check("the shared value", 3.14, shared.get())
}

/// The other program sets both.
pub(crate) fn change(args: &[String]) -> Outcome {
    *PLAIN.lock().expect("nobody panicked") = 3.14;
    let shared = Value::<f64>::open(args[0].as_str())?;
    shared.set(3.14);
    println!("{:?}\n{:?}", plain(), shared.get());
    Ok(())
}
