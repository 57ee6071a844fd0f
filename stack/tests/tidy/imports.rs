//! Who may import whom inside a package: `DESIGN` section 2 as tables.
//!
//! Test code may import what it likes.

use crate::paths::{UsedPath, paths_of};
use crate::source::{Finding, Repo, Source};
use std::collections::{BTreeMap, BTreeSet};

/// Inside corelane-proto: what each module of the first level may import, a module or an item of it.
const PROTO: &[(&str, &[&str])] = &[
    ("addr", &[]),
    ("memory", &[]),
    ("time", &[]),
    // It holds frames and hands them on, but `Memory`, which reaches their bytes, is not among what it sees.
    ("tcp", &["time", "memory::Buf", "memory::Token"]),
    // The codec makes tcp's values and is made from them, so that a segment is written down once.
    ("wire", &["addr", "tcp::seq", "tcp::segment"]),
    ("endpoint", &["addr", "memory", "tcp", "time", "wire"]),
];

/// The modules of tcp that hold values only: every machine may import them.
const TCP_VALUES: &[&str] = &["algorithm", "config", "info", "segment", "seq", "state", "transmission"];

/// The spine of tcp: `tcp/mod.rs` and what is split off it, each an `impl Tcb`. It holds the machines and may see all.
const TCP_SPINE: &[&str] = &["acked", "fast_open", "feedback", "output", "spine", "time", "user"];

/// What a package's code may not name at all, by the folder of its sources.
const NEVER: &[(&str, &[&str])] = &[
    ("stack/proto/src/", &["corelane_xdp", "corelane_bpf", "corelane", "std"]),
    ("stack/xdp/src/", &["corelane_proto", "corelane_bpf", "corelane"]),
    ("bpf/src/", &["corelane_proto", "corelane_xdp", "corelane"]),
    ("stack/sim/src/", &["corelane", "corelane_xdp", "corelane_bpf"]),
    ("stack/src/", &["corelane_bench", "corelane_sim"]),
];

const PROTO_SRC: &str = "stack/proto/src/";

/// Every path that goes against the tables.
pub(crate) fn check(repo: &Repo) -> Vec<Finding> {
    let modules = Modules::of(repo, PROTO_SRC);
    let mut findings = Vec::new();
    for source in repo.sources() {
        for path in paths_of(source) {
            let wrong = never(source, &path).or_else(|| modules.proto(source, &path));
            findings.extend(wrong.map(|what| Finding::new(&source.path, path.line, what)));
        }
    }
    findings.extend(modules.without_rule(repo));
    findings.sort();
    findings.dedup();
    findings
}

fn never(source: &Source, path: &UsedPath) -> Option<String> {
    let (_, banned) = NEVER.iter().find(|(dir, _)| source.path.starts_with(dir))?;
    let first = path.parts.first()?;
    // A single name is a variable or a local item; a crate is followed by `::`.
    (path.parts.len() > 1 && banned.contains(&first.as_str())).then(|| format!("{} may not be used here", path.text()))
}

/// A package's modules, and what its root and `tcp` hand on under shorter names.
struct Modules {
    /// Every module as its path from the crate's root.
    all: BTreeSet<Vec<String>>,
    /// `(module, name)` of each `pub use`, with the path that it stands for.
    exports: BTreeMap<(Vec<String>, String), Vec<String>>,
}

impl Modules {
    fn of(repo: &Repo, src: &str) -> Self {
        let mut modules = Self { all: BTreeSet::new(), exports: BTreeMap::new() };
        let own = || repo.sources().filter(|source| source.path.starts_with(src));
        modules.all.extend(own().map(|source| module_of(src, &source.path)));
        for source in own() {
            let here = module_of(src, &source.path);
            for item in &source.file.items {
                if let syn::Item::Use(item) = item
                    && !matches!(item.vis, syn::Visibility::Inherited)
                {
                    modules.export(&here, &mut Vec::new(), &item.tree);
                }
            }
        }
        modules
    }

