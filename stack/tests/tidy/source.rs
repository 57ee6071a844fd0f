//! The repo's files, and of each Rust file: its syntax, its tokens, and which of its lines are test code.

use proc_macro2::TokenStream;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Something that breaks a rule.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Every file of the repo by its path from the root.
pub(crate) struct Repo {
    files: BTreeMap<String, Vec<u8>>,
    sources: BTreeMap<String, Source>,
}

/// A Rust file.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) file: syn::File,
    pub(crate) tokens: TokenStream,
    /// Whether all of it is test code.
    is_test: bool,
    /// The lines of the items under `#[cfg(test)]`.
    test_lines: Vec<RangeInclusive<usize>>,
}

impl Repo {
    /// The checkout that this test was compiled from.
    pub(crate) fn load() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repo");
        let mut files = BTreeMap::new();
        walk(root, root, &mut files);
        Self::from_files(files)
    }

    /// A repo made of `files`, for the tests of the rules.
    pub(crate) fn sample(files: &[(&str, &str)]) -> Self {
        Self::from_files(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect())
    }

    fn from_files(files: BTreeMap<String, Vec<u8>>) -> Self {
        let mut sources = BTreeMap::new();
        for (path, bytes) in files.iter().filter(|(path, _)| path.ends_with(".rs")) {
            let text = String::from_utf8(bytes.clone()).unwrap_or_else(|_| panic!("{path} is not UTF-8"));
            let source = Source::new(path, text).unwrap_or_else(|error| panic!("{path} is not Rust: {error}"));
            sources.insert(path.clone(), source);
        }
        mark_test_modules(&mut sources);
        Self { files, sources }
    }

    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// The file at `path`.
    pub(crate) fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// The text at `path`; empty when there is no such file.
    pub(crate) fn text(&self, path: &str) -> &str {
        self.bytes(path).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Every file.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// Every Rust file.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.values()
    }

    /// The Rust file at `path`.
    pub(crate) fn source(&self, path: &str) -> Option<&Source> {
        self.sources.get(path)
    }
}

fn walk(root: &Path, dir: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in dir.read_dir().unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("a directory entry").path();
        let name = path.file_name().unwrap_or_default();
        if path.is_symlink() || name == ".git" || name == "target" {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, files);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let relative = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            files.insert(relative, bytes);
        }
    }
}

impl Source {
    fn new(path: &str, text: String) -> syn::Result<Self> {
        let file = syn::parse_file(&text)?;
        let tokens = text.parse()?;
        let is_test = path.split('/').any(|part| matches!(part, "tests" | "tests.rs"));
        let mut finder = TestItems::default();
        finder.visit_file(&file);
        Ok(Self { path: path.to_owned(), text, file, tokens, is_test, test_lines: finder.lines })
    }

    /// Whether the line (from 1) is test code.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.is_test || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// How many lines are neither test code nor citations.
    pub(crate) fn code_lines(&self) -> usize {
        let count = self.text.lines().count();
        (1..=count).filter(|line| !self.is_test_line(*line)).count() - self.citation_lines(1..=count, false)
    }

    /// How many of `lines` (from 1) are citations; of those in test code only if `tests` says so. A citation is the
    /// words of an RFC (`//=` and `//#`), which make code longer but not harder.
    pub(crate) fn citation_lines(&self, lines: RangeInclusive<usize>, tests: bool) -> usize {
        let is_citation = |text: &str| text.trim_start().starts_with("//= ") || text.trim_start().starts_with("//# ");
        let numbered = (1..).zip(self.text.lines()).filter(|(line, text)| lines.contains(line) && is_citation(text));
        numbered.filter(|(line, _)| tests || !self.is_test_line(*line)).count()
    }
}

/// The lines of the items under `#[cfg(test)]`, and the modules among them that lie in files of their own.
#[derive(Default)]
struct TestItems {
    lines: Vec<RangeInclusive<usize>>,
    modules: BTreeSet<String>,
}

impl<'a> Visit<'a> for TestItems {
    fn visit_item(&mut self, item: &'a syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !attributes.iter().any(is_cfg_test) {
            return visit::visit_item(self, item);
        }
        let span = item.span();
        self.lines.push(span.start().line..=span.end().line);
        if let syn::Item::Mod(module) = item
            && module.content.is_none()
        {
            self.modules.insert(module.ident.to_string());
        }
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
}

/// A file that is a module under `#[cfg(test)]` is test code from its first line on, and so are the files below it.
fn mark_test_modules(sources: &mut BTreeMap<String, Source>) {
    let mut roots = Vec::new();
    for source in sources.values() {
        let mut finder = TestItems::default();
        finder.visit_file(&source.file);
        let dir = module_dir(&source.path);
        roots.extend(finder.modules.iter().map(|name| format!("{dir}/{name}")));
    }
    for source in sources.values_mut() {
        let stem = source.path.trim_end_matches(".rs");
        source.is_test |= roots.iter().any(|root| stem == root || stem.starts_with(&format!("{root}/")));
    }
}

/// Where the child modules of the module in `path` lie.
fn module_dir(path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => dir.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_code_is_told_from_code() {
        let repo = Repo::sample(&[
            ("a/src/lib.rs", "mod x;\n#[cfg(test)]\nmod help;\n\n#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n"),
            ("a/src/help.rs", "fn f() {}\n"),
            ("a/src/help/deep.rs", "fn f() {}\n"),
            ("a/src/x.rs", "//= spec/a.txt#section-1\n//# b\n#[cfg(not(test))]\nfn f() {}\n"),
            ("a/tests/y.rs", "fn f() {}\n"),
        ]);
        let lines = |path: &str| repo.source(path).map(Source::code_lines);
        assert_eq!(lines("a/src/lib.rs"), Some(2));
        assert_eq!(lines("a/src/help.rs"), Some(0));
        assert_eq!(lines("a/src/help/deep.rs"), Some(0));
        assert_eq!(lines("a/src/x.rs"), Some(2));
        assert_eq!(lines("a/tests/y.rs"), Some(0));
    }
}
