//! The paths that stand in a source file. They are read from its tokens, so that those inside macros and function
//! bodies count as well as `use` lines.

use crate::source::Source;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path as it stands in the tokens: `parts` are its names, `within` the inline modules around it.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct UsedPath {
    pub(crate) parts: Vec<String>,
    pub(crate) within: Vec<String>,
    pub(crate) line: usize,
}

impl UsedPath {
    /// As it stands in a `use` line.
    pub(crate) fn text(&self) -> String {
        self.parts.join("::")
    }
}

/// Every path in the code of `source` that is not test code.
pub(crate) fn paths_of(source: &Source) -> Vec<UsedPath> {
    let mut found = Vec::new();
    collect(source.tokens.clone(), &[], &mut found);
    found.retain(|path| !source.is_test_line(path.line));
    found
}

fn collect(tokens: TokenStream, within: &[String], found: &mut Vec<UsedPath>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < trees.len() {
        match &trees[at] {
            TokenTree::Ident(ident) if ident == "mod" => {
                let inner = match (trees.get(at + 1), trees.get(at + 2)) {
                    (Some(TokenTree::Ident(name)), Some(TokenTree::Group(group))) => Some((name, group)),
                    _ => None,
                };
                at += 1;
                if let Some((name, group)) = inner {
                    let within = [within, &[name.to_string()]].concat();
                    collect(group.stream(), &within, found);
                    at += 2;
                }
            }
            TokenTree::Ident(ident) if ident == "pub" && is_visibility(trees.get(at + 1)) => at += 2,
            TokenTree::Ident(_) => at = path(&trees, at, &[], within, found),
            TokenTree::Group(group) => {
                collect(group.stream(), within, found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads the path that begins at `trees[at]` behind `prefix`; answers where it ends.
fn path(trees: &[TokenTree], mut at: usize, prefix: &[String], within: &[String], found: &mut Vec<UsedPath>) -> usize {
    let line = trees[at].span().start().line;
    let mut parts = prefix.to_vec();
    loop {
        match trees.get(at) {
            Some(TokenTree::Ident(ident)) => parts.push(ident.to_string()),
            // `a::{b, c::d}`: each of them is a path of its own.
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let mut next = 0;
                while next < inner.len() {
                    next = match &inner[next] {
                        TokenTree::Ident(ident) if ident == "as" => next + 2,
                        TokenTree::Ident(_) => path(&inner, next, &parts, within, found),
                        _ => next + 1,
                    };
                }
                return at + 1;
            }
            // `a::*`, `a::<T>`: the path so far is what matters.
            _ => break,
        }
        at += 1;
        if !is_path_separator(trees, at) {
            break;
        }
        at += 2;
    }
    found.push(UsedPath { parts, within: within.to_vec(), line });
    at
}

fn is_path_separator(trees: &[TokenTree], at: usize) -> bool {
    let colon = |tree: Option<&TokenTree>| matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    colon(trees.get(at)) && colon(trees.get(at + 1))
}

/// Whether it is the `(crate)` of `pub(crate)` and the like, which imports nothing.
fn is_visibility(tree: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = tree else { return false };
    let words: Vec<String> = group.stream().into_iter().map(|tree| tree.to_string()).collect();
    group.delimiter() == Delimiter::Parenthesis
        && match words.first().map(String::as_str) {
            Some("crate" | "super" | "self") => words.len() == 1,
            Some("in") => true,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Repo;

    fn found(text: &str) -> Vec<String> {
        let repo = Repo::sample(&[("a/src/x.rs", text)]);
        let paths = repo.source("a/src/x.rs").map(paths_of).unwrap_or_default();
        paths.iter().filter(|path| path.parts.len() > 1).map(UsedPath::text).collect()
    }

    #[test]
    fn paths_are_read_wherever_they_stand() {
        assert_eq!(found("use a::{b, c::{d, e as f}, g::*};"), ["a::b", "a::c::d", "a::c::e", "a::g"]);
        assert_eq!(found("fn f(x: a::B<c::D>) -> e::F { g::h::<i::J>() }"), ["a::B", "c::D", "e::F", "g::h", "i::J"]);
        assert_eq!(found("fn f() { assert!(matches!(x, a::B { .. })); }"), ["a::B"]);
        assert_eq!(found("pub(in crate::a) fn f() { \"a::b\"; /* a::b */ }"), [""; 0]);
    }

    #[test]
    fn a_path_knows_the_modules_around_it() {
        let repo = Repo::sample(&[("a/src/x.rs", "mod m {\n    pub(super) fn f() { a::b() }\n}")]);
        let paths = repo.source("a/src/x.rs").map(paths_of).unwrap_or_default();
        let path = paths.iter().find(|path| path.text() == "a::b");
        assert_eq!(path.map(|path| (path.within.clone(), path.line)), Some((vec!["m".to_owned()], 2)));
    }
}
