//! Failing system calls: each call that an operation makes fails once with each errno that the call may give.
//! The operation then succeeds all the same, or refuses with an error that names the step and the cause; it
//! leaves no descriptor, mapping, name, hold, child or blocked signal, and neither panics nor hangs.
//!
//! The calls fail by ptrace, in a forked child: so the code under test is the code that users run, and the
//! standard library's calls fail as this crate's own do. Arguments are parts of the names of the rows to run;
//! `--table` prints every refusal, and `--call=openat` has only that call fail.

#[path = "../support/common.rs"]
#[allow(dead_code)] // this test uses its own part
mod common;

#[cfg(target_arch = "x86_64")]
mod calls;
#[cfg(all(feature = "serde", target_arch = "x86_64"))]
mod pool_row;
#[cfg(target_arch = "x86_64")]
mod rows;
#[cfg(target_arch = "x86_64")]
mod texts;
#[cfg(target_arch = "x86_64")]
mod tracer;
#[cfg(target_arch = "x86_64")]
mod verdict;
#[cfg(target_arch = "x86_64")]
mod world;

#[cfg(target_arch = "x86_64")]
use calls::{Args, Call};
#[cfg(target_arch = "x86_64")]
use rows::{ROWS, Row};
#[cfg(target_arch = "x86_64")]
use std::collections::BTreeMap;
#[cfg(target_arch = "x86_64")]
use std::io::Read;
#[cfg(target_arch = "x86_64")]
use std::time::Instant;
#[cfg(target_arch = "x86_64")]
use tracer::{Fault, Trace};
#[cfg(target_arch = "x86_64")]
use verdict::Verdict;

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    common::not_run("calls are made to fail on x86-64 alone");
}

#[cfg(target_arch = "x86_64")]
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let table = args.iter().any(|arg| arg == "--table");
    let call = args.iter().find_map(|arg| arg.strip_prefix("--call="));
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if let Err(why) = world::make_own() {
        return common::not_run(&why);
    }
    let mut failed = 0;
    for row in ROWS {
        if wanted.is_empty() || wanted.iter().any(|part| row.name.contains(part.as_str())) {
            failed += sweep(row, call, table);
        }
    }
    assert_eq!(failed, 0, "so many faults were not borne");
}

/// Runs a row with each fault. Returns how many faults the row did not bear.
#[cfg(target_arch = "x86_64")]
fn sweep(row: &Row, call: Option<&str>, table: bool) -> usize {
    let began = Instant::now();
    let (trace, verdict) = trial(row, None);
    let without = format!("{}: without a fault", row.name);
    assert_eq!(trace.failure, None, "{without}");
    assert_eq!(verdict, Verdict::Done, "{without}");
    assert!(!trace.sites.is_empty(), "{without}: no call");
    let (mut trials, mut missed, mut refused, mut failed) = (0, 0, 0, 0);
    let mut texts = BTreeMap::new();
    for (site, errnos) in &trace.sites {
        if call.is_some_and(|call| call != site.call) {
            continue;
        }
        // All of a pool's faults take a minute; two of each call's errnos, in turn, find as much.
        let errnos = match row.is_pool {
            false => errnos.clone(),
            true => (0..errnos.len().min(2))
                .map(|turn| errnos[(2 * site.nth + turn) % errnos.len()])
                .collect(),
        };
        for errno in errnos {
            let fault = Fault { site: *site, errno };
            let (trace, verdict) = trial(row, Some(fault));
            trials += 1;
            missed += usize::from(!trace.hit);
            let wrong = trace.failure.or_else(|| verdict.wrong(row, fault));
            if let Some(why) = wrong {
                failed += 1;
                println!("  {}, {}: {why}", row.name, texts::of(fault));
            } else if let Verdict::Refused(text) = verdict {
                refused += 1;
                texts.entry(text).or_insert_with(Vec::new).push(fault);
            }
        }
    }
    println!(
        "{}: {} calls, {trials} faults, {refused} refused, {} borne, {missed} not reached, {failed} FAILED ({:?})",
        row.name,
        trace.sites.len(),
        trials - refused - failed - missed,
        began.elapsed()
    );
    if table {
        for (text, faults) in texts {
            let faults: Vec<String> = faults.into_iter().map(texts::of).collect();
            println!("    {text}\n        {}", faults.join(", "));
        }
    }
    failed
}

/// Runs a row in a child of its own.
#[cfg(target_arch = "x86_64")]
fn trial(row: &Row, fault: Option<Fault>) -> (Trace, Verdict) {
    let (mut report, tell) = std::io::pipe().expect("a pipe");
    let always = |call: &Call, args: &Args| {
        let refused = row.no_unnamed && call.name == "openat" && args.is_unnamed();
        refused.then_some(libc::EOPNOTSUPP)
    };
    let trace = tracer::run(|| verdict::of(row).send(&tell), fault, always);
    drop(tell);
    let mut text = String::new();
    report.read_to_string(&mut text).expect("text");
    world::clear();
    (trace, Verdict::parse(&text))
}
