//! The house rules that a machine can check: sizes, import directions, banned names, docs.
//!
//! Each rule is a function from sources to findings, and each has a sample that breaks it, so that a rule which cannot
//! fail is impossible. `ratchet.txt` beside this file lists what is over a size today; the list only shrinks.

mod imports;
mod names;
mod packages;
mod paths;
mod size;
mod source;

use source::{Finding, Repo};

/// Fails with everything found, a line each.
fn assert_none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} finding(s):\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn sizes_are_within_their_limits() {
    let repo = Repo::load();
    assert_none(&size::check(&repo, include_str!("ratchet.txt")));
}

#[test]
fn imports_go_in_their_directions() {
    assert_none(&imports::check(&Repo::load()));
}

#[test]
fn packages_depend_in_their_directions() {
    assert_none(&packages::dependencies(&Repo::load()));
}

#[test]
fn banned_names_do_not_stand_in_the_sources() {
    assert_none(&names::check(&Repo::load()));
}

#[test]
fn paths_of_a_machine_do_not_stand_in_the_repo() {
    assert_none(&names::machine_paths(&Repo::load()));
}

#[test]
fn every_package_has_docs() {
    assert_none(&packages::docs(&Repo::load()));
}

#[test]
fn the_readme_shows_the_example_that_is_compiled() {
    assert_none(&packages::readme_example(&Repo::load()));
}

#[test]
fn the_repo_that_is_checked_is_the_whole_one() {
    let repo = Repo::load();
    for path in ["Cargo.toml", "README.md", "stack/tests/tidy/main.rs", "stack/proto/src/lib.rs", "scripts/test"] {
        assert!(repo.bytes(path).is_some(), "{path} is not among the {} files that were found", repo.len());
    }
}
