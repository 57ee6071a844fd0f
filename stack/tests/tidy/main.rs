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

/// A rule's name, and what it finds.
type Rule = (&'static str, fn(&Repo) -> Vec<Finding>);

const RULES: &[Rule] = &[
    ("files and functions are within their sizes", |repo| size::check(repo, include_str!("ratchet.txt"))),
    ("imports go in their directions", imports::check),
    ("packages depend in their directions", packages::dependencies),
    ("banned names do not stand in the sources", names::check),
    ("paths of a machine do not stand in the repo", names::machine_paths),
    ("every package has docs", packages::docs),
    ("the README shows the example that is compiled", packages::readme_example),
];

/// One test for all rules, because reading the repo takes longer than judging it.
#[test]
fn the_repo_is_tidy() {
    let repo = Repo::load();
    for path in ["Cargo.toml", "README.md", "stack/tests/tidy/main.rs", "stack/proto/src/lib.rs", "scripts/test"] {
        assert!(repo.bytes(path).is_some(), "{path} is not among the {} files that were found", repo.len());
    }
    let mut report = String::new();
    for (rule, check) in RULES {
        let findings = check(&repo);
        if !findings.is_empty() {
            let lines: Vec<String> = findings.iter().map(|finding| format!("  {finding}\n")).collect();
            report += &format!("{rule}: {} finding(s)\n{}", findings.len(), lines.concat());
        }
    }
    assert!(report.is_empty(), "\n{report}");
}
