//! Sentences on small trees: what accounts for one, and each kind of fault.

use super::super::{Report, Tree, check};
use super::{Level, Standing};

const RFC: &str = "\
3.2.  Negotiation

   Once it has been sent, it MUST be sent always, and SHOULD be right.  It MAY be zero.

4.  Routers

   A router MUST be routed.
";
const CODE: &str = "\
//= spec/rfc7323.txt#section-3.2
//# it MUST be sent always, and SHOULD be right.
pub struct Sent;
";
const TESTS: &str = "\
//= spec/rfc7323.txt#section-3.2
//= type=test
//# Once it has been sent, it MUST be sent always, and SHOULD be right.
#[test]
fn sent() {}
";
const RULINGS: &str = "[[section]]\nsection = \"4\"\nelsewhere = \"routers\"\n";

/// What is said of the sentences when the files are these.
fn report(rulings: &str, code: &str, tests: &str) -> Report {
    check(&Tree::of([
        ("stack/proto/spec/rfc7323.txt", RFC),
        ("stack/proto/spec/rfc7323.toml", rulings),
        ("stack/proto/spec/rfc9293.txt", "3.8.4.  A\n\n   It MUST (MUST-26).\n"),
        ("stack/proto/spec/rfc9293-requirements.tsv", "id\nMUST-26\tMUST\tA\t3.8.4\n"),
        ("stack/proto/src/a.rs", code),
        ("stack/proto/tests/a.rs", tests),
    ]))
}

fn faults(rulings: &str, code: &str, tests: &str) -> Vec<String> {
    report(rulings, code, tests).faults.into_iter().filter(|fault| fault.contains("7323")).collect()
}

/// That exactly one thing is wrong, and that its sentence has all of `words`.
#[track_caller]
fn one_fault(rulings: &str, code: &str, tests: &str, words: &[&str]) {
    let faults = faults(rulings, code, tests);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    for word in words {
        assert!(faults[0].contains(word), "\"{word}\" is not in: {}", faults[0]);
    }
}

fn ruling(words: &str, more: &str) -> String {
    format!("{RULINGS}[[sentence]]\nsection = \"3.2\"\nwords = \"{words}\"\n{more}\n")
}

#[test]
fn each_normative_sentence_is_a_row_with_its_places() {
    assert_eq!(faults(RULINGS, CODE, TESTS), [""; 0]);
    let report = report(RULINGS, CODE, TESTS);
    let [first, may, router] = &report.sentences[..] else { panic!("{:#?}", report.sentences) };
    assert_eq!((first.section.as_str(), first.level, first.is_cited), ("3.2", Level::Must, (true, true)));
    assert_eq!(first.code[0].to_string(), "stack/proto/src/a.rs:1");
    assert_eq!(first.tests[0].to_string(), "stack/proto/tests/a.rs:1 sent");
    assert_eq!((may.level, may.standing.as_ref()), (Level::May, None));
    assert_eq!(router.standing, Some(Standing::Elsewhere("routers".to_owned())));
    let totals = "rfc7323: 2 sentences with MUST or SHOULD: 1 kept, 1 not for a stack; 1 with MAY";
    assert!(report.to_string().contains(totals), "{report}");
    let table = report.sentence_table("7323", false).unwrap_or_default();
    assert!(table.contains("Once it has been sent") && table.contains("not ours: routers"), "{table}");
    assert!(!report.sentence_table("7323", true).unwrap_or_default().contains("Once it has"));
    assert_eq!(report.sentence_table("9293", false), None);
}

#[test]
fn each_keyword_of_a_sentence_wants_its_citation() {
    one_fault(RULINGS, "fn f() {}", TESTS, &["stack/proto/tests/a.rs:1", "rfc7323 3.2", "no code cites all of it"]);
    one_fault(RULINGS, CODE, "fn f() {}", &["stack/proto/src/a.rs:1", "no test cites all of it"]);
    one_fault(RULINGS, "fn f() {}", "fn f() {}", &["stack/proto/spec/rfc7323.toml", "nothing here says why"]);
    let half = CODE.replace(", and SHOULD be right.", "");
    one_fault(RULINGS, &half, TESTS, &["no code cites all of it"]);
    let rest = half.clone() + "//= spec/rfc7323.txt#section-3.2\n//# SHOULD be right.\nfn g() {}\n";
    assert_eq!(faults(RULINGS, &rest, TESTS), [""; 0]);
}

#[test]
fn a_ruling_stands_for_a_sentence_that_is_not_cited() {
    let none = "fn f() {}";
    let faults_of = |more: &str| faults(&ruling("Once it has", more), none, none);
    assert_eq!(faults_of("restated = \"MUST-26\""), [""; 0]);
    assert_eq!(faults_of("superseded = \"RFC 1\""), [""; 0]);
    assert_eq!(faults_of("not_kept = \"so\"\nbreaks_a_must = true"), [""; 0]);
    assert!(faults_of("not_kept = \"so\"")[0].contains("is a MUST"));
    assert!(faults_of("elsewhere = \"so\"\nbreaks_a_must = true")[0].contains("which it does not"));
    assert!(faults_of("restated = \"MUST-99\"").join("\n").contains("no requirement of RFC 9293"));
    assert!(faults_of("elsewhere = \" \"").join("\n").contains("needs one of"));
    assert!(faults_of("elsewhere = \"a\"\nnot_kept = \"b\"").join("\n").contains("needs one of"));
    assert!(faults_of("because = \"a\"").join("\n").contains("unknown field"));
}

#[test]
fn a_ruling_is_needed_and_names_one_sentence() {
    one_fault(&ruling("Once it has", "elsewhere = \"so\""), CODE, TESTS, &["is not needed"]);
    one_fault(&ruling("Never it has", "elsewhere = \"so\""), CODE, TESTS, &["names 0 normative sentences"]);
    let elsewhere = format!("{RULINGS}[[section]]\nsection = \"5\"\nelsewhere = \"so\"\n");
    one_fault(&elsewhere, CODE, TESTS, &["section 5 has no normative sentence"]);
}

#[test]
fn sections_out_of_scope_are_not_gone_through() {
    let report = report("scope = [\"3\"]\n", CODE, TESTS);
    assert_eq!(report.sentences.len(), 2, "{:#?}", report.sentences);
}
