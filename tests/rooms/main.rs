//! The crate is a house of wings and rooms: this test enforces which files of `src` a file may use.
//!
//! A *wing* is a file or folder directly in `src`, a *room* is a file or folder in a wing. From outside, a wing
//! is entered through its door, `mod.rs`. Inside a wing, a room imports from rooms, never through the door of
//! its own wing. `table.rs` has the plan, and every path in the code must lead where the plan allows: `use`,
//! inline `crate::`, `super::` and `self::`, and paths inside macros. Documentation may link anywhere.
//!
//! `cargo test --test rooms -- --nocapture` prints the graph. If a table does not fit the code, the failure
//! prints the table that does.

mod house;
mod planted;
mod table;
mod walk;

use house::{House, LIB, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use table::{MOST_LINES, NO_ROOMS, ROOMS, Row, WINGS};
use walk::Walk;

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    files
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("found below it");
            let text = fs::read_to_string(path).expect("a source file is text");
            Source::new(&name.to_string_lossy(), &text)
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("the sources are there").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// A graph: for each wing or room, the others that it enters.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The graphs of the wings and of the rooms that the code draws, and how many arrows lead up.
fn drawn(house: &House<'_>) -> (Graph, Graph, usize) {
    let (mut wings, mut rooms, mut up) = (Graph::new(), Graph::new(), 0);
    for source in house.sources {
        let (_, arrows) = Walk::judge(house, source);
        if source.wing() != LIB {
            let row = wings.entry(source.wing().to_owned()).or_default();
            row.extend(arrows.wings);
        }
        if let Some(room) = source.room() {
            rooms.entry(room).or_default().extend(arrows.rooms);
        }
        up += arrows.up;
    }
    (wings, rooms, up)
}

/// The number of floors: rooms on the longest way down. Panics if the graph has a circle.
fn floors(graph: &Graph) -> usize {
    fn floor(graph: &Graph, room: &str, way: &mut Vec<String>) -> usize {
        assert!(
            !way.iter().any(|other| other == room),
            "a circle: {way:?} and {room} again"
        );
        way.push(room.to_owned());
        let below = graph.get(room).into_iter().flatten();
        let highest = below.map(|room| floor(graph, room, way)).max();
        way.pop();
        highest.unwrap_or(0) + 1
    }
    let rooms = graph.keys();
    rooms
        .map(|room| floor(graph, room, &mut Vec::new()))
        .max()
        .unwrap_or(0)
}

fn arrows(graph: &Graph) -> usize {
    graph.values().map(BTreeSet::len).sum()
}

/// Compares a table with the graph that the code draws.
fn check_table(name: &str, table: &[Row], graph: &Graph) {
    let listed: Graph = table
        .iter()
        .map(|(from, doors)| {
            (
                (*from).to_owned(),
                doors.iter().map(|to| (*to).to_owned()).collect(),
            )
        })
        .collect();
    let rows: String = graph
        .iter()
        .map(|(from, doors)| format!("    ({from:?}, &{:?}),\n", doors.iter().collect::<Vec<_>>()))
        .collect();
    assert!(
        listed == *graph && listed.len() == table.len(),
        "{name} lists a wing, a room or a door that the code does not have or use, or lacks one. \
         The code draws:\n{rows}"
    );
}

#[test]
fn every_path_goes_through_a_door() {
    let sources = sources();
    let found = House::new(&sources, WINGS, ROOMS).violations();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_tables_are_exact_and_every_arrow_runs_down() {
    let sources = sources();
    let everything = everything(&sources);
    let doors = |names: &[&'static str]| -> Vec<Row> {
        let all: &'static [&'static str] = Vec::leak(names.to_vec());
        names.iter().map(|name| (*name, all)).collect()
    };
    // With every door open, the house shows all arrows that the code draws.
    let (all_wings, all_rooms) = (doors(&everything.0), doors(&everything.1));
    let house = House::new(&sources, &all_wings, &all_rooms);
    let (wings, rooms, up) = drawn(&house);
    check_table("WINGS", WINGS, &wings);
    check_table("ROOMS", ROOMS, &rooms);
    assert_eq!(up, 0, "rooms that import from the door of their own wing");
    floors(&wings);
    floors(&rooms);
}

/// The names of all wings but `lib`, and of all rooms.
fn everything(sources: &[Source]) -> (Vec<&'static str>, Vec<&'static str>) {
    let leak = |name: String| -> &'static str { String::leak(name) };
    let wings: BTreeSet<_> = sources
        .iter()
        .map(|source| source.wing().to_owned())
        .collect();
    let rooms: BTreeSet<_> = sources.iter().filter_map(Source::room).collect();
    let wings = wings.into_iter().filter(|wing| wing != LIB);
    (
        wings.map(leak).collect(),
        rooms.into_iter().map(leak).collect(),
    )
}

#[test]
fn print_the_house() {
    let sources = sources();
    let house = House::new(&sources, WINGS, ROOMS);
    let (wings, rooms, up) = drawn(&house);
    println!("wing      rooms  floors  arrows  lines");
    for wing in wings.keys() {
        let inside: Graph = rooms
            .iter()
            .filter(|(room, _)| room.split('/').next() == Some(wing))
            .map(|(room, doors)| (room.clone(), doors.clone()))
            .collect();
        let lines: usize = sources
            .iter()
            .filter(|source| source.wing() == wing)
            .map(|source| source.text.lines().count())
            .sum();
        let (count, floors, arrows) = (inside.len(), floors(&inside), arrows(&inside));
        println!("{wing:<9} {count:>5} {floors:>7} {arrows:>7} {lines:>6}");
    }
    let lines = |source: &Source| source.text.lines().count();
    let longest = sources
        .iter()
        .max_by_key(|source| lines(source))
        .expect("a file");
    println!(
        "{} wings on {} floors with {} arrows, {up} arrows up; {} files, {} lines; the longest, {}, has {}",
        wings.len(),
        floors(&wings),
        arrows(&wings),
        sources.len(),
        sources.iter().map(lines).sum::<usize>(),
        longest.name,
        lines(longest),
    );
}

#[test]
fn no_file_is_a_house_nobody_can_live_in() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(
            lines <= MOST_LINES,
            "src/{} has {lines} lines, more than {MOST_LINES}: it needs two rooms",
            source.name
        );
        let found = source
            .module
            .iter()
            .find(|name| NO_ROOMS.contains(&name.as_str()));
        assert_eq!(found, None, "a room's name says what lives there");
    }
}
