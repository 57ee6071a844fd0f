//! The requirements of the RFCs that don't number them: every sentence with a MUST, a SHOULD or a MAY.

mod ruling;
mod split;

#[cfg(test)]
mod tests;

pub use ruling::Standing;

use super::citation::Citation;
use super::report::Site;
use super::requirement::Requirements;
use super::rfc::{Rfcs, normal, parts};
use super::tree::Tree;
use super::{Fault, SPEC};
use ruling::Rulings;
use serde::Serialize;
use split::Found;
use std::fmt;
use std::ops::Range;

/// How much a sentence asks. `SHALL` and `REQUIRED` are musts, `RECOMMENDED` is a should, `OPTIONAL` a may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// To be kept.
    Must,
    /// To be kept, or there is a reason.
    Should,
    /// For information.
    May,
}

/// A sentence with what is cited of it.
#[derive(Clone, Debug, Serialize)]
pub struct Sentence {
    /// `rfc7323`.
    pub rfc: String,
    /// `3.2`.
    pub section: String,
    /// The strongest of its keywords.
    pub level: Level,
    /// Its words.
    pub words: String,
    /// Lines that cite one of its keywords.
    pub code: Vec<Site>,
    /// Tests that do.
    pub tests: Vec<Site>,
    /// Whether code and tests, taken each together, cite every MUST and SHOULD of it.
    pub is_cited: (bool, bool),
    /// Why it is not cited.
    pub standing: Option<Standing>,
    /// It is a MUST that is not kept, and the file says so.
    pub breaks_a_must: bool,
}

/// Goes through each RFC that has a `rfcNNNN.toml`.
pub(super) fn judge(
    tree: &Tree,
    rfcs: &Rfcs,
    requirements: &Requirements,
    citations: &[Citation],
    faults: &mut Vec<Fault>,
) -> Vec<Sentence> {
    let mut all = Vec::new();
    for (path, text) in tree.files(".txt") {
        let name = path.strip_prefix(SPEC).and_then(|name| name.strip_prefix('/')?.strip_suffix(".txt"));
        let Some(rfc) = name else { continue };
        let Some(rulings) = Rulings::load(tree, rfc, requirements, faults) else { continue };
        let mut sentences = split::normative(&parts(text));
        sentences.retain(|sentence| rulings.covers(&sentence.section));
        rulings.check(rfc, &sentences, faults);
        all.extend(sentences.into_iter().map(|sentence| Sentence::new(rfc, sentence, &rulings, rfcs, citations)));
    }
    all.sort_by_key(|sentence| sentence.rfc.trim_start_matches("rfc").parse().unwrap_or(0));
    all
}

impl Sentence {
    fn new(rfc: &str, found: Found, rulings: &Rulings, rfcs: &Rfcs, citations: &[Citation]) -> Self {
        let (standing, breaks_a_must) = rulings.of(&found).unzip();
        let Found { section, words, level } = found;
        let text = rfcs.section(rfc, &section).unwrap_or_default();
        let asks = keywords_in(text, &words);
        let (mut code, mut tests, mut cited) = (Vec::new(), Vec::new(), (Vec::new(), Vec::new()));
        for citation in citations.iter().filter(|citation| citation.rfc == rfc && citation.section == section) {
            let quoted = ranges(text, &normal(&citation.quote));
            let hit = |asked: &&(Range<usize>, Level)| {
                quoted.iter().any(|quote| quote.start <= asked.0.start && asked.0.end <= quote.end)
            };
            let hits: Vec<usize> = asks.iter().filter(hit).map(|(at, _)| at.start).collect();
            if !hits.is_empty() {
                let site = Site { path: citation.path.clone(), line: citation.line, test: citation.test.clone() };
                let (sites, cited) =
                    if citation.is_test { (&mut tests, &mut cited.1) } else { (&mut code, &mut cited.0) };
                sites.push(site);
                cited.extend(hits);
            }
        }
        let whole = |cited: &[usize]| {
            asks.iter().filter(|(_, level)| *level != Level::May).all(|(at, _)| cited.contains(&at.start))
        };
        let is_cited = (whole(&cited.0), whole(&cited.1));
        let breaks_a_must = breaks_a_must.unwrap_or(false);
        Self { rfc: rfc.to_owned(), section, level, words, code, tests, is_cited, standing, breaks_a_must }
    }

    /// Whether it is kept and shown, or there is a reason why not; a MAY always is.
    pub fn is_accounted_for(&self) -> bool {
        self.level == Level::May || self.is_kept() || self.standing.is_some()
    }

