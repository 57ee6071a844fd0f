//! What is not kept, each with its reason.

use super::requirement::Requirements;
use super::tree::Tree;
use super::{Fault, SPEC};
use serde::{Deserialize, Serialize};

/// A requirement that the stack does not keep.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exception {
    /// `SHLD-8`.
    pub(super) requirement: String,
    /// Why.
    pub(super) reason: String,
    /// What says so, if it is not the stack alone: an RFC and its section.
    pub(super) source: Option<String>,
    /// A MUST that is not kept has to be called what it is.
    #[serde(default)]
    pub(super) breaks_a_must: bool,
}

/// `exceptions.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    exception: Vec<Exception>,
}

/// Reads the exceptions and judges each for itself.
pub(super) fn load(tree: &Tree, requirements: &Requirements, faults: &mut Vec<Fault>) -> Vec<Exception> {
    let path = path();
    let file = match toml::from_str::<File>(tree.text(&path).unwrap_or_default()) {
        Ok(file) => file,
        Err(error) => {
            faults.push(Fault::new(path, 0, error.message().to_owned()));
            return Vec::new();
        }
    };
    for (at, exception) in file.exception.iter().enumerate() {
        let Exception { requirement: id, reason, source: _, breaks_a_must } = exception;
        let mut fault = |what: &str| faults.push(Fault::new(&path, 0, format!("the exception for {id} {what}")));
        let Some(requirement) = requirements.get(id) else {
            fault("names no requirement of RFC 9293");
            continue;
        };
        if reason.trim().is_empty() {
            fault("has no reason");
        }
        if file.exception[..at].iter().any(|other| other.requirement == *id) {
            fault("stands there twice");
        }
        match (requirement.is_must(), breaks_a_must) {
            (true, false) => fault("is one from a MUST: keep the rule, or add breaks_a_must = true"),
            (false, true) => fault("says breaks_a_must, which it does not"),
            _ => {}
        }
    }
    file.exception
}

/// Where the exceptions stand.
pub(super) fn path() -> String {
    format!("{SPEC}/exceptions.toml")
}
