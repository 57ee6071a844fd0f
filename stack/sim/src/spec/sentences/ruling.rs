//! What is said of a sentence that no code keeps: `rfcNNNN.toml`.

use super::super::requirement::Requirements;
use super::super::tree::Tree;
use super::super::{Fault, SPEC};
use super::split::Found;
use serde::{Deserialize, Serialize};

/// Why no code of the stack keeps a sentence by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// RFC 9293 says it again with this number, or these, and its table accounts for it.
    Restated(String),
    /// It asks something of others: of applications, routers, or later RFCs.
    Elsewhere(String),
    /// It binds whoever uses a choice that the RFC leaves open, and this stack does not.
    NotTaken(String),
    /// A later RFC took it back, or something built otherwise makes it empty.
    Superseded(String),
    /// It is not kept.
    NotKept(String),
}

/// `rfcNNNN.toml`. Where it lies beside the text, the RFC is gone through sentence by sentence.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rulings {
    /// The sections, with those below, that speak to a stack's TCP; all if none is named.
    #[serde(default)]
    pub(super) scope: Vec<String>,
    /// Whole sections.
    #[serde(default)]
    section: Vec<Entry>,
    /// Single sentences.
    #[serde(default)]
    sentence: Vec<Entry>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    section: String,
    /// Enough of the sentence to know it by.
    #[serde(default)]
    words: String,
    restated: Option<String>,
    elsewhere: Option<String>,
    not_taken: Option<String>,
    superseded: Option<String>,
    not_kept: Option<String>,
    /// A MUST that is not kept has to be called what it is.
    #[serde(default)]
    breaks_a_must: bool,
}

impl Rulings {
    /// Reads the file of `rfc`; `None` if there is none.
    pub(super) fn load(tree: &Tree, rfc: &str, requirements: &Requirements, faults: &mut Vec<Fault>) -> Option<Self> {
        let path = path(rfc);
        let rulings: Self = toml::from_str(tree.text(&path)?).unwrap_or_else(|error| {
            faults.push(Fault::new(&path, 0, error.message().to_owned()));
            Self::default()
        });
        for entry in rulings.section.iter().chain(&rulings.sentence) {
            let fault = match entry.standing() {
                None => {
                    "needs one of restated, elsewhere, not_taken, superseded and not_kept, with its reason".to_owned()
                }
                Some(Standing::Restated(ids)) if !ids.split(", ").all(|id| requirements.get(id).is_some()) => {
                    format!("is restated as {ids}, which is no requirement of RFC 9293")
                }
                Some(_) => continue,
            };
            faults.push(Fault::new(&path, 0, format!("{} {fault}", entry.name())));
        }
        Some(rulings)
    }

    /// Whether `section` is one of those that are gone through.
    pub(super) fn covers(&self, section: &str) -> bool {
        self.scope.is_empty() || self.scope.iter().any(|scope| is_in(section, scope))
    }

    /// What is said of `sentence`; the first that fits.
    pub(super) fn of(&self, sentence: &Found) -> Option<(Standing, bool)> {
        let section = self.section.iter().find(|entry| is_in(&sentence.section, &entry.section));
        let own = self.sentence.iter().find(|entry| entry.names(sentence)).or(section)?;
        Some((own.standing()?, own.breaks_a_must))
    }

    /// Says of each entry that names nothing, or more than one sentence.
    pub(super) fn check(&self, rfc: &str, sentences: &[Found], faults: &mut Vec<Fault>) {
        for entry in &self.sentence {
            let count = sentences.iter().filter(|sentence| entry.names(sentence)).count();
            if count != 1 {
                let what = format!("{} names {count} normative sentences: it has to be one", entry.name());
                faults.push(Fault::new(path(rfc), 0, what));
            }
        }
        for entry in &self.section {
            if !sentences.iter().any(|sentence| is_in(&sentence.section, &entry.section)) {
                let what = format!("{} has no normative sentence", entry.name());
                faults.push(Fault::new(path(rfc), 0, what));
            }
        }
    }
}

impl Entry {
    /// The one thing that is said of it.
    fn standing(&self) -> Option<Standing> {
        let Self { section: _, words: _, restated, elsewhere, not_taken, superseded, not_kept, breaks_a_must: _ } =
            self.clone();
        let all = [
            restated.map(Standing::Restated),
            elsewhere.map(Standing::Elsewhere),
            not_taken.map(Standing::NotTaken),
            superseded.map(Standing::Superseded),
            not_kept.map(Standing::NotKept),
        ];
        let mut said = all.into_iter().flatten();
        said.next().filter(|standing| said.next().is_none() && !standing.reason().trim().is_empty())
    }

    fn names(&self, sentence: &Found) -> bool {
        sentence.section == self.section && !self.words.is_empty() && sentence.words.contains(&self.words)
    }

    fn name(&self) -> String {
        let Self { section, words, .. } = self;
        if words.is_empty() { format!("section {section}") } else { format!("section {section}, \"{words}\",") }
    }
}

impl Standing {
    fn reason(&self) -> &str {
        match self {
            Self::Restated(reason)
            | Self::Elsewhere(reason)
            | Self::NotTaken(reason)
            | Self::Superseded(reason)
            | Self::NotKept(reason) => reason,
        }
    }
}

/// Whether `section` is `outer` or stands below it.
fn is_in(section: &str, outer: &str) -> bool {
    section.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Where the file of `rfc` lies.
pub(super) fn path(rfc: &str) -> String {
    format!("{SPEC}/{rfc}.toml")
}
