//! The corpora, and every input that ever failed, once more.

use std::path::Path;

/// Runs every input of `corpus/NAME` and `regressions/NAME`; says how many there were.
fn replay(name: &str, run: fn(&[u8])) -> usize {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for kind in ["corpus", "regressions"] {
        let Ok(dir) = package.join(kind).join(name).read_dir() else { continue };
        let mut paths: Vec<_> = dir.map(|entry| entry.expect("a directory entry").path()).collect();
        paths.sort();
        for path in paths {
            let data = std::fs::read(&path).expect("a readable file");
            let outcome = std::panic::catch_unwind(|| run(&data));
            assert!(outcome.is_ok(), "{} fails; the panic above says why", path.display());
            count += 1;
        }
    }
    count
}

#[test]
fn wire_replays() {
    assert!(replay("wire", corelane_fuzz::wire::run) > 10);
}

#[test]
fn endpoint_replays() {
    assert!(replay("endpoint", corelane_fuzz::endpoint::run) > 10);
}

#[test]
fn pair_replays() {
    assert!(replay("pair", corelane_fuzz::pair::run) > 10);
}
