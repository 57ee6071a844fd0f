//! Names that do not stand in the sources, each with the reason.

use crate::paths::paths_of;
use crate::source::{Finding, Repo, Source};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Macros that are notes to oneself.
const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];
/// Macros that write to somebody else's terminal.
const PRINTING: &[&str] = &["print", "println", "eprint", "eprintln"];
/// Where a program's own code lies: it owns the terminal and the exit code.
const PROGRAMS: &[&str] = &["stack/cli/", "stack/sim/", "stack/examples/", "bench/"];
/// Who may read the clock of `std`: the one place of the stack, and programs that measure.
const CLOCK: &[&str] = &["stack/src/clock.rs", "stack/sim/", "stack/examples/", "bench/"];
/// The one package that may be unsafe, and the files beside it: no crate makes an XDP link in a given mode, and none submits
/// to an `io_uring` safely. Test code may too, under `#[expect]` with its reason.
const UNSAFE: &[&str] = &["stack/xdp/", "bpf/src/link.rs", "bench/src/transport/kernel/ring.rs"];
/// Where people's and machines' folders begin. In two parts, so that this line is not a finding.
const MACHINE_PATHS: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// Every banned name in a Rust file.
pub(crate) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in repo.sources() {
        let mut names = Names { source, findings: &mut findings };
        names.scan(source.tokens.clone());
        names.paths();
    }
    findings.sort();
    findings
}

/// Every path of somebody's machine, in a file of any kind.
pub(crate) fn machine_paths(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, bytes) in repo.files() {
        for word in MACHINE_PATHS {
            let Some(at) = bytes.windows(word.len()).position(|window| window == word.as_bytes()) else { continue };
            let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            findings.push(Finding::new(path, line, format!("{word} is a path of somebody's machine")));
        }
    }
    findings
}

struct Names<'a> {
    source: &'a Source,
    findings: &'a mut Vec<Finding>,
}

impl Names<'_> {
    fn scan(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        for at in 0..trees.len() {
            match &trees[at] {
                TokenTree::Ident(ident) => {
                    let line = ident.span().start().line;
                    self.word(&ident.to_string(), &trees[at + 1..], line);
                }
                TokenTree::Group(group) => {
                    if is_attribute(&trees[..at]) && group.delimiter() == Delimiter::Bracket {
                        self.attribute(group.stream(), group.span_open().start().line);
                    }
                    self.scan(group.stream());
                }
                _ => {}
            }
        }
    }

    fn found(&mut self, line: usize, what: impl Into<String>) {
        self.findings.push(Finding::new(&self.source.path, line, what));
    }

    fn in_program(&self) -> bool {
        within(&self.source.path, PROGRAMS) || is_build_script(&self.source.path)
    }

    /// Functions and types, by the path that leads to them.
    fn paths(&mut self) {
        let paths = paths_of(self.source);
        let has_time = paths.iter().any(|path| path.parts == ["std", "time"] || path.parts == ["std", "time", "self"]);
        for path in paths {
            let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
            match parts.as_slice() {
                ["std", "process", "exit", ..] | ["process", "exit", ..] if !self.in_program() => {
                    self.found(path.line, "process::exit in a library: return an error");
                }
                ["std", "time", clock @ ("Instant" | "SystemTime"), ..] => self.clock(path.line, clock),
                ["time", clock @ ("Instant" | "SystemTime"), ..] if has_time => self.clock(path.line, clock),
                _ => {}
            }
        }
    }

    fn clock(&mut self, line: usize, name: &str) {
        if !within(&self.source.path, CLOCK) {
            self.found(line, format!("std::time::{name}: only stack/src/clock.rs reads the clock"));
        }
    }

    fn word(&mut self, word: &str, after: &[TokenTree], line: usize) {
        let is_macro = is_punct(after.first(), '!') && matches!(after.get(1), Some(TokenTree::Group(_)));
        let is_test = self.source.is_test_line(line);
        if is_macro && UNFINISHED.contains(&word) {
            self.found(line, format!("{word}! marks what is not finished"));
        }
        if is_macro && PRINTING.contains(&word) && !is_test && !self.in_program() {
            self.found(line, format!("{word}! in a library: return it, or let tracing have it"));
        }
        if word == "unsafe" && !is_test && !within(&self.source.path, UNSAFE) {
            self.found(line, format!("unsafe outside {}", UNSAFE.join(" and ")));
        }
    }

    /// An attribute's inside, `allow(...)` and the like; `cfg_attr` may hold one.
    fn attribute(&mut self, inside: TokenStream, line: usize) {
        let trees: Vec<TokenTree> = inside.into_iter().collect();
        for (at, tree) in trees.iter().enumerate() {
            let TokenTree::Ident(name) = tree else { continue };
            match (name.to_string().as_str(), trees.get(at + 1)) {
                ("ignore", _) => self.found(line, "#[ignore]: a test that does not run proves nothing"),
                ("allow" | "expect", Some(TokenTree::Group(group))) if !has_reason(group.stream()) => {
                    self.found(line, format!("#[{name}(...)] without reason = \"...\""));
                }
                ("cfg_attr", Some(TokenTree::Group(group))) => self.attribute(group.stream(), line),
                _ => {}
            }
        }
    }
}