    fn export(&mut self, here: &[String], prefix: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.export(here, prefix, &path.tree);
                prefix.pop();
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.export(here, prefix, tree)),
            syn::UseTree::Name(name) => self.exported(here, prefix, &name.ident, &name.ident),
            syn::UseTree::Rename(rename) => self.exported(here, prefix, &rename.ident, &rename.rename),
            syn::UseTree::Glob(_) => {}
        }
    }

    fn exported(&mut self, here: &[String], prefix: &[String], name: &syn::Ident, shown: &syn::Ident) {
        let mut path = prefix.to_vec();
        path.push(name.to_string());
        let absolute = self.absolute(here, &path).unwrap_or_else(|| [here, &path].concat());
        self.exports.insert((here.to_vec(), shown.to_string()), absolute);
    }

    /// The path from the crate's root; `None` when it does not begin inside the crate.
    fn absolute(&self, here: &[String], path: &[String]) -> Option<Vec<String>> {
        let mut base = here.to_vec();
        let mut rest = path;
        loop {
            match rest.first().map(String::as_str) {
                Some("crate") => base.clear(),
                Some("self") => {}
                Some("super") => {
                    base.pop();
                }
                // Without any of them it begins at a child module, or outside.
                Some(name) if rest.len() == path.len() => {
                    let child = [here, &[name.to_owned()]].concat();
                    return self.all.contains(&child).then(|| [here, path].concat());
                }
                _ => return Some([&base, rest].concat()),
            }
            rest = &rest[1..];
        }
    }

    /// What `absolute` names, seen through `pub use`, and how much of that is the module that holds it.
    fn home(&self, absolute: &[String]) -> (Vec<String>, usize) {
        let mut path = absolute.to_vec();
        // Each step goes to another name; more of them than there are names is a circle.
        for _ in 0..=self.exports.len() {
            let known = (0..=path.len()).rev().find(|len| self.all.contains(&path[..*len])).unwrap_or(0);
            let (module, rest) = path.split_at(known);
            let target = match rest.first().and_then(|name| self.exports.get(&(module.to_vec(), name.clone()))) {
                Some(target) => [target.as_slice(), &rest[1..]].concat(),
                None => return (path, known),
            };
            path = target;
        }
        (path, 0)
    }

    /// What is wrong with a path inside corelane-proto.
    fn proto(&self, source: &Source, path: &UsedPath) -> Option<String> {
        if !source.path.starts_with(PROTO_SRC) {
            return None;
        }
        let file = module_of(PROTO_SRC, &source.path);
        let here = [file.as_slice(), &path.within].concat();
        let absolute = self.absolute(&here, &path.parts)?;
        // `use super::*` of an inline module stays in the file.
        if absolute.starts_with(&file) && !file.is_empty() {
            return None;
        }
        let (target, known) = self.home(&absolute);
        let from = file.first()?;
        if target.first() != Some(from) {
            let (_, allowed) = PROTO.iter().find(|(module, _)| module == from)?;
            let to = target.join("::");
            let fits = allowed.iter().any(|allowed| to == *allowed || to.starts_with(&format!("{allowed}::")));
            let of = if known == 0 { "the crate's root".to_owned() } else { target[..known].join("::") };
            return (!fits).then(|| format!("{from} may not import {} ({of})", path.text()));
        }
        let target = &target[..known];
        if from == "tcp" { machine(&file[1..], &target[1..], &path.text()) } else { None }
    }

    /// The modules of the first level that the table has no row for.
    fn without_rule(&self, repo: &Repo) -> Vec<Finding> {
        let missing = |module: &&Vec<String>| module.len() == 1 && !PROTO.iter().any(|(name, _)| *name == module[0]);
        let path = "stack/tests/tidy/imports.rs";
        let found = self.all.iter().filter(missing).map(|module| {
            Finding::new(path, 1, format!("PROTO has no row for the module {}: say what it may import", module[0]))
        });
        let stale = PROTO.iter().filter(|(name, _)| !self.all.contains(&vec![(*name).to_owned()]));
        let stale = stale.map(|(name, _)| Finding::new(path, 1, format!("PROTO has a row for {name}, which is gone")));
        if repo.source("stack/proto/src/lib.rs").is_some() { found.chain(stale).collect() } else { Vec::new() }
    }
}

/// Inside tcp: the spine holds the machines; a machine sees values, its own children and its parents below tcp, but
/// neither the spine nor another machine.
fn machine(from: &[String], to: &[String], text: &str) -> Option<String> {
    let machine = from.first()?;
    if TCP_SPINE.contains(&machine.as_str()) {
        return None;
    }
    match to.first() {
        None => Some(format!("tcp::{machine} may not import {text} from its parent")),
        Some(value) if TCP_VALUES.contains(&value.as_str()) => None,
        Some(_) if to.starts_with(from) || from.starts_with(to) => None,
        Some(part) if TCP_SPINE.contains(&part.as_str()) => {
            Some(format!("tcp::{} may not import the spine, {text}", from.join("::")))
        }
        Some(_) => Some(format!("tcp::{} may not import another machine, {text}", from.join("::"))),
    }
}