    fn is_kept(&self) -> bool {
        self.is_cited == (true, true) && self.level != Level::May
    }

    /// What stands in place of citations.
    pub(super) fn says(&self) -> String {
        match &self.standing {
            Some(Standing::Restated(id)) => format!("RFC 9293: {id}"),
            Some(Standing::Elsewhere(reason)) => format!("not ours: {reason}"),
            Some(Standing::NotTaken(reason)) => format!("not taken: {reason}"),
            Some(Standing::Superseded(reason)) => format!("superseded: {reason}"),
            Some(Standing::NotKept(reason)) => format!("not kept: {reason}"),
            None => String::new(),
        }
    }

    /// What is missing for it.
    pub(super) fn fault(&self) -> Option<Fault> {
        let Self { rfc, section, words, .. } = self;
        let at = |sites: &[Site]| {
            sites.first().map_or_else(|| (ruling::path(rfc), 0), |site| (site.path.clone(), site.line))
        };
        let cite = format!("//= spec/{rfc}.txt#section-{section}");
        let must_not_kept = self.level == Level::Must && matches!(self.standing, Some(Standing::NotKept(_)));
        let ((path, line), what) = match (&self.standing, self.is_cited) {
            (Some(_), (true, true)) if self.level != Level::May => {
                (at(&[]), "is cited by code and a test: what this file says of it is not needed".to_owned())
            }
            (Some(_), _) if must_not_kept && !self.breaks_a_must => {
                (at(&[]), "is a MUST: keep it, or add breaks_a_must = true".to_owned())
            }
            (Some(_), _) if self.breaks_a_must && !must_not_kept => {
                (at(&[]), "says breaks_a_must, which it does not".to_owned())
            }
            _ if self.is_accounted_for() => return None,
            (_, (true, false)) => (at(&self.code), format!("is kept here, but no test cites all of it ({cite})")),
            (_, (false, true)) => (at(&self.tests), format!("is tested here, but no code cites all of it ({cite})")),
            _ => (at(&[]), format!("is not cited by code and a test ({cite}), and nothing here says why")),
        };
        Some(Fault::new(path, line, format!("{rfc} {section}, \"{words}\", {what}")))
    }
}

/// How the sentences of an RFC fare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    all: usize,
    kept: usize,
    restated: usize,
    elsewhere: usize,
    not_taken: usize,
    superseded: usize,
    not_kept: usize,
    open: usize,
    may: usize,
}

impl Totals {
    /// `None` if there is nothing to count.
    pub(super) fn of(sentences: &[&Sentence]) -> Option<Self> {
        let mut totals = Self::default();
        for sentence in sentences {
            if sentence.level == Level::May {
                totals.may += 1;
                continue;
            }
            totals.all += 1;
            *match &sentence.standing {
                _ if sentence.is_kept() => &mut totals.kept,
                Some(Standing::Restated(_)) => &mut totals.restated,
                Some(Standing::Elsewhere(_)) => &mut totals.elsewhere,
                Some(Standing::NotTaken(_)) => &mut totals.not_taken,
                Some(Standing::Superseded(_)) => &mut totals.superseded,
                Some(Standing::NotKept(_)) => &mut totals.not_kept,
                None => &mut totals.open,
            } += 1;
        }
        (!sentences.is_empty()).then_some(totals)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { all, kept, restated, elsewhere, not_taken, superseded, not_kept, open, may } = self;
        write!(f, "{all} sentences with MUST or SHOULD: {kept} kept")?;
        for (count, what) in [
            (restated, "restated by RFC 9293"),
            (elsewhere, "not for a stack"),
            (not_taken, "of a choice not taken"),
            (superseded, "superseded"),
            (not_kept, "not kept"),
            (open, "missing"),
        ] {
            if *count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        write!(f, "; {may} with MAY")
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        })
    }
}

/// The keywords of `words`, by their places in `text`: once for each time that the text says the words.
fn keywords_in(text: &str, words: &str) -> Vec<(Range<usize>, Level)> {
    let words = normal(words);
    let first = ranges(text, &words).into_iter().next().map_or(0, |range| range.start);
    split::keywords(&words).into_iter().map(|(at, level)| (first + at.start..first + at.end, level)).collect()
}

/// Where `words` stand in `text`.
fn ranges(text: &str, words: &str) -> Vec<Range<usize>> {
    if words.is_empty() {
        return Vec::new();
    }
    text.match_indices(words).map(|(at, words)| at..at + words.len()).collect()
}
