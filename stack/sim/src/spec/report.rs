//! What the citations come to: as a table, as JSON.

use super::citation::Citation;
use super::exception::{self, Exception};
use super::requirement::{RFC, Requirement, Requirements};
use super::sentences::{Sentence, Totals};
use super::{Fault, status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// A place in the sources.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Site {
    /// From the root of the repo.
    pub path: String,
    /// Counted from 1.
    pub line: usize,
    /// The test's name, if it is one.
    pub test: Option<String>,
}

/// How a requirement fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Code keeps it and a test shows it.
    Kept,
    /// It is not kept, for a reason that is given.
    Exception,
    /// Code keeps it, but no test shows it.
    NoTest,
    /// A test speaks of it, but no code.
    NoCode,
    /// Nothing speaks of it.
    Neither,
}

/// A requirement of RFC 9293 with what is cited for it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `MUST-26`.
    pub id: String,
    /// As the RFC says it.
    pub level: String,
    /// In a few words.
    pub description: String,
    /// Where the RFC says it.
    pub sections: String,
    /// How it fares.
    pub status: Status,
    /// Lines that keep it.
    pub code: Vec<Site>,
    /// Tests that show it.
    pub tests: Vec<Site>,
    /// Why it is not kept.
    pub exception: Option<String>,
}

/// What is cited of an RFC without numbered requirements, or of RFC 9293 beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OtherRfc {
    /// `rfc5961`.
    pub rfc: String,
    /// Different sections.
    pub sections: usize,
    /// Citations above code.
    pub code: usize,
    /// Citations on tests.
    pub tests: usize,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order of the RFC's numbers.
    pub rows: Vec<Row>,
    /// By name.
    pub others: Vec<OtherRfc>,
    /// Of the RFCs that are gone through sentence by sentence, in their order.
    pub sentences: Vec<Sentence>,
    /// What is wrong, as sentences.
    pub faults: Vec<String>,
}

impl Report {
    pub(super) fn new(
        requirements: &Requirements,
        exceptions: &[Exception],
        citations: &[Citation],
        sentences: Vec<Sentence>,
        mut faults: Vec<Fault>,
    ) -> Self {
        let rows: Vec<Row> =
            requirements.iter().map(|requirement| Row::new(requirement, exceptions, citations)).collect();
        faults.extend(rows.iter().filter_map(Row::fault));
        faults.extend(sentences.iter().filter_map(Sentence::fault));
        faults.sort();
        let faults = faults.iter().map(ToString::to_string).collect();
        Self { rows, others: others(citations), sentences, faults }
    }

    /// Whether everything is accounted for and nothing is wrong.
    pub fn passed(&self) -> bool {
        self.faults.is_empty()
    }

    /// The table of the requirements; of those alone that are not accounted for if `missing`.
    pub fn table(&self, missing: bool) -> String {
        let mut lines = vec![["requirement", "level", "description", "code", "test", "exception"].map(str::to_owned)];
        lines.extend(self.rows.iter().filter(|row| !missing || !row.is_accounted_for()).map(Row::cells));
        let mut table = String::new();
        if lines.len() > 1 {
            push_aligned(&mut table, &lines);
        }
        table
    }

    /// The normative sentences of `rfc` (`7323`); those alone that are not accounted for if `missing`. `None` if it is
    /// not gone through sentence by sentence.
    pub fn sentence_table(&self, rfc: &str, missing: bool) -> Option<String> {
        let name = if rfc.starts_with("rfc") { rfc.to_owned() } else { format!("rfc{rfc}") };
        let all: Vec<&Sentence> = self.sentences.iter().filter(|sentence| sentence.rfc == name).collect();
        let totals = Totals::of(&all)?;
        let mut lines = vec![["section", "level", "sentence", "code", "test", "says"].map(str::to_owned)];
        let open = |sentence: &&&Sentence| !missing || !sentence.is_accounted_for();
        lines.extend(all.iter().filter(open).map(|sentence| {
            let Sentence { section, level, words, code, tests, .. } = sentence;
            let start = words.chars().take(72).collect();
            [section.clone(), level.to_string(), start, first(code), first(tests), sentence.says()]
        }));
        let mut table = String::new();
        push_aligned(&mut table, &lines);
        Some(format!("{table}\n{name}: {totals}\n"))
    }

    fn count(&self, levels: &[&str], status: Status) -> usize {
        self.rows.iter().filter(|row| levels.contains(&row.level.as_str()) && row.status == status).count()
    }
}

