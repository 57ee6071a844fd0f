//! How long files and functions may be, and the ratchet for those that are longer.

use crate::source::{Finding, Repo, Source};
use std::collections::BTreeMap;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Lines of a file without its tests. Citations are not counted, here and below.
const FILE: usize = 800;
/// Lines of a `mod.rs` without its tests: a parent says how its children go together and leaves the rest to them.
const PARENT: usize = 600;
/// Lines of a function, from its signature to its last brace.
const FUNCTION: usize = 70;
/// What stands for the whole file in the ratchet.
const WHOLE: &str = "-";

const RATCHET: &str = "stack/tests/tidy/ratchet.txt";

/// Everything that is over its limit and not in the ratchet, and every line of the ratchet that is not exact.
pub(crate) fn check(repo: &Repo, ratchet: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut over = BTreeMap::new();
    for source in repo.sources() {
        measure(source, &mut over);
    }
    for (number, line) in (1..).zip(ratchet.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        findings.extend(check_entry(line, &mut over).map(|what| Finding::new(RATCHET, number, what)));
    }
    findings.extend(over.into_iter().map(|((path, name), item)| {
        let what = if name == WHOLE { "the file".to_owned() } else { format!("function {name}") };
        Finding::new(&path, item.line, format!("{what} has {} lines, {} at most", item.lines, item.limit))
    }));
    findings
}

/// Something that is over its limit.
struct Over {
    line: usize,
    lines: usize,
    limit: usize,
}

/// What is wrong with a line of the ratchet. What it lists is taken out of `over`.
fn check_entry(line: &str, over: &mut BTreeMap<(String, String), Over>) -> Option<String> {
    let mut words = line.split_whitespace();
    let (Some(path), Some(name), Some(lines), Some(_reason)) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Some("a line is: path function lines reason".to_owned());
    };
    let Ok(listed) = lines.parse::<usize>() else { return Some(format!("\"{lines}\" is not a number of lines")) };
    let Some(item) = over.remove(&(path.to_owned(), name.to_owned())) else {
        return Some(format!("{path} {name} is not over its limit any more: remove the line"));
    };
    match item.lines {
        actual if actual < listed => Some(format!("{path} {name} has only {actual} lines now: lower {listed} to that")),
        actual if actual > listed => Some(format!("{path} {name} has grown from {listed} lines to {actual}")),
        _ => None,
    }
}

fn measure(source: &Source, over: &mut BTreeMap<(String, String), Over>) {
    let limit = if source.path.ends_with("/mod.rs") { PARENT } else { FILE };
    let lines = source.code_lines();
    if lines > limit {
        over.insert((source.path.clone(), WHOLE.to_owned()), Over { line: 1, lines, limit });
    }
    let mut functions = Functions::default();
    functions.visit_file(&source.file);
    for (name, line, lines) in functions.found {
        let lines = lines - source.citation_lines(line..=line + lines - 1, true);
        let item = Over { line, lines, limit: FUNCTION };
        let longest = over.get(&(source.path.clone(), name.clone())).map_or(FUNCTION, |other| other.lines);
        if lines > longest {
            over.insert((source.path.clone(), name), item);
        }
    }
}

/// Each function's name, first line and length.
#[derive(Default)]
struct Functions {
    of_type: Option<String>,
    found: Vec<(String, usize, usize)>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, end: proc_macro2::Span) {
        let name = match &self.of_type {
            Some(of_type) => format!("{of_type}::{}", signature.ident),
            None => signature.ident.to_string(),
        };
        let (first, last) = (signature.span().start().line, end.end().line);
        self.found.push((name, first, last - first + 1));
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.add(&item.sig, item.block.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.add(&item.sig, item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block.span());
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        let outer = std::mem::replace(&mut self.of_type, name);
        visit::visit_item_impl(self, item);
        self.of_type = outer;
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        let outer = self.of_type.replace(item.ident.to_string());
        visit::visit_item_trait(self, item);
        self.of_type = outer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)], ratchet: &str) -> Vec<String> {
        check(&Repo::sample(files), ratchet).iter().map(ToString::to_string).collect()
    }

    fn function(name: &str, lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let constants = |count: usize| "const A: u8 = 0;\n".repeat(count);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", constants(500));
        assert!(found(&[("a/src/x.rs", &(constants(800) + &tests))], "").is_empty());
        assert_eq!(
            found(&[("a/src/x.rs", &constants(801))], ""),
            ["a/src/x.rs:1: the file has 801 lines, 800 at most"]
        );
        assert_eq!(
            found(&[("a/src/mod.rs", &constants(601))], ""),
            ["a/src/mod.rs:1: the file has 601 lines, 600 at most"]
        );
        assert!(found(&[("a/tests/x.rs", &constants(2000))], "").is_empty());
    }

    #[test]
    fn a_long_function_is_found_wherever_it_stands() {
        assert!(found(&[("a/src/x.rs", &function("f", 70))], "").is_empty());
        let free = function("f", 71);
        assert_eq!(found(&[("a/src/x.rs", &free)], ""), ["a/src/x.rs:1: function f has 71 lines, 70 at most"]);
        let method = format!("impl<T> a::S<T> {{\n{free}}}\n");
        assert_eq!(found(&[("a/src/x.rs", &method)], ""), ["a/src/x.rs:2: function S::f has 71 lines, 70 at most"]);
        let default = format!("trait T {{\n{free}}}\n");
        assert_eq!(found(&[("a/src/x.rs", &default)], ""), ["a/src/x.rs:2: function T::f has 71 lines, 70 at most"]);
        let inner = format!("mod m {{\n{free}}}\n");
        assert_eq!(found(&[("a/src/x.rs", &inner)], "").len(), 1);
    }

    #[test]
    fn the_ratchet_lets_through_what_it_lists_exactly() {
        let long = function("f", 80);
        let files = [("a/src/x.rs", long.as_str())];
        assert!(found(&files, "# why\n\na/src/x.rs f 80 one table\n").is_empty());
        let shorter = "stack/tests/tidy/ratchet.txt:1: a/src/x.rs f has only 80 lines now: lower 90 to that";
        assert_eq!(found(&files, "a/src/x.rs f 90 one table"), [shorter]);
        let grown = "stack/tests/tidy/ratchet.txt:1: a/src/x.rs f has grown from 75 lines to 80";
        assert_eq!(found(&files, "a/src/x.rs f 75 one table"), [grown]);
        let gone = "stack/tests/tidy/ratchet.txt:1: a/src/x.rs f is not over its limit any more: remove the line";
        assert_eq!(found(&[("a/src/x.rs", &function("f", 60))], "a/src/x.rs f 80 one table"), [gone]);
    }

    #[test]
    fn a_line_of_the_ratchet_needs_a_number_and_a_reason() {
        let long = function("f", 80);
        let files = [("a/src/x.rs", long.as_str())];
        assert!(found(&files, "a/src/x.rs f 80").iter().any(|what| what.contains("path function lines reason")));
        assert!(found(&files, "a/src/x.rs f many reasons").iter().any(|what| what.contains("not a number")));
    }
}
