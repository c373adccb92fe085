//! `Queue<u64>`, put and get one by one, against other ways to move numbers from one process to another:
//! items per second of each, by turns with ours, and their ratio. One producer, one consumer, each a
//! process pinned to a CPU; the same two CPUs for all, the same capacity where one can be chosen, and
//! every item is checked on arrival.
//!
//! `cargo bench --manifest-path benches/peers/Cargo.toml` measures; `-- --test` runs everything once,
//! briefly. In the environment: `SHMKIT_BENCH_CAPACITY`, `SHMKIT_BENCH_ROUNDS`, and
//! `SHMKIT_BENCH_ONLY`, a part of a peer's name. A peer that isn't there is `not measured: why`; with
//! `SHMKIT_REQUIRE_ALL=1` that is an error in the end.
//!
//! In a run, the consumer's clock starts at a barrier that both sides have reached, and stops when the
//! last item has arrived. The number of items is chosen so that a run takes `RUN_SECONDS`.
//!
//! A peer that leaves the waiting to its user is measured twice: with attempts that follow at once, as they
//! are usually written, and with the pause that makes the peer fastest here.

#[cfg(boost)]
mod boost;
mod iceoryx;
mod kernel;
mod mutexed;
mod python;
mod sides;

#[path = "../../support/mod.rs"]
mod support;

use shmkit::Queue;
use sides::{Measure, Pause, Setup, inherited};
use std::process::ExitCode;
use support::{Spread, describe, in_turns, is_brief, setting, two_cpus};

const RUN_SECONDS: f64 = 0.4;
/// The items of a brief run; and of the first run, from which the number for the others is found.
const FEW_ITEMS: u64 = 3000;

const AT_ONCE: Pause = Pause::Spin(1);
/// The pauses from which the best is chosen, by the median of a few runs of each.
const PAUSES: [Pause; 6] = [
    AT_ONCE,
    Pause::Yield,
    Pause::Spin(30),
    Pause::Spin(100),
    Pause::Spin(1000),
    Pause::Spin(3000),
];

const TRIALS: usize = 5;

type Open<'a> = &'a dyn Fn(Setup) -> Result<Measure, String>;
type OpenWith<'a> = &'a dyn Fn(Setup, Pause) -> Result<Measure, String>;

fn main() -> ExitCode {
    describe("peers");
    let setup = Setup {
        capacity: setting("SHMKIT_BENCH_CAPACITY", 1024),
        rounds: setting("SHMKIT_BENCH_ROUNDS", if is_brief() { 1 } else { 9 }),
        cpus: two_cpus(),
    };
    let mut table = Table::new(setup);

    #[cfg(boost)]
    {
        let name = format!("boost {} message_queue", boost::version());
        table.add(&format!("{name}, blocking"), Some(6), &boost::blocking);
        table.add_twice(&name, Some(6), &boost::spinning);
    }
    #[cfg(not(boost))]
    table.add("boost message_queue", Some(6), &|_| {
        Err("no C++ compiler or no Boost at build time (Debian: g++ and libboost-dev)".into())
    });
    table.add_twice("iceoryx2", Some(15), &iceoryx::publish_subscribe);
    table.add_twice("shared_memory + raw_sync", Some(12), &mutexed::ring);
    let python = python::version().unwrap_or_else(|_| "Python".into());
    table.add(&format!("{python}, Queue"), Some(250), &python::queue);
    let posix = format!("POSIX queue of {}", kernel::posix_capacity(setup.capacity));
    table.add(&posix, None, &kernel::posix);
    table.add("pipe of 64 KiB", None, &kernel::pipe);

    let all_required = std::env::var("SHMKIT_REQUIRE_ALL").is_ok_and(|value| value == "1");
    if all_required && table.gaps > 0 {
        eprintln!("SHMKIT_REQUIRE_ALL=1, and not everything was measured");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The table, which is printed line by line.
struct Table {
    setup: Setup,
    /// A part of the names of the lines to print.
    wanted: String,
    ours: Measure,
    our_items: u64,
    /// The number of peers that could not be measured.
    gaps: usize,
}

impl Table {
    fn new(setup: Setup) -> Self {
        let queue = Queue::<u64>::new(setup.capacity).expect("an anonymous queue");
        let put = |queue: &Queue<u64>, item| queue.put(item).expect("open");
        let get = |queue: &Queue<u64>| queue.get().expect("open");
        let mut ours = inherited(setup, queue, put, get);
        let our_items = size_of_run(&mut ours);
        println!(
            "capacity {}, CPUs {:?}; M items/s, and their ratio round by round",
            setup.capacity, setup.cpus
        );
        println!("{:<48}{:>8}{:>8}  queue/theirs", "", "theirs", "queue");
        Self {
            setup,
            wanted: std::env::var("SHMKIT_BENCH_ONLY").unwrap_or_default(),
            ours,
            our_items,
            gaps: 0,
        }
    }

    fn add(&mut self, name: &str, goal: Option<u32>, open: Open) {
        if !name.contains(&self.wanted) {
            return;
        }
        match open(self.setup) {
            Ok(mut theirs) => {
                let their_items = size_of_run(&mut theirs);
                self.measure(name, goal, theirs, their_items);
            }
            Err(why) => {
                println!("not measured: {name}: {why}");
                self.gaps += 1;
            }
        }
    }

    /// Adds a peer that tries again at once, and then with the best pause if that is another one.
    fn add_twice(&mut self, name: &str, goal: Option<u32>, open: OpenWith) {
        let at_once = format!("{name}, {AT_ONCE}");
        self.add(&at_once, goal, &|setup| open(setup, AT_ONCE));
        if !name.contains(&self.wanted) {
            return;
        }
        let best = best_pause(|pause| open(self.setup, pause));
        if let Some(best) = best.filter(|best| *best != AT_ONCE) {
            let paused = format!("{name}, {best}");
            self.add(&paused, goal, &|setup| open(setup, best));
        }
    }

    fn measure(&mut self, name: &str, goal: Option<u32>, mut theirs: Measure, their_items: u64) {
        let (ours, theirs) = in_turns(
            self.setup.rounds,
            || (self.ours)(self.our_items),
            || theirs(their_items),
        );
        let ratio = Spread::of_ratios(&ours, &theirs);
        let goal = goal.map_or_else(String::new, |goal| format!(", goal at least {goal}"));
        println!(
            "{name:<48}{:>8.3}{:>8.2}  {ratio}{goal}",
            Spread::of(theirs).median / 1e6,
            Spread::of(ours).median / 1e6,
        );
    }
}

/// The number of items that a run of this should have.
fn size_of_run(measure: &mut Measure) -> u64 {
    let mut items = FEW_ITEMS;
    loop {
        let rate = measure(items);
        if is_brief() {
            return items;
        }
        if items as f64 / rate > RUN_SECONDS / 4.0 {
            return (rate * RUN_SECONDS) as u64;
        }
        items *= 4;
    }
}

/// The pause with which the peer moves the most items a second; `None` if it can't be measured at all.
fn best_pause(open: impl Fn(Pause) -> Result<Measure, String>) -> Option<Pause> {
    let trials = if is_brief() { 1 } else { TRIALS };
    let rate = |pause: Pause| {
        let mut measure = open(pause).ok()?;
        let items = size_of_run(&mut measure);
        let rates = (0..trials).map(|_| measure(items)).collect();
        Some((Spread::of(rates).median, pause))
    };
    let rated = PAUSES.into_iter().filter_map(rate);
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, pause)| pause)
}
