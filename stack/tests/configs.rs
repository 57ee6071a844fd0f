//! Every file in `configs/` loads as what it is.

use corelane::Config;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn configs() -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let entries = std::fs::read_dir(&dir).map(|entries| entries.map(|entry| entry.unwrap().path()).collect());
    let mut files: Vec<PathBuf> = entries.unwrap_or_default();
    // These are of `corelane-bench`, whose own tests load them.
    let of_bench = ["path.toml", "compare.toml", "scenario.toml"];
    files.retain(|path| {
        path.extension().is_some_and(|extension| extension == "toml")
            && !of_bench.iter().any(|name| path.ends_with(name))
    });
    files.sort();
    files
}

#[test]
fn every_file_in_configs_loads() {
    let files = configs();
    assert!(!files.is_empty(), "configs/ has no TOML file");
    for file in files {
        if let Err(error) = Config::load(&file) {
            panic!("{error}");
        }
    }
}

#[test]
fn an_error_in_a_file_names_file_line_column_and_key() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wrong.toml");
    std::fs::write(&path, "[tcp]\n  rto_min_ms = \"soon\"\n").unwrap();
    let error = corelane::Error::from(Config::load(&path).unwrap_err());
    let sentence = "tcp.rto_min_ms: the string \"soon\" will not do: give a whole number, 1 to 60000";
    assert_eq!(error.to_string(), format!("{}:2:3: {sentence}", path.display()));
    assert_eq!(error.exit_code(), 2);

    // The same for what only several settings together show.
    std::fs::write(&path, "[tcp]\nrto_min_ms = 10\ndelayed_ack_ms = 20\n").unwrap();
    let error = Config::load(&path).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}:3:1: tcp.delayed_ack_ms: ", path.display())), "{error}");
}

/// The file that says of itself that every setting stands in it with its default.
#[test]
fn the_servers_file_shows_every_setting_with_its_default() {
    let files = configs();
    let file = files.iter().find(|path| path.ends_with("server.toml")).expect("configs/server.toml is there");
    let loaded = Config::load(file).unwrap();
    let name = loaded.interface().name().to_owned();
    let addresses: Vec<String> = loaded.interface().address().iter().map(ToString::to_string).collect();
    let expected = Config::builder().interface(&name).set("interface.address", addresses).build().unwrap();
    assert_eq!(loaded, expected);

    let text = std::fs::read_to_string(file).unwrap();
    let settings = |text: &str| -> BTreeSet<String> {
        let mut section = String::new();
        let mut found = BTreeSet::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.to_owned();
            }
            // A setting that is not set stands there as a comment.
            let key = line.trim_start_matches(['#', ' ']).split_once(" =").map(|(key, _)| key);
            found.extend(key.filter(|key| !key.contains(' ')).map(|key| format!("{section}.{key}")));
        }
        found
    };
    let shown = settings(&text);
    let all = settings(&Config::default().to_commented_toml());
    // No server wants a bad network on purpose.
    let missing: Vec<_> = all.difference(&shown).filter(|key| !key.starts_with("impair.")).collect();
    assert!(missing.is_empty(), "{} lacks {missing:?}", file.display());
}
