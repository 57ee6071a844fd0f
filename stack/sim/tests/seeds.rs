//! Fifty seeds pass, a seed says the same twice, and every check notices the fault that it is there for.

use corelane_sim::runner::{run_caught, run_many};
use corelane_sim::world::{Outcome, Sabotage};

fn sabotaged(sabotage: Sabotage) -> Vec<Outcome> {
    (0..10).map(|seed| run_caught(seed, false, sabotage)).collect()
}

/// How many of the outcomes failed and said `word`.
fn caught(outcomes: &[Outcome], word: &str) -> usize {
    outcomes.iter().filter(|outcome| outcome.failure.as_deref().is_some_and(|what| what.contains(word))).count()
}

#[test]
fn fifty_seeds_pass() {
    let all = run_many(0, 50, 2, |_| {}).all;
    assert_eq!(all.len(), 50);
    let failures: Vec<_> =
        all.iter().filter_map(|timed| timed.outcome.failure.as_ref().map(|what| (timed.outcome.seed, what))).collect();
    assert!(failures.is_empty(), "{failures:?}");
    let lost: u64 = all.iter().map(|timed| timed.outcome.link.lost).sum();
    let resent: u64 = all.iter().map(|timed| timed.outcome.retransmits).sum();
    assert!(lost > 0 && resent > 0, "a network without loss proves little");
    let early: u64 = all.iter().map(|timed| timed.outcome.early).sum();
    assert!(early > 0, "no SYN brought a cookie and its data");
}

#[test]
fn a_seed_has_one_trace_and_another_seed_another() {
    let hash = |seed| run_caught(seed, false, Sabotage::default()).hash;
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
    let kept = run_caught(7, true, Sabotage::default());
    assert_eq!(kept.hash, hash(7), "keeping the lines changes nothing");
    assert!(kept.lines.len() > 10);
}

#[test]
fn a_wrong_byte_is_noticed() {
    let outcomes = sabotaged(Sabotage { wrong_byte: true, ..Sabotage::default() });
    assert!(caught(&outcomes, "is not the one that was sent") >= 8, "{outcomes:?}");
}

#[test]
fn a_lost_frame_is_noticed() {
    let outcomes = sabotaged(Sabotage { lost_frame: true, ..Sabotage::default() });
    assert_eq!(caught(&outcomes, "frames are anywhere"), 10, "{outcomes:?}");
}

#[test]
fn an_event_that_comes_twice_is_noticed() {
    let outcomes = sabotaged(Sabotage { double_event: true, ..Sabotage::default() });
    assert_eq!(caught(&outcomes, "after the connection was closed"), 10, "{outcomes:?}");
}

#[test]
fn a_failure_names_the_command_that_replays_it() {
    let failure = corelane_sim::report::Failure::new(42, "a reason".to_owned()).to_string();
    assert!(failure.contains("a reason") && failure.contains("corelane-sim -- replay 42"), "{failure}");
}
