//! `configs/corelane-bench.service`: what it grants is what the code asks for, and systemd understands it.

use corelane::runtime::NEEDED_CAPABILITIES;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/corelane-bench.service")
}

fn text() -> String {
    std::fs::read_to_string(path()).expect("the unit is there")
}

/// The value of the one line that sets `key`.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("{key} is not set"));
    assert_eq!(values.next(), None, "{key} is set twice");
    value
}

#[test]
fn it_grants_the_capabilities_that_the_set_up_needs_and_no_others() {
    let unit = text();
    let needed: BTreeSet<&str> = NEEDED_CAPABILITIES.iter().map(|(name, ..)| *name).collect();
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert_eq!(value(&unit, key).split_whitespace().collect::<BTreeSet<_>>(), needed, "{key}");
    }
    assert_eq!((value(&unit, "NoNewPrivileges"), value(&unit, "DynamicUser")), ("yes", "yes"));
    assert_eq!(value(&unit, "LimitMEMLOCK"), "infinity");
    let families: Vec<&str> = value(&unit, "RestrictAddressFamilies").split_whitespace().collect();
    assert!(families.contains(&"AF_XDP") && families.contains(&"AF_NETLINK"), "{families:?}");
    assert!(value(&unit, "SystemCallFilter").split_whitespace().any(|call| call == "bpf"));
}

#[test]
fn its_command_line_is_one() {
    let unit = text();
    let mut words = value(&unit, "ExecStart").split_whitespace();
    assert_eq!(words.next(), Some("/usr/local/bin/corelane-bench"));
    // Its own configuration is not there, which is the last thing that is looked at before the interface.
    let ended = Command::new(env!("CARGO_BIN_EXE_corelane-bench")).args(words).output().expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let expected = if Path::new("/etc/corelane/server.toml").exists() { None } else { Some(2) };
    if expected.is_some() {
        assert_eq!(ended.status.code(), expected, "{said}");
        assert!(said.contains("/etc/corelane/server.toml: the file cannot be read"), "{said}");
    }
}

#[test]
fn systemd_understands_it() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let copy = dir.path().join("corelane-bench.service");
    // systemd wants the program to be there.
    let unit = text().replace("/usr/local/bin/corelane-bench", env!("CARGO_BIN_EXE_corelane-bench"));
    std::fs::write(&copy, unit).expect("a file");
    match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output() {
        Ok(ended) => {
            let said = String::from_utf8_lossy(&ended.stderr);
            // Complaints about other units of the machine are not ours.
            let ours: Vec<&str> = said.lines().filter(|line| line.contains("corelane-bench")).collect();
            assert!(ours.is_empty(), "{ours:?}");
        }
        Err(error) => println!("systemd-analyze cannot be run ({error}), so only the other tests look at the unit"),
    }
}
