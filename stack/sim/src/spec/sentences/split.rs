//! The sentences of a text that say MUST, SHOULD or MAY.

use super::super::rfc::{Part, normal};
use super::Level;
use std::ops::Range;

/// A sentence, not yet judged.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// The section that says it.
    pub(super) section: String,
    /// The words, with single spaces.
    pub(super) words: String,
    /// The strongest of its keywords.
    pub(super) level: Level,
}

/// What ends with a full stop and ends no sentence.
const ABBREVIATIONS: &[&str] = &["e.g.", "i.e.", "cf.", "etc.", "vs.", "al.", "Sec.", "Eq.", "(e.g.", "(i.e.", "page"];

/// The normative sentences of `parts`, in their order.
pub(super) fn normative(parts: &[Part<'_>]) -> Vec<Found> {
    let mut found = Vec::new();
    for part in parts {
        for words in paragraphs(&part.lines).iter().flat_map(|paragraph| sentences(paragraph)) {
            if let Some(level) = keywords(&normal(&words)).into_iter().map(|(_, level)| level).min() {
                found.push(Found { section: part.section.to_owned(), words, level });
            }
        }
    }
    found
}

/// The keywords of RFC 2119 in `text`, with their places. One in quotation marks is spoken of, not said.
pub(super) fn keywords(text: &str) -> Vec<(Range<usize>, Level)> {
    let mut found = Vec::new();
    for (words, level) in [
        (["MUST", "SHALL", "REQUIRED"].as_slice(), Level::Must),
        (&["SHOULD", "RECOMMENDED"], Level::Should),
        (&["MAY", "OPTIONAL"], Level::May),
    ] {
        for word in words {
            let whole = |at: &usize| {
                let before = text[..*at].chars().next_back();
                let after = text[at + word.len()..].chars().next();
                let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
                ends(before) && ends(after) && !matches!(before, Some('"' | '\'' | '-')) && after != Some('-')
            };
            found.extend(
                text.match_indices(word).map(|(at, _)| at).filter(whole).map(|at| (at..at + word.len(), level)),
            );
        }
    }
    found
}

/// The words between blank lines. A page's end is none when a sentence goes on behind it.
fn paragraphs<'a>(lines: &[Option<&'a str>]) -> Vec<Vec<&'a str>> {
    let mut paragraphs: Vec<Vec<&str>> = vec![Vec::new()];
    let (mut is_blank, mut is_page) = (false, false);
    for line in lines {
        match line {
            None => is_page = true,
            Some(line) if line.trim_matches(['\u{c}', ' ']).is_empty() => is_blank = true,
            Some(line) => {
                let last = paragraphs.last().and_then(|words| words.last()).copied().unwrap_or_default();
                let is_whole = !is_page || last.ends_with(['.', ':', ';', '?', '!', ')']);
                if is_blank && is_whole {
                    paragraphs.push(Vec::new());
                }
                if let Some(paragraph) = paragraphs.last_mut() {
                    paragraph.extend(line.split_whitespace());
                }
                (is_blank, is_page) = (false, false);
            }
        }
    }
    paragraphs
}

fn sentences(words: &[&str]) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut current: Vec<&str> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        // The number of an item ends no sentence.
        let is_number = current.is_empty() && word.len() <= 3;
        current.push(word);
        let next = words.get(at + 1).map_or(Some('A'), |next| next.chars().next());
        let begins = next.is_some_and(|c| c.is_uppercase() || matches!(c, '"' | '(' | '[' | '<'));
        let ends = word.trim_end_matches(['"', ')', '\'', ']']).ends_with(['.', '?', '!']);
        if ends && begins && !is_number && !ABBREVIATIONS.contains(word) {
            sentences.push(current.join(" "));
            current.clear();
        }
    }
    if !current.is_empty() {
        sentences.push(current.join(" "));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::super::super::rfc::parts;
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let words = |found: Found| format!("{} {:?} {}", found.section, found.level, found.words);
        normative(&parts(text)).into_iter().map(words).collect()
    }

    #[test]
    fn a_sentence_ends_at_its_stop_or_with_its_paragraph() {
        let text = "1.  Rules\n\n   1. One MUST (e.g. Here) count.  Nothing.  Two SHOULD NOT,\n   and MAY:\n\n   o  a\n\n   \
                    \"MUST\" is a word, as is MUST-be.\n";
        assert_eq!(found(text), ["1 Must 1. One MUST (e.g. Here) count.", "1 Should Two SHOULD NOT, and MAY:"]);
    }

    #[test]
    fn a_page_does_not_end_a_sentence() {
        let text = "2.1  Pages\n\n   A sender MUST\n\n\nPostel                       [Page 1]\n\u{c}\nRFC 1     X   1999\n\n   \
                    count.\n\nPostel                       [Page 2]\n\n   It MAY stop.\n";
        assert_eq!(found(text), ["2.1 Must A sender MUST count.", "2.1 May It MAY stop."]);
    }
}