impl fmt::Display for Report {
    /// The totals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.rows.iter().filter(|row| row.is_accounted_for()).count();
        let levels: [(&str, &[&str]); 4] = [
            ("MUST", &["MUST", "MUST NOT"]),
            ("SHOULD", &["SHOULD", "SHOULD NOT"]),
            ("MAY", &["MAY"]),
            ("RECOMMENDED", &["RECOMMENDED"]),
        ];
        let each = levels.map(|(name, levels)| {
            let all = self.rows.iter().filter(|row| levels.contains(&row.level.as_str())).count();
            let (kept, excepted) = (self.count(levels, Status::Kept), self.count(levels, Status::Exception));
            let missing = all - kept - excepted;
            let missing = if missing > 0 { format!(", {missing} missing") } else { String::new() };
            format!("{all} {name}: {kept} kept, {excepted} with an exception{missing}")
        });
        writeln!(f, "{done} of {} requirements accounted for ({})", self.rows.len(), each.join("; "))?;
        let mut lines = vec![["specification", "sections", "citations in code", "on tests"].map(str::to_owned)];
        lines.extend(self.others.iter().map(|other| {
            let OtherRfc { rfc, sections, code, tests } = other;
            [rfc.clone(), sections.to_string(), code.to_string(), tests.to_string()]
        }));
        let mut table = String::new();
        push_aligned(&mut table, &lines);
        write!(f, "\n{table}")?;
        let mut names: Vec<&str> = self.sentences.iter().map(|sentence| sentence.rfc.as_str()).collect();
        names.dedup();
        for (at, name) in names.iter().enumerate() {
            let all: Vec<&Sentence> = self.sentences.iter().filter(|sentence| sentence.rfc == *name).collect();
            if let Some(totals) = Totals::of(&all) {
                writeln!(f, "{}{name}: {totals}", if at == 0 { "\n" } else { "" })?;
            }
        }
        Ok(())
    }
}

impl Row {
    fn new(requirement: &Requirement, exceptions: &[Exception], citations: &[Citation]) -> Self {
        let (mut code, mut tests) = (Vec::new(), Vec::new());
        for citation in citations.iter().filter(|citation| citation.rfc == RFC && requirement.is_in(&citation.quote)) {
            let site = Site { path: citation.path.clone(), line: citation.line, test: citation.test.clone() };
            if citation.is_test { &mut tests } else { &mut code }.push(site);
        }
        let Requirement { id, level, description, sections, .. } = requirement.clone();
        let status = status(exceptions, &id, !code.is_empty(), !tests.is_empty());
        let exception = exceptions.iter().find(|exception| exception.requirement == id).map(|exception| {
            let source = exception.source.as_ref().map(|source| format!(" ({source})")).unwrap_or_default();
            format!("{}{source}", exception.reason)
        });
        Self { id, level, description, sections, status, code, tests, exception }
    }

    fn is_accounted_for(&self) -> bool {
        matches!(self.status, Status::Kept | Status::Exception)
    }

    fn cells(&self) -> [String; 6] {
        let exception = self.exception.clone().unwrap_or_default();
        let (code, tests) = (first(&self.code), first(&self.tests));
        [self.id.clone(), self.level.clone(), self.description.clone(), code, tests, exception]
    }

    /// What is missing for it.
    fn fault(&self) -> Option<Fault> {
        let Self { id, description, sections, .. } = self;
        let section = sections.rsplit(", ").next().unwrap_or_default();
        let cite = format!("//= spec/{RFC}.txt#section-{section}");
        let at = |sites: &[Site]| sites.first().map(|site| (site.path.clone(), site.line)).unwrap_or_default();
        let what = match self.status {
            Status::Exception if !self.code.is_empty() && !self.tests.is_empty() => {
                let what = format!("the exception for {id} is not needed: code and a test keep it");
                return Some(Fault::new(exception::path(), 0, what));
            }
            Status::Kept | Status::Exception => return None,
            Status::NoTest => {
                let (path, line) = at(&self.code);
                let what = format!("{id} ({description}) is kept here, but no test cites it ({cite}, type=test)");
                return Some(Fault::new(path, line, what));
            }
            Status::NoCode => {
                let (path, line) = at(&self.tests);
                let what = format!("{id} ({description}) is tested here, but no line of code cites it ({cite})");
                return Some(Fault::new(path, line, what));
            }
            Status::Neither => format!("no code and no test cites {id} ({description}): {cite}; or say why not here"),
        };
        Some(Fault::new(exception::path(), 0, what))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)?;
        self.test.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

/// The first of the places, and how many more there are.
fn first(sites: &[Site]) -> String {
    match sites {
        [] => "-".to_owned(),
        [one] => one.to_string(),
        [one, more @ ..] => format!("{one} +{}", more.len()),
    }
}

fn others(citations: &[Citation]) -> Vec<OtherRfc> {
    let mut others: BTreeMap<&str, (OtherRfc, Vec<&str>)> = BTreeMap::new();
    for citation in citations {
        let (other, sections) = others.entry(&citation.rfc).or_default();
        other.rfc.clone_from(&citation.rfc);
        *if citation.is_test { &mut other.tests } else { &mut other.code } += 1;
        if !sections.contains(&citation.section.as_str()) {
            sections.push(&citation.section);
            other.sections += 1;
        }
    }
    let mut others: Vec<OtherRfc> = others.into_values().map(|(other, _)| other).collect();
    others.sort_by_key(|other| (other.rfc.len(), other.rfc.clone()));
    others
}

/// Lines with their columns below each other. The last column is as long as it likes.
fn push_aligned<const N: usize>(out: &mut String, lines: &[[String; N]]) {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for line in lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(widths) {
            // A string takes everything.
            let _ = write!(text, "{cell:width$}  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
}
