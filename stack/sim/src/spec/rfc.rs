//! The texts of the RFCs, section by section.

use super::tree::Tree;
use std::collections::BTreeMap;

/// Whether some words stand in a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// They do.
    Yes,
    /// There is no such RFC here.
    NoText,
    /// The RFC has no such section.
    NoSection,
    /// The section does not say that.
    NoWords,
}

/// Every text, by its name (`rfc9293`) and then by section. Sections do not hold their subsections. Spaces are as
/// [`normal`] makes them.
#[derive(Debug)]
pub(super) struct Rfcs {
    texts: BTreeMap<String, BTreeMap<String, String>>,
}

/// A section, or a part of one when its number comes up again, as printed but without what pages add.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Part<'a> {
    /// `3.8.4`.
    pub(super) section: &'a str,
    /// Its lines, the heading first; `None` where a page ended.
    pub(super) lines: Vec<Option<&'a str>>,
}

impl Rfcs {
    /// Reads the texts of `tree`.
    pub(super) fn load(tree: &Tree) -> Self {
        let mut texts = BTreeMap::new();
        for (path, text) in tree.files(".txt") {
            let name = path.strip_prefix(super::SPEC).and_then(|name| name.strip_prefix('/'));
            if let Some(name) = name.and_then(|name| name.strip_suffix(".txt")) {
                texts.insert(name.to_owned(), sections(text));
            }
        }
        Self { texts }
    }

    /// Whether `section` of `rfc` says `words`.
    pub(super) fn contains(&self, rfc: &str, section: &str, words: &str) -> Found {
        let Some(sections) = self.texts.get(rfc) else { return Found::NoText };
        match sections.get(section) {
            None => Found::NoSection,
            Some(text) if text.contains(&normal(words)) => Found::Yes,
            Some(_) => Found::NoWords,
        }
    }

    /// What `section` of `rfc` says, in the form of [`normal`].
    pub(super) fn section(&self, rfc: &str, section: &str) -> Option<&str> {
        self.texts.get(rfc)?.get(section).map(String::as_str)
    }
}

/// One space between words, and none beside punctuation: a line may have been broken behind a hyphen.
pub(super) fn normal(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        if joins(normal.chars().next_back()) && joins(word.chars().next()) {
            normal.push(' ');
        }
        normal.push_str(word);
    }
    normal
}

/// The sections of an RFC in the form of [`normal`].
fn sections(text: &str) -> BTreeMap<String, String> {
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    for part in parts(text) {
        let section = sections.entry(part.section.to_owned()).or_default();
        for line in part.lines.into_iter().flatten() {
            section.push_str(line);
            section.push('\n');
        }
    }
    sections.values_mut().for_each(|section| *section = normal(section));
    sections
}

/// The sections of an RFC in its order: a heading stands at the margin.
pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    for line in text.lines() {
        let is_page = is_page_line(line);
        if let (false, Some(section)) = (is_page, heading(line)) {
            parts.push(Part { section, lines: Vec::new() });
        }
        if let Some(part) = parts.last_mut() {
            part.lines.push((!is_page).then_some(line));
        }
    }
    parts
}

/// The number in a heading such as `3.8.4.  TCP Keep-Alives`; none for a line of a table of contents.
fn heading(line: &str) -> Option<&str> {
    let line = line.strip_prefix("Appendix ").unwrap_or(line);
    let (id, title) = line.split_once(char::is_whitespace)?;
    let id = id.trim_end_matches([':', '.']);
    let mut parts = id.split('.');
    let first = parts.next()?;
    let is_number = |part: &str| !part.is_empty() && part.len() < 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_letter = first.len() == 1 && first.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_title = !title.trim().is_empty() && !title.contains("....") && !title.contains(". . ");
    (is_title && (is_number(first) || is_letter) && parts.all(is_number)).then_some(id)
}

/// What stands at the head or the foot of a printed page.
fn is_page_line(line: &str) -> bool {
    let line = line.trim_matches('\u{c}');
    line.ends_with(']') && line.contains("[Page ") || is_running_head(line)
}

/// Such as `RFC 793   Transmission Control Protocol   September 1981`; RFC 1122 writes `RFC1122`.
fn is_running_head(line: &str) -> bool {
    let number = line.strip_prefix("RFC").map(str::trim_start);
    number.is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit())) && line.contains("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
1.  Introduction ........ 3

1.  Introduction

   A sender MUST count
   all of its seg-
   ments.

Postel                                                        [Page 1]
\u{c}
RFC 793                 TCP                           September 1981

   And more.

1.2  Deeper

   Below.

Appendix A. Old

   Gone.
";

    #[test]
    fn a_section_is_what_stands_below_its_heading() {
        let sections = sections(TEXT);
        assert_eq!(sections.keys().collect::<Vec<_>>(), ["1", "1.2", "A"]);
        assert!(sections["1"].ends_with("MUST count all of its seg-ments.And more."), "{}", sections["1"]);
        assert_eq!(sections["1.2"], "1.2 Deeper Below.");
        assert_eq!(sections["A"], "Appendix A.Old Gone.");
    }

    #[test]
    fn words_are_found_whatever_the_spaces_between_them() {
        let rfcs = Rfcs::load(&Tree::of([("stack/proto/spec/rfc1.txt", TEXT)]));
        assert_eq!(rfcs.contains("rfc1", "1", "MUST  count all"), Found::Yes);
        assert_eq!(rfcs.contains("rfc1", "1", "seg- ments. And more."), Found::Yes);
        assert_eq!(rfcs.contains("rfc1", "1", "MUST countall"), Found::NoWords);
        assert_eq!(rfcs.contains("rfc1", "1", "Below."), Found::NoWords);
        assert_eq!(rfcs.contains("rfc1", "3", "Below."), Found::NoSection);
        assert_eq!(rfcs.contains("rfc2", "1", "Below."), Found::NoText);
    }
}
