//! The command as a person meets it: output, errors, exit codes.

use snapbox::cmd::Command;
use snapbox::{file, str};
use std::path::PathBuf;

fn corelane() -> Command {
    Command::new(snapbox::cmd::cargo_bin!("corelane")).env("NO_COLOR", "1")
}

/// A file of its own for each test.
fn config(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("a file for the test");
    (dir, path)
}

#[test]
fn help_names_every_command() {
    corelane().arg("--help").assert().success().stdout_eq(file!["help.txt"]);
}

#[test]
fn a_wrong_command_line_is_usage() {
    corelane().assert().code(2);
    corelane().arg("docter").assert().code(2);
    corelane().args(["config", "check"]).assert().code(2);
}

#[test]
fn a_right_configuration_is_ok() {
    let (dir, _) = config("server.toml", "[interface]\nname = \"eth0\"\n");
    let checked = corelane().current_dir(dir.path()).args(["config", "check", "server.toml"]).assert();
    checked.success().stdout_eq("server.toml: ok\n").stderr_eq("");
}

#[test]
fn a_wrong_configuration_says_where_and_what() {
    let (dir, _) = config("server.toml", "[interface]\nname = \"eth0\"\n\n[tcp]\nrto_min_ms = \"soon\"\n");
    let checked = corelane().current_dir(dir.path()).args(["config", "check", "server.toml"]).assert();
    checked.code(2).stdout_eq("").stderr_eq(str![[r#"
corelane: server.toml:5:1: tcp.rto_min_ms: [..]: give a whole number, 1 to 60000

"#]]);
}

#[test]
fn a_configuration_that_is_not_there_is_a_sentence() {
    let shown = corelane().args(["config", "show", "no-such.toml"]).assert();
    shown.code(2).stdout_eq("").stderr_eq(str![[r#"
corelane: no-such.toml: the file cannot be read ([..]): give the path of a TOML file

"#]]);
}

#[test]
fn what_is_shown_can_be_read_again() {
    let shown = corelane().args(["config", "show"]).assert().success().get_output().stdout.clone();
    let (_dir, path) = config("all.toml", &String::from_utf8(shown.clone()).expect("text"));
    corelane().args(["config", "check"]).arg(&path).assert().success();
    let again = corelane().args(["config", "show"]).arg(&path).assert().success().get_output().stdout.clone();
    assert_eq!(again, shown);
}

#[test]
fn a_configuration_is_shown_as_json() {
    let (_dir, path) = config("server.toml", "[interface]\nname = \"eth7\"\n");
    let shown = corelane().args(["config", "show", "--json"]).arg(&path).assert().success().get_output().stdout.clone();
    let json: serde_json::Value = serde_json::from_slice(&shown).expect("one JSON document");
    assert_eq!(json["interface"]["name"], "eth7");
    assert!(json["tcp"]["rto_min_ms"].is_u64(), "defaults are shown too");
}

#[test]
fn the_doctor_fails_for_an_interface_that_is_not_there() {
    let told = corelane().args(["doctor", "--interface", "nosuch0"]).assert().code(3);
    let text = String::from_utf8(told.get_output().stdout.clone()).expect("text");
    assert!(text.contains("FAIL  interface     there is no interface nosuch0"), "{text}");
    assert!(text.contains("-> name one of: "), "{text}");
    assert!(text.contains("Corelane cannot run here"), "{text}");
    assert!(!text.contains('\x1b'), "no colour in a pipe");
}

#[test]
fn the_doctor_speaks_json() {
    let told = corelane().args(["doctor", "--json", "--interface", "nosuch0"]).assert().code(3);
    let json: serde_json::Value = serde_json::from_slice(&told.get_output().stdout).expect("one JSON document");
    assert_eq!((&json["level"], &json["interface"]), (&"fail".into(), &"nosuch0".into()));
    let checks = json["checks"].as_array().expect("a list of checks");
    assert!(checks.iter().any(|check| check["name"] == "kernel"));
    for check in checks.iter().filter(|check| check["level"] != "ok") {
        assert!(check["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{check}");
    }
}

#[test]
fn the_doctor_reads_the_needs_of_a_configuration() {
    let (_dir, path) = config("server.toml", "[interface]\nname = \"nosuch0\"\n[memory]\nframe_count = 65536\n");
    let told = corelane().args(["doctor", "--json", "--config"]).arg(&path).assert().code(3);
    let json: serde_json::Value = serde_json::from_slice(&told.get_output().stdout).expect("one JSON document");
    assert_eq!(json["interface"], "nosuch0");
    let memlock = json["checks"].as_array().into_iter().flatten().find(|check| check["name"] == "memlock");
    let message = memlock.and_then(|check| check["message"].as_str()).unwrap_or_default();
    assert!(message.contains("frames need 128 MiB"), "{message}");
    corelane().args(["doctor", "--config", "no-such.toml"]).assert().code(2);
}

fn shown(arguments: &[&str]) -> serde_json::Value {
    let shown = corelane().args(["config", "show", "--json"]).args(arguments).assert().success();
    serde_json::from_slice(&shown.get_output().stdout).expect("one JSON document")
}

/// The sample names every setting, and what it says is the default is the default.
#[test]
fn the_sample_of_a_server_has_every_setting_at_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/server.toml");
    let text = std::fs::read_to_string(path).expect("the sample");
    let (sample, defaults) = (shown(&[path]), shown(&[]));
    for (section, settings) in defaults.as_object().expect("sections").iter().filter(|(name, _)| *name != "impair") {
        for (key, default) in settings.as_object().expect("settings") {
            let is_given = matches!(key.as_str(), "name" | "address");
            assert!(is_given || sample[section][key] == *default, "{section}.{key} is not at its default {default}");
            assert!(text.lines().any(|line| line.starts_with(&format!("{key} = "))), "{section}.{key} is not there");
        }
    }
    // Settings without a default are not shown.
    for key in ["mac", "mtu", "mss_bytes"] {
        assert!(text.lines().any(|line| line.starts_with(&format!("# {key} = "))), "{key} is not there");
    }
}
