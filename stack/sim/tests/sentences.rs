//! The RFCs whose requirements have no numbers, sentence by sentence, as they stand in the sources.

use corelane_sim::spec::{Tree, check};
use std::path::Path;

/// Each RFC that is gone through: nobody takes its `rfcNNNN.toml` away.
const GONE_THROUGH: &[&str] =
    &["5961", "6298", "7323", "2018", "5927", "6056", "6093", "6191", "6528", "1122", "5482", "7413"];

#[test]
fn every_must_and_should_is_kept_and_shown_or_says_why_not() {
    let root = Tree::root(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the specifications are above the sources");
    let report = check(&Tree::load(&root).expect("the sources are readable"));
    let open: Vec<_> = report.sentences.iter().filter(|sentence| !sentence.is_accounted_for()).collect();
    assert!(open.is_empty(), "{open:#?}");
    let wrong: Vec<_> = report.faults.iter().filter(|fault| !fault.contains("rfc9293")).collect();
    assert!(wrong.iter().all(|fault| !fault.contains("rfc")), "{wrong:#?}");
    for rfc in GONE_THROUGH {
        assert!(report.sentence_table(rfc, false).is_some(), "RFC {rfc} has no sentences");
    }
}
