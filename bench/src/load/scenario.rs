//! `--scenario FILE`: several sets of connections at the same time, and several phases one after the other.
//! `configs/scenario.toml` shows everything.

use super::arguments::{self, SetSpec, usage};
use super::options::{Pace, SetOptions};
use super::rate::Rate;
use crate::failure::Failure;
use crate::file::{load_toml, wrong};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Sets that run together for a while.
#[derive(Clone, PartialEq, Debug)]
pub struct Phase {
    /// What it is called; empty on the command line.
    pub name: String,
    /// The sets.
    pub sets: Vec<SetOptions>,
    /// How long it runs before it measures.
    pub warmup: Duration,
    /// How long it measures.
    pub duration: Duration,
    /// How long it waits for answers afterwards.
    pub drain: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    target: Option<SocketAddr>,
    warmup_s: Option<f64>,
    duration_s: Option<f64>,
    drain_s: Option<f64>,
    phase: Vec<PhaseSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseSpec {
    name: String,
    warmup_s: Option<f64>,
    duration_s: Option<f64>,
    drain_s: Option<f64>,
    set: Vec<SetSpec>,
}

/// Reads a file. A `target` overrides those that stand there.
pub fn load(path: &Path, target: Option<SocketAddr>) -> Result<Vec<Phase>, Failure> {
    let file: File = load_toml(path)?;
    let named = |what: String, error: Failure| match error {
        Failure::Usage(text) => wrong(path, &format!("{what}: {text}")),
        other => other,
    };
    if file.phase.is_empty() {
        return usage(&format!("{}: there is no [[phase]]", path.display()));
    }
    let mut names = BTreeSet::new();
    let phases = file.phase.iter().map(|spec| {
        let phase = phase(&file, spec, target).map_err(|error| named(format!("phase `{}`", spec.name), error))?;
        match names.insert(phase.name.clone()) {
            true => Ok(phase),
            false => usage(&format!("{}: two phases are called `{}`", path.display(), phase.name)),
        }
    });
    phases.collect()
}

fn phase(file: &File, spec: &PhaseSpec, target: Option<SocketAddr>) -> Result<Phase, Failure> {
    check_name(&spec.name)?;
    if spec.set.is_empty() {
        return usage("there is no [[phase.set]]");
    }
    let mut names = BTreeSet::new();
    let mut sets = Vec::new();
    for set in &spec.set {
        let mut set = set.clone();
        if set.name.is_empty() {
            set.name = set.workload.name().to_owned();
        }
        check_name(&set.name)?;
        if !names.insert(set.name.clone()) {
            return usage(&format!("two sets are called `{}`; give them names", set.name));
        }
        let options = set.options(target.or(set.target).or(file.target)).map_err(|error| match error {
            Failure::Usage(text) => Failure::Usage(format!("set `{}`: {text}", set.name)),
            other => other,
        })?;
        if matches!(options.pace, Pace::Rate(Rate::Steps(_), _)) {
            return usage(&format!("set `{}`: steps are phases of their own in a scenario", set.name));
        }
        sets.push(options);
    }
    let seconds = |own: Option<f64>, common: Option<f64>, default: Option<f64>| match own.or(common).or(default) {
        Some(seconds) if !(0.0..=1e6).contains(&seconds) => usage(&format!("{seconds} is not a number of seconds")),
        seconds => Ok(seconds.map(Duration::from_secs_f64)),
    };
    let said = seconds(spec.duration_s, file.duration_s, None)?;
    Ok(Phase {
        name: spec.name.clone(),
        warmup: seconds(spec.warmup_s, file.warmup_s, Some(0.0))?.unwrap_or_default(),
        duration: arguments::duration(said, &sets)?,
        drain: seconds(spec.drain_s, file.drain_s, Some(1.0))?.unwrap_or_default(),
        sets,
    })
}

/// Names become names of directories.
fn check_name(name: &str) -> Result<(), Failure> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        return usage(&format!("the name `{name}` is not of letters, digits, - and _, at most 64 of them"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::LoadKind;
    use std::io::Write;

    fn read(text: &str) -> Result<Vec<Phase>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().display().to_string();
        load(file.path(), None).map_err(|error| error.to_string().replace(&path, "F"))
    }

    #[test]
    fn the_example_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/scenario.toml");
        let phases = load(&path, None).unwrap();
        assert!(phases.len() > 1 && phases.iter().any(|phase| phase.sets.len() > 1));
        let target = "127.0.0.1:9".parse().unwrap();
        let moved = load(&path, Some(target)).unwrap();
        assert!(moved.iter().flat_map(|phase| &phase.sets).all(|set| set.target == target));
    }

    #[test]
    fn sets_take_the_files_values_unless_they_have_their_own() {
        let phases = read(
            "target = '127.0.0.1:80'\nduration_s = 2\nwarmup_s = 0.5\n\
             [[phase]]\nname = 'a'\nduration_s = 3\n\
             [[phase.set]]\nworkload = 'echo'\nconnections = 2\nrate = 100\nsize = 'uniform:1..9'\n\
             [[phase.set]]\nworkload = 'bulk-recv'\nconnections = 1\nclosed = true\ntarget = '127.0.0.1:81'\n",
        )
        .unwrap();
        let [phase] = &phases[..] else { panic!("{phases:?}") };
        assert_eq!((phase.duration, phase.warmup), (Duration::from_secs(3), Duration::from_millis(500)));
        assert_eq!(phase.sets[0].pace, Pace::Rate(Rate::Constant(100.0), Default::default()));
        assert_eq!((phase.sets[0].target.port(), phase.sets[1].target.port()), (80, 81));
        assert_eq!((phase.sets[1].workload, phase.sets[1].name.as_str()), (LoadKind::BulkRecv, "bulk-recv"));
    }

    #[test]
    fn errors_say_where() {
        let set = "[[phase]]\nname='a'\n[[phase.set]]\nworkload='echo'\nconnections=1\n";
        for (text, part) in [
            (String::new(), "missing field `phase`"),
            ("phase = []".to_owned(), "F: there is no [[phase]]"),
            (format!("{set}speed=1\n"), "F:6: unknown field `speed`"),
            (format!("{set}rate='fast'\n"), "`fast` is not a rate"),
            (format!("{set}rate=1\n"), "F: phase `a`: set `echo`: no --target"),
            (format!("{set}target='127.0.0.1:1'\n"), "F: phase `a`: set `echo`: exactly one of --rate"),
            (format!("{set}target='127.0.0.1:1'\nrate=1\n"), "F: phase `a`: --duration says"),
            (format!("{set}target='127.0.0.1:1'\nrate='1,2'\n"), "steps are phases"),
            ("[[phase]]\nname='a b'\nset=[]\n".to_owned(), "the name `a b`"),
            ("[[phase]]\nname='a'\nset=[]\n".to_owned(), "no [[phase.set]]"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
