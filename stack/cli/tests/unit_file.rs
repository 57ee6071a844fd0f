//! `configs/corelane-setup-helper.service`: what it grants is what the code asks for, and systemd understands it.

mod unit;

use corelane::runtime::NEEDED_CAPABILITIES;
use std::collections::BTreeSet;
use std::path::Path;
use unit::Unit;

fn helper() -> Unit {
    Unit {
        configs: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs"),
        file: "corelane-setup-helper.service",
        installed: "/usr/local/bin/corelane",
        built: env!("CARGO_BIN_EXE_corelane"),
    }
}

#[test]
fn it_grants_what_the_set_up_needs_and_giving_the_socket_away() {
    let mut needed: BTreeSet<String> = NEEDED_CAPABILITIES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    needed.insert("CAP_CHOWN".to_owned());
    assert_eq!(helper().words("CapabilityBoundingSet"), needed);
    assert_eq!(helper().value("NoNewPrivileges"), "yes");
    for family in ["AF_XDP", "AF_NETLINK", "AF_UNIX"] {
        assert!(helper().words("RestrictAddressFamilies").contains(family), "{family}");
    }
}

#[test]
fn its_socket_is_in_the_folder_that_systemd_makes() {
    let folder = format!("/run/{}/", helper().value("RuntimeDirectory"));
    assert!(helper().words("ExecStart").iter().any(|word| word.starts_with(&folder)), "{folder}");
}

#[test]
fn its_command_line_is_one() {
    helper().expect_command_line();
}

#[test]
fn systemd_understands_it() {
    helper().expect_systemd_to_understand();
}
