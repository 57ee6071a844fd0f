//! The tables of the bottleneck laboratory are as their snapshots: a stack that behaves otherwise shows it here.
//!
//! Of the table of losses one row in six is made, for this build is slow: `corelane-sim matrix --check` makes all of it,
//! and `corelane-sim matrix --update` makes what comes out the snapshots.

use corelane_sim::matrix::{Table, golden, sample_of_losses, table};
use std::path::Path;

/// Threads, beside the other tests of this file.
const JOBS: usize = 2;

fn as_its_snapshot(table: &Table) {
    let folder = golden::folder(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the snapshots are in the repo");
    let changed = golden::check(&folder, table).expect("the snapshot can be read");
    let what = changed.join("\n");
    assert!(
        changed.is_empty(),
        "{} is not as its snapshot; if that is meant: corelane-sim matrix --update\n{what}",
        table.name
    );
}

fn is_whole_and_as_its_snapshot(name: &str) {
    let table = table(name, JOBS).expect("there is such a table");
    assert!(table.lines.iter().all(Option::is_some), "a table has no gaps");
    as_its_snapshot(&table);
}

#[test]
fn one_row_in_six_of_the_losses_is_as_its_snapshot() {
    let table = sample_of_losses(JOBS);
    let (made, left_out) = table.lines.iter().partition::<Vec<_>, _>(|line| line.is_some());
    assert!(left_out.len() >= 20 && made.len() > left_out.len() / 5, "a sixth, and the headings");
    as_its_snapshot(&table);
}

#[test]
fn impaired_paths_are_as_their_snapshot() {
    is_whole_and_as_its_snapshot("impaired");
}

#[test]
fn short_flows_are_as_their_snapshot() {
    is_whole_and_as_its_snapshot("short_flows");
}

#[test]
fn fairness_is_as_its_snapshot() {
    is_whole_and_as_its_snapshot("fairness");
}
