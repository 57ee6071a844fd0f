//! A systemd unit of `configs/`: what it sets, what its command says, whether systemd understands it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// Where both units expect the stack's settings, and a place where nothing is.
const SETTINGS: &str = "/etc/corelane/server.toml";
const NOWHERE: &str = "/proc/self/no/server.toml";

/// A unit, the program that it starts, and where that was built.
pub(crate) struct Unit {
    pub(crate) configs: PathBuf,
    pub(crate) file: &'static str,
    pub(crate) installed: &'static str,
    pub(crate) built: &'static str,
}

impl Unit {
    fn text(&self) -> String {
        std::fs::read_to_string(self.configs.join(self.file)).expect("the unit is there")
    }

    /// The value of the one line that sets `key`.
    pub(crate) fn value(&self, key: &str) -> String {
        let text = self.text();
        let mut values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let value = values.next().unwrap_or_else(|| panic!("{key} is not set"));
        assert_eq!(values.next(), None, "{key} is set twice");
        value.to_owned()
    }

    pub(crate) fn words(&self, key: &str) -> BTreeSet<String> {
        self.value(key).split_whitespace().map(str::to_owned).collect()
    }

    /// The command is understood up to its configuration, which is not there and is the last thing that is looked at before
    /// the interface.
    pub(crate) fn expect_command_line(&self) {
        let line = self.value("ExecStart");
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some(self.installed));
        let arguments: Vec<&str> = words.map(|word| if word == SETTINGS { NOWHERE } else { word }).collect();
        assert!(arguments.contains(&NOWHERE), "{line}");
        let ended = Command::new(self.built).args(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("{NOWHERE}: the file cannot be read")), "{said}");
    }

    pub(crate) fn expect_systemd_to_understand(&self) {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let copy = dir.path().join(self.file);
        // systemd wants the program to be there.
        std::fs::write(&copy, self.text().replace(self.installed, self.built)).expect("a file");
        match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output() {
            Ok(ended) => {
                let said = String::from_utf8_lossy(&ended.stderr);
                // Complaints about other units of the machine are not ours.
                let ours: Vec<&str> = said.lines().filter(|line| line.contains(self.file)).collect();
                assert!(ours.is_empty(), "{ours:?}");
            }
            Err(error) => println!("systemd-analyze cannot be run ({error}), so only the other tests look at the unit"),
        }
    }
}
