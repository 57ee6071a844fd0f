//! Every file in `configs/` loads as what it is.

use corelane::Config;
use std::path::PathBuf;

fn configs() -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let entries = std::fs::read_dir(&dir).map(|entries| entries.map(|entry| entry.unwrap().path()).collect());
    let mut files: Vec<PathBuf> = entries.unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
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
