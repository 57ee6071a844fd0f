//! Citations in the sources.

use super::Fault;
use super::functions::{TestFunction, literal_lines, tests};
use super::tree::Tree;

/// The words of an RFC above a line of code, or on a test.
#[derive(Clone, Debug)]
pub(super) struct Citation {
    /// Of the source, from the root of the repo.
    pub(super) path: String,
    /// Where it begins.
    pub(super) line: usize,
    /// `rfc9293`.
    pub(super) rfc: String,
    /// `3.8.4`.
    pub(super) section: String,
    /// The words, with single spaces.
    pub(super) quote: String,
    /// It says `type=test`.
    pub(super) is_test: bool,
    /// The test that it stands on, or in.
    pub(super) test: Option<String>,
}

impl Citation {
    /// Whether a citation of code stands in code and one of a test on a test.
    pub(super) fn has_its_place(&self, faults: &mut Vec<Fault>) -> bool {
        let what = match (&self.test, self.is_test) {
            (None, true) => "this citation says type=test but does not stand on a function under #[test]",
            (Some(_), false) => "this citation stands on a test: it needs a line //= type=test below its first",
            (None, false) if !is_code(&self.path) => {
                "this citation is neither on a test nor in the code of the stack (stack/proto/src, stack/src)"
            }
            _ => return true,
        };
        faults.push(Fault::new(&self.path, self.line, what));
        false
    }
}

/// Whether the file holds code that keeps rules, rather than what tries it.
fn is_code(path: &str) -> bool {
    let in_stack = ["stack/proto/src/", "stack/src/"].iter().any(|dir| path.starts_with(dir));
    in_stack && !path.split('/').any(|part| matches!(part, "tests" | "tests.rs"))
}

/// Every citation of the sources, in the order of paths and lines.
pub(super) fn find(tree: &Tree, faults: &mut Vec<Fault>) -> Vec<Citation> {
    let mut found = Vec::new();
    for (path, text) in tree.files(".rs") {
        if text.contains("//= ") {
            let (tests, literal) = (tests(text), literal_lines(text));
            let lines: Vec<(usize, &str)> =
                (1..).zip(text.lines().map(str::trim)).filter(|(line, _)| !literal.contains(line)).collect();
            parse(path, &lines, faults, |citation| {
                let on = tests.iter().find(|test: &&TestFunction| test.lines.contains(&citation.line));
                found.push(Citation { test: on.map(|test| test.name.clone()), ..citation });
            });
        }
    }
    found
}

fn parse(path: &str, lines: &[(usize, &str)], faults: &mut Vec<Fault>, mut each: impl FnMut(Citation)) {
    let mut lines = lines.iter().copied().peekable();
    while let Some((line, text)) = lines.next() {
        let Some(source) = text.strip_prefix("//= ") else {
            if text.starts_with("//# ") {
                faults.push(Fault::new(
                    path,
                    line,
                    "a quote without its source: put //= spec/rfcNNNN.txt#section-N above",
                ));
                while lines.next_if(|(_, text)| text.starts_with("//#")).is_some() {}
            }
            continue;
        };
        let mut kind = None;
        while let Some((_, meta)) = lines.next_if(|(_, text)| text.starts_with("//= ")) {
            kind = Some(meta.trim_start_matches("//= "));
        }
        let mut quote = Vec::new();
        while let Some((_, words)) = lines.next_if(|(_, text)| text.starts_with("//#")) {
            quote.extend(words.trim_start_matches("//#").split_whitespace());
        }
        match citation(source, kind, &quote) {
            Ok(citation) => each(Citation { path: path.to_owned(), line, ..citation }),
            Err(what) => faults.push(Fault::new(path, line, what)),
        }
    }
}

/// A citation that has no place yet.
fn citation(source: &str, kind: Option<&str>, quote: &[&str]) -> Result<Citation, String> {
    let parts = source.strip_prefix("spec/").and_then(|source| source.split_once(".txt#section-"));
    let Some((rfc, section)) = parts else {
        return Err(format!("\"{source}\" is not a source of the form spec/rfc9293.txt#section-3.8.4"));
    };
    let is_test = match kind {
        None => false,
        Some("type=test") => true,
        Some(other) => {
            return Err(format!("\"{other}\" is not known here; the one thing that can be said is type=test"));
        }
    };
    if quote.is_empty() {
        return Err("a source without a quote: put the RFC's words below it, behind //#".to_owned());
    }
    let (rfc, section, quote) = (rfc.to_owned(), section.to_owned(), quote.join(" "));
    Ok(Citation { path: String::new(), line: 0, rfc, section, quote, is_test, test: None })
}
