//! The sources keep what their specifications demand, and every citation is true.

use corelane_sim::spec::{Status, Tree, check};
use std::path::Path;

#[test]
fn every_citation_is_true() {
    let root = Tree::root(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the repo has specifications");
    let report = check(&Tree::load(&root).expect("the repo can be read"));
    let missing = report.rows.iter().filter(|row| !matches!(row.status, Status::Kept | Status::Exception)).count();
    assert_eq!(report.faults.len(), missing, "beside what is missing:\n{}", report.faults.join("\n"));
}
