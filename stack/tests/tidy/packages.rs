//! Rules about packages as wholes: what they depend on, and that they say what they are.

use crate::source::{Finding, Repo};

/// Which packages of this workspace a package may depend on. `cargo` refuses circles; this refuses short cuts.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("corelane-proto", &[]),
    ("corelane-xdp", &[]),
    ("corelane-bpf", &[]),
    ("corelane-sim", &["corelane-proto"]),
    ("corelane-fuzz", &["corelane-proto", "corelane-sim"]),
    ("corelane", &["corelane-bpf", "corelane-proto", "corelane-xdp"]),
    ("corelane-cli", &["corelane", "corelane-bpf"]),
    // Beside the stack it measures what lies below it.
    ("corelane-bench", &["corelane", "corelane-bpf", "corelane-xdp"]),
];

/// What no package but the named one may depend on: each foreign door has one doorkeeper.
const ONLY: &[(&str, &str)] =
    &[("xsk-rs", "corelane-xdp"), ("libxdp-sys", "corelane-xdp"), ("libbpf-rs", "corelane-bpf")];

const README: &str = "README.md";
const EXAMPLE: &str = "stack/examples/echo.rs";
/// The line of the README after which the example's code stands.
const MARK: &str = "<!-- stack/examples/echo.rs -->";

/// The packages' manifests with their paths.
fn manifests(repo: &Repo) -> Vec<(&str, toml::Table)> {
    let parse = |path, bytes| {
        let text = str::from_utf8(bytes).unwrap_or_default();
        (path, text.parse::<toml::Table>().unwrap_or_else(|error| panic!("{path} is not TOML: {error}")))
    };
    let all = repo.files().filter(|(path, _)| path.ends_with("/Cargo.toml"));
    all.map(|(path, bytes)| parse(path, bytes)).filter(|(_, manifest)| manifest.contains_key("package")).collect()
}

fn text<'a>(manifest: &'a toml::Table, key: &str) -> &'a str {
    manifest["package"].get(key).and_then(toml::Value::as_str).unwrap_or_default()
}

/// Every dependency that goes against the tables.
pub(crate) fn dependencies(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, manifest) in manifests(repo) {
        let package = text(&manifest, "name");
        let Some((_, allowed)) = DEPENDENCIES.iter().find(|(name, _)| *name == package) else {
            findings.push(Finding::new(path, 1, format!("{package} has no row in DEPENDENCIES (tidy/packages.rs)")));
            continue;
        };
        let named = ["dependencies", "build-dependencies"].into_iter().filter_map(|key| manifest.get(key)?.as_table());
        for name in named.flat_map(toml::Table::keys) {
            let own = DEPENDENCIES.iter().any(|(package, _)| package == name) && !allowed.contains(&name.as_str());
            let foreign = ONLY.iter().any(|(door, keeper)| door == name && *keeper != package);
            if own || foreign {
                findings.push(Finding::new(path, 1, format!("{package} may not depend on {name}")));
            }
        }
    }
    findings
}

/// Every package that does not say what it is: in its manifest, and at the head of its sources.
pub(crate) fn docs(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, manifest) in manifests(repo) {
        if text(&manifest, "description").is_empty() {
            findings.push(Finding::new(path, 1, "the package has no description"));
        }
        let dir = path.trim_end_matches("Cargo.toml");
        let roots = [format!("{dir}src/lib.rs"), format!("{dir}src/main.rs")];
        for root in roots.iter().filter(|root| repo.bytes(root).is_some()) {
            let head = repo.text(root).lines().next().unwrap_or_default();
            if !head.starts_with("//! ") || head.contains("Placeholder") {
                findings.push(Finding::new(root, 1, "the first line is `//! ` and what this is"));
            }
        }
    }
    for source in repo.sources().filter(|source| source.path.contains("/src/")) {
        if !source.text.starts_with("//! ") {
            findings.push(Finding::new(&source.path, 1, "the first line is `//! ` and what this is"));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// The README's server has to be the one that is compiled.
pub(crate) fn readme_example(repo: &Repo) -> Vec<Finding> {
    let readme = repo.text(README);
    let Some((before, after)) = readme.split_once(MARK) else {
        return vec![Finding::new(README, 1, format!("there is no line {MARK}"))];
    };
    let line = before.lines().count() + 1;
    let shown = after.split_once("```rust\n").and_then(|(_, code)| code.split_once("```")).map(|(code, _)| code);
    let compiled = repo.text(EXAMPLE);
    if shown.is_some() && shown == Some(without_head(compiled)) {
        return Vec::new();
    }
    vec![Finding::new(README, line, format!("the code is not that of {EXAMPLE}"))]
}

/// An example's code without the docs at its head.
fn without_head(text: &str) -> &str {
    let mut rest = text;
    while let Some((line, after)) = rest.split_once('\n')
        && (line.starts_with("//!") || line.is_empty())
    {
        rest = after;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\ndescription = \"x\"\n{rest}")
    }

    #[test]
    fn a_short_cut_between_packages_is_found() {
        let check = |name, rest| dependencies(&Repo::sample(&[("p/Cargo.toml", &manifest(name, rest))])).len();
        assert_eq!(check("corelane", "[dependencies]\ncorelane-proto.workspace = true\n"), 0);
        assert_eq!(check("corelane-proto", "[dependencies]\ncorelane-xdp.workspace = true\n"), 1);
        assert_eq!(check("corelane-bench", "[dependencies]\ncorelane-proto = \"1\"\n"), 1);
        assert_eq!(check("corelane", "[build-dependencies]\nxsk-rs = \"1\"\n"), 1);
        assert_eq!(check("corelane-proto", "[dev-dependencies]\ncorelane-sim = \"1\"\n"), 0);
        assert_eq!(check("corelane-new", ""), 1);
    }

    #[test]
    fn a_package_without_docs_is_found() {
        let check =
            |manifest: &str, lib: &str| docs(&Repo::sample(&[("p/Cargo.toml", manifest), ("p/src/lib.rs", lib)]));
        assert!(check(&manifest("a", ""), "//! What it is.\n").is_empty());
        assert_eq!(check("[package]\nname = \"a\"\n", "//! What it is.\n").len(), 1);
        assert_eq!(check(&manifest("a", ""), "mod x;\n").len(), 1);
        assert_eq!(check(&manifest("a", ""), "//! Placeholder.\n").len(), 1);
        let module = [("p/Cargo.toml", manifest("a", "")), ("p/src/x.rs", "fn f() {}\n".to_owned())];
        assert_eq!(docs(&Repo::sample(&module.each_ref().map(|(path, text)| (*path, text.as_str())))).len(), 1);
    }

    #[test]
    fn a_readme_that_shows_other_code_is_found() {
        let check = |code: &str| {
            let readme = format!("text\n{MARK}\n```rust\n{code}```\nmore\n");
            readme_example(&Repo::sample(&[(README, &readme), (EXAMPLE, "//! Doc.\n\nfn main() {}\n")]))
        };
        assert!(check("fn main() {}\n").is_empty());
        assert_eq!(check("fn main() { }\n").len(), 1);
        assert_eq!(readme_example(&Repo::sample(&[(README, "nothing"), (EXAMPLE, "")])).len(), 1);
        assert_eq!(readme_example(&Repo::sample(&[(README, &format!("{MARK}\n")), (EXAMPLE, "")])).len(), 1);
    }
}
