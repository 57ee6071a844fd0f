//! Which requirement of which RFC is kept where, and which test shows it.
//!
//! A citation is a comment in the form of the `duvet` tool above the line that keeps a rule, and on the test that shows
//! it: `//= spec/rfc9293.txt#section-3.8.4`, on a test `//= type=test`, then the rule's exact words behind `//#`. The
//! texts lie in `stack/proto/spec/` with the table of RFC 9293's 119 numbered requirements, the words of those that the
//! text does not number, and the exceptions with their reasons. The other RFCs have no numbers: each of their sentences
//! with a MUST or a SHOULD is a requirement by itself ([`Sentence`]), once `rfcNNNN.toml` lies beside the text.

mod citation;
mod exception;
mod functions;
mod report;
mod requirement;
mod rfc;
mod sentences;
mod tree;

#[cfg(test)]
mod tests;

pub use report::{OtherRfc, Report, Row, Site, Status};
pub use sentences::{Level, Sentence, Standing};
pub use tree::Tree;

use citation::Citation;
use exception::Exception;
use requirement::Requirements;
use rfc::Rfcs;
use std::fmt;

/// The folder of the texts, from the root of the repo.
const SPEC: &str = "stack/proto/spec";

/// Something that is wrong: where, and what.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fault {
    /// A path from the root of the repo.
    pub path: String,
    /// Counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// One sentence.
    pub what: String,
}

impl Fault {
    fn new(path: impl Into<String>, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.into(), line, what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.path, self.what);
        }
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Reads everything and judges it.
pub fn check(tree: &Tree) -> Report {
    let mut faults = Vec::new();
    let rfcs = Rfcs::load(tree);
    let requirements = Requirements::load(tree, &rfcs, &mut faults);
    let exceptions = exception::load(tree, &requirements, &mut faults);
    let mut citations = citation::find(tree, &mut faults);
    citations.retain(|citation| is_sound(citation, &rfcs, &mut faults));
    let sentences = sentences::judge(tree, &rfcs, &requirements, &citations, &mut faults);
    Report::new(&requirements, &exceptions, &citations, sentences, faults)
}

/// Whether the words stand where the citation says, and the citation where its type says.
fn is_sound(citation: &Citation, rfcs: &Rfcs, faults: &mut Vec<Fault>) -> bool {
    let Citation { path, line, rfc, section, quote, .. } = citation;
    let what = match rfcs.contains(rfc, section, quote) {
        rfc::Found::Yes => return citation.has_its_place(faults),
        rfc::Found::NoText => format!("{SPEC}/{rfc}.txt, which is cited here, does not exist"),
        rfc::Found::NoSection => format!("{rfc} has no section {section}"),
        rfc::Found::NoWords => format!("these words do not stand in section {section} of {rfc}: \"{quote}\""),
    };
    faults.push(Fault::new(path, *line, what));
    false
}

/// How a requirement fares.
fn status(exceptions: &[Exception], id: &str, code: bool, test: bool) -> Status {
    match (exceptions.iter().any(|exception| exception.requirement == id), code, test) {
        (true, ..) => Status::Exception,
        (false, true, true) => Status::Kept,
        (false, true, false) => Status::NoTest,
        (false, false, true) => Status::NoCode,
        (false, false, false) => Status::Neither,
    }
}
