//! Python's `multiprocessing.Queue`, by `python.py`.

use crate::sides::{LIMIT_SECONDS, Measure, Setup};
use std::process::Command;

const SCRIPT: &str = include_str!("python.py");

/// The version of the Python here, or the reason why there is none.
pub(crate) fn version() -> Result<String, String> {
    run(&["--version".into()]).map(|text| text.trim().to_owned())
}

fn run(arguments: &[String]) -> Result<String, String> {
    let output = Command::new("python3").args(arguments).output();
    let output = output.map_err(|error| format!("python3: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("python3: {}: {}", output.status, said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn queue(setup: Setup) -> Result<Measure, String> {
    version()?;
    let [put_on, get_on] = setup.cpus;
    Ok(Box::new(move |items| {
        let numbers = [
            setup.capacity as u64,
            items,
            put_on as u64,
            get_on as u64,
            LIMIT_SECONDS.into(),
        ];
        let mut arguments = vec!["-c".to_owned(), SCRIPT.to_owned()];
        arguments.extend(numbers.map(|number| number.to_string()));
        let rate = run(&arguments).expect("a run of python3");
        rate.trim().parse().expect("items a second")
    }))
}