/// The module that `file` below `src` is, as its path from the crate's root.
fn module_of(src: &str, file: &str) -> Vec<String> {
    let inner = file.trim_start_matches(src).trim_end_matches(".rs");
    let mut parts: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proto of the usual modules in which `path` holds `text`.
    fn found(path: &str, text: &str) -> Vec<String> {
        let mut files: BTreeMap<&str, &str> = [
            ("stack/proto/src/lib.rs", "pub use time::Instant; pub use endpoint::Endpoint; pub use memory::Buf;"),
            ("stack/proto/src/addr.rs", ""),
            ("stack/proto/src/memory.rs", ""),
            ("stack/proto/src/time.rs", ""),
            ("stack/proto/src/endpoint/mod.rs", ""),
            ("stack/proto/src/wire/mod.rs", ""),
            ("stack/proto/src/tcp/mod.rs", "pub use seq::Seq; pub struct Tcb;"),
            ("stack/proto/src/tcp/seq.rs", ""),
            ("stack/proto/src/tcp/segment.rs", ""),
            ("stack/proto/src/tcp/recv/mod.rs", "pub struct Range;"),
            ("stack/proto/src/tcp/recv/window.rs", ""),
            ("stack/proto/src/tcp/recv/ack.rs", ""),
            ("stack/proto/src/tcp/send/mod.rs", ""),
            ("stack/proto/src/tcp/output.rs", ""),
        ]
        .into();
        files.insert(path, text);
        let files: Vec<_> = files.into_iter().collect();
        check(&Repo::sample(&files)).iter().map(|finding| finding.what.clone()).collect()
    }

    fn allowed(path: &str, text: &str) {
        assert_eq!(found(path, text), Vec::<String>::new(), "{text} in {path}");
    }

    fn refused(path: &str, text: &str, what: &str) {
        assert_eq!(found(path, text), [what], "{text} in {path}");
    }

    #[test]
    fn layers_of_proto_import_downwards() {
        allowed("stack/proto/src/endpoint/mod.rs", "use crate::{tcp::Tcb, wire, addr, memory, time};");
        allowed("stack/proto/src/wire/mod.rs", "use crate::tcp::{seq::Seq, segment::Segment}; use crate::addr::Addr;");
        allowed("stack/proto/src/tcp/seq.rs", "use crate::Instant; use core::fmt;");
        allowed("stack/proto/src/tcp/mod.rs", "use crate::Buf; use crate::memory::{Buf as B, Token};");
        let bytes = "tcp may not import crate::memory::Memory (memory)";
        refused("stack/proto/src/tcp/mod.rs", "use crate::memory::Memory;", bytes);
        refused("stack/proto/src/wire/mod.rs", "use crate::tcp::Tcb;", "wire may not import crate::tcp::Tcb (tcp)");
        refused(
            "stack/proto/src/wire/mod.rs",
            "use crate::memory::Buf;",
            "wire may not import crate::memory::Buf (memory)",
        );
        refused("stack/proto/src/tcp/mod.rs", "use crate::addr::Addr;", "tcp may not import crate::addr::Addr (addr)");
        refused("stack/proto/src/time.rs", "use crate::addr;", "time may not import crate::addr (addr)");
        let through_the_root = "tcp may not import crate::Endpoint (endpoint)";
        refused("stack/proto/src/tcp/mod.rs", "use crate::Endpoint;", through_the_root);
    }

    #[test]
    fn a_path_without_use_counts_too() {
        let what = "tcp may not import crate::wire::parse (wire)";
        refused("stack/proto/src/tcp/mod.rs", "fn f() { crate::wire::parse() }", what);
        refused("stack/proto/src/tcp/mod.rs", "fn f() { assert!(crate::wire::parse()) }", what);
        let what = "tcp may not import super::super::wire::parse (wire)";
        refused("stack/proto/src/tcp/mod.rs", "mod a { fn f() { super::super::wire::parse() } }", what);
        allowed("stack/proto/src/tcp/mod.rs", "#[cfg(test)]\nmod tests {\n use crate::wire;\n}");
    }

    #[test]
    fn machines_of_tcp_do_not_see_each_other() {
        allowed("stack/proto/src/tcp/recv/window.rs", "use crate::tcp::seq::Seq; use super::super::Seq as S;");
        allowed("stack/proto/src/tcp/recv/mod.rs", "use self::window::W; use ack::A;");
        allowed("stack/proto/src/tcp/recv/window.rs", "use super::Range;");
        allowed("stack/proto/src/tcp/mod.rs", "use recv::window::W; use crate::tcp::send;");
        let sibling = "tcp::recv::window may not import another machine, super::ack::Ack";
        refused("stack/proto/src/tcp/recv/window.rs", "use super::ack::Ack;", sibling);
        let other = "tcp::recv::window may not import another machine, crate::tcp::send";
        refused("stack/proto/src/tcp/recv/window.rs", "use crate::tcp::send;", other);
        let parent = "tcp::recv may not import super::super::Tcb from its parent";
        refused("stack/proto/src/tcp/recv/window.rs", "use super::super::Tcb;", parent);
        allowed("stack/proto/src/tcp/output.rs", "use super::{Tcb, recv, send}; use crate::tcp::recv::window::W;");
        let spine = "tcp::recv::window may not import the spine, crate::tcp::output::emit";
        refused("stack/proto/src/tcp/recv/window.rs", "use crate::tcp::output::emit;", spine);
        let glob = "tcp::send may not import super from its parent";
        refused("stack/proto/src/tcp/send/mod.rs", "use super::*;", glob);
    }

    #[test]
    fn packages_do_not_name_those_above_them() {
        refused("stack/proto/src/addr.rs", "use std::time::Instant;", "std::time::Instant may not be used here");
        refused("stack/xdp/src/lib.rs", "use corelane_proto::Addr;", "corelane_proto::Addr may not be used here");
        refused("bpf/src/lib.rs", "fn f() { corelane::run() }", "corelane::run may not be used here");
        allowed("stack/src/lib.rs", "use corelane_proto::Addr; use std::time;");
    }

    #[test]
    fn a_new_module_needs_a_row() {
        let what = "PROTO has no row for the module quic: say what it may import";
        refused("stack/proto/src/quic.rs", "", what);
    }
}
