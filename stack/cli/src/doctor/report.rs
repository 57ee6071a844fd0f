//! How the judgements are shown: aligned lines for people, one JSON document for programs.

use super::{Check, Level};
use serde::Serialize;
use std::io::{self, Write};

/// The worst of all; ok when there is none.
pub(super) fn worst(checks: &[Check]) -> Level {
    checks.iter().map(|check| check.level).max().unwrap_or(Level::Ok)
}

pub(super) fn text(out: &mut impl Write, interface: &str, checks: &[Check], color: bool) -> io::Result<()> {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in checks {
        let (word, code) = match check.level {
            Level::Ok => ("ok  ", "32"),
            Level::Warn => ("warn", "33"),
            Level::Fail => ("FAIL", "31"),
        };
        let word = if color { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        writeln!(out, "{word}  {:<width$}  {}", check.name, check.message)?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "      {:<width$}  -> {remedy}", "")?;
        }
    }
    let count = |level| checks.iter().filter(|check| check.level == level).count();
    let verdict = match worst(checks) {
        Level::Ok => "Corelane can run here.".to_owned(),
        Level::Warn => format!("Corelane can run here. Warnings: {}.", count(Level::Warn)),
        Level::Fail => {
            format!("Corelane cannot run here. Failures: {}, warnings: {}.", count(Level::Fail), count(Level::Warn))
        }
    };
    writeln!(out, "\n{verdict}")?;
    if interface.is_empty() {
        writeln!(out, "No interface was looked at; name one with --interface.")?;
    }
    Ok(())
}

pub(super) fn json(out: &mut impl Write, interface: &str, checks: &[Check]) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        level: Level,
        interface: Option<&'a str>,
        checks: &'a [Check],
    }
    let interface = (!interface.is_empty()).then_some(interface);
    serde_json::to_writer_pretty(&mut *out, &Document { level: worst(checks), interface, checks })?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapbox::str;

    fn checks() -> Vec<Check> {
        vec![
            Check::ok("kernel", "Linux 6.12"),
            Check::warn("offloads", "lro merges packets", "sudo ethtool -K eth0 lro off"),
            Check::fail("mtu", "9000 bytes", "sudo ip link set dev eth0 mtu 1500"),
        ]
    }

    fn shown(interface: &str, checks: &[Check], color: bool) -> String {
        let mut out = Vec::new();
        text(&mut out, interface, checks, color).expect("a Vec takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn lines_are_aligned_and_end_in_a_verdict() {
        snapbox::assert_data_eq!(
            shown("eth0", &checks(), false),
            str![[r#"
ok    kernel    Linux 6.12
warn  offloads  lro merges packets
                -> sudo ethtool -K eth0 lro off
FAIL  mtu       9000 bytes
                -> sudo ip link set dev eth0 mtu 1500

Corelane cannot run here. Failures: 1, warnings: 1.

"#]]
        );
        snapbox::assert_data_eq!(
            shown("", &checks()[..1], false),
            str![[r#"
ok    kernel  Linux 6.12

Corelane can run here.
No interface was looked at; name one with --interface.

"#]]
        );
    }

    #[test]
    fn color_is_only_in_the_level() {
        let plain = shown("eth0", &checks(), false);
        let color = shown("eth0", &checks(), true);
        assert!(!plain.contains('\x1b'));
        assert_eq!(color.matches("\x1b[").count(), 2 * checks().len());
        assert!(color.starts_with("\x1b[32mok  \x1b[0m  kernel"));
    }

    #[test]
    fn json_is_one_document() {
        let mut out = Vec::new();
        json(&mut out, "eth0", &checks()[1..2]).expect("a Vec takes everything");
        snapbox::assert_data_eq!(
            String::from_utf8(out).expect("text"),
            str![[r#"
{
  "level": "warn",
  "interface": "eth0",
  "checks": [
    {
      "name": "offloads",
      "level": "warn",
      "message": "lro merges packets",
      "remedy": "sudo ethtool -K eth0 lro off"
    }
  ]
}

"#]]
        );
    }
}
