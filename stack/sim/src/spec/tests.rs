//! The tool on small trees: what it accepts, and each kind of fault.

use super::{Report, Status, Tree, check};

const RFC: &str = "\
3.8.4.  TCP Keep-Alives

   The interval MUST be configurable (MUST-
   27) and MUST default to no
   less than two hours (MUST-28).  A probe SHOULD be empty (SHLD-12).

3.8.3.  Failures

   SYNs MUST be handled in the general way.
";
const TABLE: &str = "id\tlevel\tdescription\tsection\n\
    MUST-27\tMUST\tInterval configurable\t3.8.4\n\
    SHLD-12\tSHOULD\tSend with no data\t3.8.4\n\
    MUST-22\tMUST\tSame for SYNs\t3.8.3\n";
const UNLABELLED: &str =
    "[[requirement]]\nid = \"MUST-22\"\nsection = \"3.8.3\"\nwords = \"SYNs MUST be handled in the general way.\"\n";
const CODE: &str = "\
//= spec/rfc9293.txt#section-3.8.4
//# The interval MUST be
//# configurable (MUST-27)
pub struct Interval;
//= spec/rfc9293.txt#section-3.8.4
//# A probe SHOULD be empty (SHLD-12).
pub struct Probe;
//= spec/rfc9293.txt#section-3.8.3
//# SYNs MUST be handled in the general way.
pub struct Syn;
";
const TESTS: &str = "\
//= spec/rfc9293.txt#section-3.8.4
//= type=test
//# The interval MUST be configurable (MUST-27)
#[test]
fn interval_is_a_setting() {}

#[test]
fn probe_is_empty() {
    //= spec/rfc9293.txt#section-3.8.4
    //= type=test
    //# A probe SHOULD be empty (SHLD-12).
    assert!(true);
}

//= spec/rfc9293.txt#section-3.8.3
//= type=test
//# SYNs MUST be handled in the general way.
#[test]
fn syns() {}
";

const CODE_PATH: &str = "stack/proto/src/a.rs";
const TESTS_PATH: &str = "stack/proto/tests/a.rs";
const EXCEPTIONS_PATH: &str = "stack/proto/spec/exceptions.toml";

/// What is wrong with the sound tree when `path` holds `text` instead. The table is three rows long, which is not the
/// whole of RFC 9293, and the tool says so each time.
fn faults(path: &str, text: &str) -> Vec<String> {
    let report = report(path, text);
    let (short, others): (Vec<_>, Vec<_>) =
        report.faults.into_iter().partition(|fault| fault.ends_with("requirements where RFC 9293 has 119"));
    assert_eq!(short.len(), 1);
    others
}

fn report(path: &str, text: &str) -> Report {
    let sound = [
        ("stack/proto/spec/rfc9293.txt", RFC),
        ("stack/proto/spec/rfc9293-requirements.tsv", TABLE),
        ("stack/proto/spec/unlabelled.toml", UNLABELLED),
        (EXCEPTIONS_PATH, ""),
        (CODE_PATH, CODE),
        (TESTS_PATH, TESTS),
    ];
    check(&Tree::of(sound.into_iter().filter(|(at, _)| *at != path).chain([(path, text)])))
}

/// That exactly one thing is wrong, and that its sentence has all of `words`.
#[track_caller]
fn one_fault(path: &str, text: &str, words: &[&str]) {
    let faults = faults(path, text);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    for word in words {
        assert!(faults[0].contains(word), "\"{word}\" is not in: {}", faults[0]);
    }
}

#[test]
fn a_sound_tree_has_no_fault() {
    assert_eq!(faults(CODE_PATH, CODE), [""; 0]);
    let report = report(CODE_PATH, CODE);
    assert!(report.rows.iter().all(|row| row.status == Status::Kept));
    assert_eq!(report.rows[0].code[0].to_string(), "stack/proto/src/a.rs:1");
    assert_eq!(report.rows[1].tests[0].to_string(), "stack/proto/tests/a.rs:9 probe_is_empty");
    assert!(report.to_string().starts_with("3 of 3 requirements accounted for (2 MUST: 2 kept, 0 with an exception;"));
    assert_eq!((report.others[0].code, report.others[0].tests), (3, 3));
}

#[test]
fn a_requirement_without_code_is_a_fault() {
    let text = CODE.split_inclusive('\n').skip(4).collect::<String>();
    one_fault(CODE_PATH, &text, &["stack/proto/tests/a.rs:1", "MUST-27 (Interval configurable)", "no line of code"]);
}

#[test]
fn a_requirement_without_test_is_a_fault() {
    let text = TESTS.split_inclusive('\n').skip(6).collect::<String>();
    one_fault(TESTS_PATH, &text, &["stack/proto/src/a.rs:1", "MUST-27", "no test cites it"]);
}

#[test]
fn a_requirement_without_either_is_a_fault() {
    let faults = faults(CODE_PATH, "fn f() {}");
    assert_eq!(faults.len(), 3);
    let table = TABLE.to_owned() + "MUST-28\tMUST\tDefault at least 2 hrs.\t3.8.4\n";
    one_fault("stack/proto/spec/rfc9293-requirements.tsv", &table, &["no code and no test cites MUST-28"]);
    let report = report("stack/proto/spec/rfc9293-requirements.tsv", &table);
    assert!(report.table(true).contains("MUST-28") && !report.table(true).contains("MUST-27"));
}

