//! The numbered requirements of RFC 9293, and how a citation names them.

use super::rfc::{Found, Rfcs, normal};
use super::tree::Tree;
use super::{Fault, SPEC};
use serde::Deserialize;

/// The RFC whose requirements have numbers.
pub(super) const RFC: &str = "rfc9293";
/// How many they are: RFC 9293 Appendix B.
const COUNT: usize = 119;

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Requirement {
    /// `MUST-26`.
    pub(super) id: String,
    /// `MUST`, `MUST NOT`, `SHOULD`, `SHOULD NOT`, `RECOMMENDED`, `MAY`.
    pub(super) level: String,
    /// In a few words.
    pub(super) description: String,
    /// The sections that speak of it.
    pub(super) sections: String,
    /// The words that stand for it when the text does not number it, in the form of [`normal`].
    words: Option<String>,
}

impl Requirement {
    /// Whether it has to be kept without condition.
    pub(super) fn is_must(&self) -> bool {
        self.level.starts_with("MUST")
    }

    /// Whether a quote of RFC 9293 says this one: by its number, as in `(MUST-26)`, or by its words.
    pub(super) fn is_in(&self, quote: &str) -> bool {
        let quote = normal(quote);
        if let Some(words) = &self.words {
            return quote.contains(words.as_str());
        }
        let label = format!("({}", self.id);
        let is_end = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_digit());
        quote.match_indices(&label).any(|(at, label)| is_end(&quote[at + label.len()..]))
    }
}

/// All of them, in the order of the table.
#[derive(Debug)]
pub(super) struct Requirements {
    all: Vec<Requirement>,
}

/// `unlabelled.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unlabelled {
    #[serde(default)]
    requirement: Vec<Words>,
}

/// The words of a requirement whose number stands in Appendix B alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    id: String,
    section: String,
    words: String,
}

impl Requirements {
    /// Reads the table and the words of what has no number in the text.
    pub(super) fn load(tree: &Tree, rfcs: &Rfcs, faults: &mut Vec<Fault>) -> Self {
        let path = format!("{SPEC}/rfc9293-requirements.tsv");
        let words = unlabelled(tree, rfcs, faults);
        let mut all = Vec::new();
        for (line, row) in (1..).zip(tree.text(&path).unwrap_or_default().lines()).skip(1) {
            let mut columns = row.split('\t');
            let (Some(id), Some(level), Some(description), Some(sections)) =
                (columns.next(), columns.next(), columns.next(), columns.next())
            else {
                faults.push(Fault::new(
                    &path,
                    line,
                    "a row is: id, level, description, section, and more, with tabs between",
                ));
                continue;
            };
            let own = words.iter().find(|words| words.id == id).map(|words| normal(&words.words));
            let (id, level, description) = (id.to_owned(), level.to_owned(), description.to_owned());
            let requirement = Requirement { id, level, description, sections: sections.to_owned(), words: own };
            if !requirement.has_words(rfcs) {
                let what = format!(
                    "no section of {} says ({}): give its words in {SPEC}/unlabelled.toml",
                    requirement.sections, requirement.id
                );
                faults.push(Fault::new(&path, line, what));
            }
            all.push(requirement);
        }
        if all.len() != COUNT {
            faults.push(Fault::new(&path, 0, format!("{} requirements where RFC 9293 has {COUNT}", all.len())));
        }
        Self { all }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Requirement> {
        self.all.iter()
    }

    /// The one with this number.
    pub(super) fn get(&self, id: &str) -> Option<&Requirement> {
        self.all.iter().find(|requirement| requirement.id == id)
    }
}

impl Requirement {
    /// Whether the text says its number, or words that stand for it have been given.
    fn has_words(&self, rfcs: &Rfcs) -> bool {
        let mut labels = [format!("({})", self.id), format!("({} ", self.id)].into_iter();
        let says = |label: &str| self.sections.split(", ").any(|id| rfcs.contains(RFC, id, label) == Found::Yes);
        self.words.is_some() || labels.any(|label| says(&label))
    }
}

fn unlabelled(tree: &Tree, rfcs: &Rfcs, faults: &mut Vec<Fault>) -> Vec<Words> {
    let path = format!("{SPEC}/unlabelled.toml");
    let mut all = match toml::from_str::<Unlabelled>(tree.text(&path).unwrap_or_default()) {
        Ok(file) => file.requirement,
        Err(error) => {
            faults.push(Fault::new(path, 0, error.message().to_owned()));
            return Vec::new();
        }
    };
    all.retain(|Words { id, section, words }| {
        let found = !words.is_empty() && rfcs.contains(RFC, section, words) == Found::Yes;
        if !found {
            faults.push(Fault::new(&path, 0, format!("section {section} of {RFC} does not say the words of {id}")));
        }
        found
    });
    all
}