fn within(path: &str, dirs: &[&str]) -> bool {
    dirs.iter().any(|dir| path.starts_with(dir))
}

fn is_build_script(path: &str) -> bool {
    path.ends_with("/build.rs") && !path.contains("/src/")
}

fn is_punct(tree: Option<&TokenTree>, c: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == c)
}

/// Whether what stands before a group is `#` or `#!`.
fn is_attribute(before: &[TokenTree]) -> bool {
    let last = before.last();
    is_punct(last, '#') || (is_punct(last, '!') && before.len() > 1 && is_punct(before.get(before.len() - 2), '#'))
}

fn has_reason(stream: TokenStream) -> bool {
    stream.into_iter().any(|tree| matches!(&tree, TokenTree::Ident(ident) if ident == "reason"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Repo::sample(&[(path, text)])).iter().map(|finding| finding.what.clone()).collect()
    }

    #[test]
    fn what_is_not_finished_is_found_even_in_tests() {
        for path in ["stack/src/x.rs", "stack/tests/x.rs", "bench/src/x.rs"] {
            assert_eq!(found(path, "fn f() { todo!() }"), ["todo! marks what is not finished"]);
            assert_eq!(found(path, "fn f() { g(dbg!(1)); unimplemented!(\"x\") }").len(), 2);
            assert_eq!(found(path, "#[test]\n#[ignore]\nfn f() {}").len(), 1);
            assert_eq!(found(path, "#[test]\n#[ignore = \"slow\"]\nfn f() {}").len(), 1);
        }
        assert!(found("stack/src/x.rs", "fn dbg() { let todo = 1; \"todo!()\"; /* todo!() */ }").is_empty());
    }

    #[test]
    fn libraries_do_not_print_or_exit() {
        for code in ["println!(\"x\")", "eprint!(\"x\")", "std::process::exit(1)"] {
            let text = format!("fn f() {{ {code} }}");
            assert_eq!(found("stack/src/x.rs", &text).len(), 1, "{code}");
            assert_eq!(found("stack/proto/src/x.rs", &text).len(), 1, "{code}");
            assert!(found("stack/cli/src/main.rs", &text).is_empty(), "{code}");
            assert!(found("bpf/build.rs", &text).is_empty(), "{code}");
            let test = format!("#[cfg(test)]\nmod tests {{\n{text}\n}}");
            assert!(found("stack/src/x.rs", &test).is_empty(), "{code}");
        }
    }

    #[test]
    fn one_place_reads_the_clock() {
        for text in [
            "use std::time::Instant;",
            "use std::{io, time::{Duration, Instant}};",
            "use std::time;\nfn f() { time::Instant::now(); }",
        ] {
            assert_eq!(found("stack/src/worker/mod.rs", text).len(), 1, "{text}");
        }
        assert_eq!(found("stack/src/x.rs", "fn f() { std::time::SystemTime::now(); }").len(), 1);
        assert!(found("stack/src/x.rs", "use std::time::Duration; use corelane_proto::time::Instant;").is_empty());
        assert!(found("stack/src/clock.rs", "use std::time::Instant;").is_empty());
    }

    #[test]
    fn unsafe_stays_in_its_package() {
        let text = "fn f() { unsafe { g() } }";
        let places = "stack/xdp/ and bpf/src/link.rs and bench/src/transport/kernel/ring.rs";
        assert_eq!(found("stack/src/x.rs", text), [format!("unsafe outside {places}")]);
        assert_eq!(found("bench/src/x.rs", text).len(), 1);
        assert!(found("stack/xdp/src/x.rs", text).is_empty());
        assert!(found("stack/src/x.rs", "#![forbid(unsafe_code)]").is_empty());
    }

    #[test]
    fn a_lint_is_switched_off_with_a_reason() {
        for text in [
            "#[allow(dead_code)]\nfn f() {}",
            "#![expect(dead_code)]",
            "#[cfg_attr(test, allow(dead_code))]\nfn f() {}",
        ] {
            assert_eq!(found("stack/src/x.rs", text).len(), 1, "{text}");
        }
        assert!(found("stack/src/x.rs", "#[allow(dead_code, reason = \"so\")]\nfn f() {}").is_empty());
        assert!(found("stack/src/x.rs", "fn f() { x.expect(\"y\"); }").is_empty());
    }

    #[test]
    fn paths_of_a_machine_are_found_in_any_file() {
        let text = format!("one\ntwo {}x\n", concat!("/ro", "ot/"));
        let findings = machine_paths(&Repo::sample(&[("README.md", &text), ("LICENSE", "homeward")]));
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].path.as_str(), findings[0].line), ("README.md", 2));
    }
}