#[test]
fn words_that_the_rfc_does_not_say_are_a_fault() {
    let text =
        CODE.to_owned() + "//= spec/rfc9293.txt#section-3.8.4\n//# The interval MAY be configurable\nfn f() {}\n";
    one_fault(CODE_PATH, &text, &["stack/proto/src/a.rs:11", "do not stand in section 3.8.4", "MAY be configurable"]);
    let text = text.replace("-3.8.4\n//# The interval MAY", "-3.8.5\n//# The interval MUST");
    one_fault(CODE_PATH, &text, &["rfc9293 has no section 3.8.5"]);
    let text = text.replace("rfc9293.txt#section-3.8.5", "rfc1.txt#section-3.8.5");
    one_fault(CODE_PATH, &text, &["stack/proto/spec/rfc1.txt, which is cited here, does not exist"]);
}

#[test]
fn a_citation_without_form_is_a_fault() {
    one_fault(
        CODE_PATH,
        &(CODE.to_owned() + "//= RFC 9293 3.8.4\n//# A\n"),
        &["a.rs:11", "is not a source of the form"],
    );
    one_fault(CODE_PATH, &(CODE.to_owned() + "//# A\n"), &["a.rs:11", "a quote without its source"]);
    let bare = "//= spec/rfc9293.txt#section-3.8.4\nfn f() {}\n";
    one_fault(CODE_PATH, &(CODE.to_owned() + bare), &["a.rs:11", "a source without a quote"]);
    let text = TESTS.to_owned() + "//= spec/rfc9293.txt#section-3.8.4\n//= type=todo\n//# A\n";
    one_fault(TESTS_PATH, &text, &["type=todo", "is not known"]);
}

#[test]
fn a_test_counts_only_on_a_test_function() {
    let text = TESTS.replace("#[test]\nfn syns", "fn syns");
    let faults = faults(TESTS_PATH, &text);
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.contains("does not stand on a function under #[test]")), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.contains("MUST-22") && fault.contains("no test cites it")), "{faults:#?}");
}

#[test]
fn a_test_says_that_it_is_one_and_code_lies_in_the_stack() {
    let faults = faults(TESTS_PATH, &TESTS.replace("//= type=test\n//# SYNs", "//# SYNs"));
    assert!(faults.iter().any(|fault| fault.contains("needs a line //= type=test")), "{faults:#?}");
    let moved = report("stack/sim/src/a.rs", CODE);
    assert!(
        moved.faults.iter().any(|fault| fault.contains("neither on a test nor in the code")),
        "{:#?}",
        moved.faults
    );
}

fn exception(id: &str, reason: &str, more: &str) -> String {
    format!("[[exception]]\nrequirement = \"{id}\"\nreason = \"{reason}\"\n{more}\n")
}

#[test]
fn an_exception_stands_for_what_is_not_kept() {
    let without = CODE.replace("//= spec/rfc9293.txt#section-3.8.4\n//# A probe SHOULD be empty (SHLD-12).\n", "");
    let tree = |exceptions: &str| {
        let files = [
            ("stack/proto/spec/rfc9293.txt", RFC),
            ("stack/proto/spec/rfc9293-requirements.tsv", TABLE),
            ("stack/proto/spec/unlabelled.toml", UNLABELLED),
            (EXCEPTIONS_PATH, exceptions),
            (CODE_PATH, &without),
            (TESTS_PATH, TESTS),
        ];
        check(&Tree::of(files))
    };
    assert_eq!(tree("").rows[1].status, Status::NoCode);
    let report = tree(&exception("SHLD-12", "so", "source = \"RFC 1\""));
    assert_eq!((report.rows[1].status, report.rows[1].exception.as_deref()), (Status::Exception, Some("so (RFC 1)")));
    assert_eq!(report.faults.len(), 1, "{:#?}", report.faults);
}

#[test]
fn an_exception_is_known_needed_and_has_a_reason() {
    one_fault(EXCEPTIONS_PATH, &exception("SHLD-99", "so", ""), &["SHLD-99 names no requirement"]);
    one_fault(EXCEPTIONS_PATH, &exception("SHLD-12", "so", ""), &["SHLD-12 is not needed"]);
    let faults_of = |text: &str| faults(EXCEPTIONS_PATH, text).join("\n");
    assert!(faults_of(&exception("SHLD-12", " ", "")).contains("SHLD-12 has no reason"));
    assert!(faults_of(&exception("SHLD-12", "so", "").repeat(2)).contains("SHLD-12 stands there twice"));
    assert!(faults_of(&exception("MUST-27", "so", "")).contains("is one from a MUST"));
    assert!(!faults_of(&exception("MUST-27", "so", "breaks_a_must = true")).contains("is one from a MUST"));
    assert!(faults_of(&exception("SHLD-12", "so", "breaks_a_must = true")).contains("which it does not"));
    assert!(faults_of("[[exception]]\nid = 1\n").contains("unknown field"));
}

#[test]
fn a_number_that_the_text_does_not_have_needs_words() {
    let faults = faults("stack/proto/spec/unlabelled.toml", "");
    assert!(faults.iter().any(|fault| fault.contains("no section of 3.8.3 says (MUST-22)")), "{faults:#?}");
    let wrong = UNLABELLED.replace("3.8.3", "3.8.4");
    let faults = super::tests::faults("stack/proto/spec/unlabelled.toml", &wrong);
    assert!(faults.iter().any(|fault| fault.contains("does not say the words of MUST-22")), "{faults:#?}");
}
