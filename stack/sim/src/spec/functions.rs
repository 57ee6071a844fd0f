//! The test functions of a source file, with the lines at which a citation belongs to one of them.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// A function under `#[test]`, in a macro (as proptest's) or outside of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TestFunction {
    /// Its name.
    pub(super) name: String,
    /// From the first of the comments above its attributes to its last brace.
    pub(super) lines: RangeInclusive<usize>,
}

/// Every test function in `text`; none when it isn't Rust.
pub(super) fn tests(text: &str) -> Vec<TestFunction> {
    let mut found = Vec::new();
    if let Ok(tokens) = text.parse::<TokenStream>() {
        collect(tokens, &mut found);
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for test in &mut found {
        let first = *test.lines.start();
        let is_comment = |line: &&&str| line.starts_with("//");
        let comments = lines.iter().take(first - 1).rev().take_while(is_comment).count();
        test.lines = first - comments..=*test.lines.end();
    }
    found
}

/// The lines that begin inside a literal: what looks like a comment there is none.
pub(super) fn literal_lines(text: &str) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    if let Ok(tokens) = text.parse::<TokenStream>() {
        literals(tokens, &mut lines);
    }
    lines
}

fn literals(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    for tree in tokens {
        match tree {
            TokenTree::Group(group) => literals(group.stream(), lines),
            TokenTree::Literal(literal) => lines.extend(literal.span().start().line + 1..=literal.span().end().line),
            _ => {}
        }
    }
}

fn collect(tokens: TokenStream, found: &mut Vec<TestFunction>) {
    // Where the attributes of the item began, whether one of them is `test`, and the function's name once it is known.
    let (mut first, mut is_test, mut name) = (None, false, None);
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                first.get_or_insert(punct.span().start().line);
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => (first, is_test, name) = (None, false, None),
            TokenTree::Ident(ident) if ident == "fn" => {
                if let Some(TokenTree::Ident(next)) = trees.get(at + 1) {
                    name = Some(next.to_string());
                }
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
                is_test |= is_test_attribute(group.stream());
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                if let (Some(first), true, Some(name)) = (first, is_test, name.take()) {
                    found.push(TestFunction { name, lines: first..=group.span_close().end().line });
                } else {
                    collect(group.stream(), found);
                }
                (first, is_test, name) = (None, false, None);
            }
            _ => {}
        }
    }
}

/// `test`, or a path that ends with it.
fn is_test_attribute(attribute: TokenStream) -> bool {
    let last = attribute.into_iter().take_while(|tree| !matches!(tree, TokenTree::Group(_))).last();
    matches!(last, Some(TokenTree::Ident(ident)) if ident == "test")
}

#[cfg(test)]
mod unit {
    use super::*;

    fn found(text: &str) -> Vec<(String, usize, usize)> {
        tests(text).into_iter().map(|test| (test.name, *test.lines.start(), *test.lines.end())).collect()
    }

    #[test]
    fn a_test_goes_from_its_comments_to_its_last_brace() {
        let text =
            "fn a() {}\n\n//= x\n/// Doc.\n#[expect(dead_code)]\n#[test]\nfn b() {\n    c(\"}\");\n}\nfn d() {}\n";
        assert_eq!(found(text), [("b".to_owned(), 3, 9)]);
    }

    #[test]
    fn lines_of_a_literal_are_no_comments() {
        let lines = literal_lines("const A: &str = \"\\\n//= x\n\";\n//= y\nfn f() { g(\"one\", r\"\n\") }\n");
        assert_eq!(lines.into_iter().collect::<Vec<_>>(), [2, 3, 6]);
    }

    #[test]
    fn tests_are_found_in_modules_and_in_macros() {
        let text =
            "#[cfg(test)]\nmod tests {\n    proptest! {\n        #[test]\n        fn p(x in 0..1) { y }\n    }\n}\n";
        assert_eq!(found(text), [("p".to_owned(), 4, 5)]);
        assert_eq!(found("#[test_case(1)]\nfn a() {}\nfn test() {}\n#[cfg(test)]\nfn c() {}"), []);
    }
}
