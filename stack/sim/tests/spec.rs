//! The sources keep what their specifications demand, and every citation is true: `corelane-sim spec` finds nothing.

use corelane_sim::spec::{Tree, check};
use std::path::Path;

#[test]
fn every_requirement_is_accounted_for_and_every_citation_is_true() {
    let root = Tree::root(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the repo has specifications");
    let report = check(&Tree::load(&root).expect("the repo can be read"));
    assert!(report.passed(), "\n{}", report.faults.join("\n"));
    assert_eq!(report.rows.len(), 119);
    assert!(report.to_string().starts_with("119 of 119 requirements accounted for (69 MUST: 69 kept,"), "{report}");
}
