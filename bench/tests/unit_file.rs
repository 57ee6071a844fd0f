//! `configs/corelane-bench.service`: what it grants is what the code asks for, and systemd understands it.

#[path = "../../stack/cli/tests/unit/mod.rs"]
mod unit;

use corelane::runtime::NEEDED_CAPABILITIES;
use std::collections::BTreeSet;
use std::path::Path;
use unit::Unit;

fn server() -> Unit {
    Unit {
        configs: Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs"),
        file: "corelane-bench.service",
        installed: "/usr/local/bin/corelane-bench",
        built: env!("CARGO_BIN_EXE_corelane-bench"),
    }
}

#[test]
fn it_grants_the_capabilities_that_the_set_up_needs_and_no_others() {
    let unit = server();
    let needed: BTreeSet<String> = NEEDED_CAPABILITIES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert_eq!(unit.words(key), needed, "{key}");
    }
    for (key, value) in [("NoNewPrivileges", "yes"), ("DynamicUser", "yes"), ("LimitMEMLOCK", "infinity")] {
        assert_eq!(unit.value(key), value, "{key}");
    }
    for family in ["AF_XDP", "AF_NETLINK"] {
        assert!(unit.words("RestrictAddressFamilies").contains(family), "{family}");
    }
    assert!(unit.words("SystemCallFilter").contains("bpf"));
}

#[test]
fn its_command_line_is_one() {
    server().expect_command_line();
}

#[test]
fn systemd_understands_it() {
    server().expect_systemd_to_understand();
}
