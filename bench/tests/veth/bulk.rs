//! 100 MB each way with curl, over a good network and over a bad one.

use crate::summary::Summary;
use crate::world::{End, OWN, World, say};
use corelane_bench::workload::pattern;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::io::{BufWriter, Read, Write as _};
use std::path::Path;
use std::time::Duration;

const SIZE: u64 = 100_000_000;
/// Another stream than the one that the server sends.
const UPLOAD_SEED: u64 = 0x0dd5_eed5;

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Calls `take` with the first `SIZE` bytes of the stream of `seed`, in pieces.
fn generate(seed: u64, mut take: impl FnMut(&[u8])) {
    let mut piece = vec![0; 1 << 16];
    let mut at = 0;
    while at < SIZE {
        let len = piece.len().min(usize::try_from(SIZE - at).unwrap_or(usize::MAX));
        pattern::fill(seed, at, &mut piece[..len]);
        take(&piece[..len]);
        at += len as u64;
    }
}

fn hash_of_stream(seed: u64) -> String {
    let mut hash = Sha256::new();
    generate(seed, |piece| hash.update(piece));
    hex(hash)
}

fn hash_of_file(path: &Path) -> (u64, String) {
    let mut file = std::fs::File::open(path).expect("curl has written it");
    let (mut hash, mut piece, mut length) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        match file.read(&mut piece).expect("it can be read") {
            0 => return (length, hex(hash)),
            count => {
                hash.update(&piece[..count]);
                length += count as u64;
            }
        }
    }
}

/// Fetches and uploads 100 MB, each within `limit`; each has to arrive byte by byte.
fn both_ways(world: &World, limit: Duration) {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let (fetched, sent) = (dir.path().join("fetched"), dir.path().join("sent"));
    let mbit = |took: Duration| SIZE as f64 * 8e-6 / took.as_secs_f64();
    let congestion = world.congestion_control();

    let url = format!("http://{OWN}/bytes/{SIZE}");
    let to = fetched.to_str().expect("a plain path");
    let curl = world.run(End::Client, limit, "curl", &["--fail", "-sS", "-o", to, &url]);
    assert_eq!(curl.code, Some(0), "{curl}");
    assert_eq!(hash_of_file(&fetched), (SIZE, hash_of_stream(pattern::SERVED_SEED)), "what was fetched");
    say!("fetched 100 MB in {:.2?}, {:.0} Mbit/s, we send with newreno", curl.took, mbit(curl.took));

    let mut file = BufWriter::new(std::fs::File::create(&sent).expect("a file for the test"));
    let mut hash = Sha256::new();
    generate(UPLOAD_SEED, |piece| {
        hash.update(piece);
        file.write_all(piece).expect("it can be written");
    });
    file.flush().expect("it can be written");
    let from = format!("@{}", sent.display());
    let url = format!("http://{OWN}/upload");
    let curl = world.run(End::Client, limit, "curl", &["--fail", "-sS", "--data-binary", &from, &url]);
    assert_eq!(curl.code, Some(0), "{curl}");
    let answer = curl.json();
    assert_eq!(answer["length"], SIZE, "{answer}");
    assert_eq!(answer["sha256"], hex(hash).as_str(), "what was uploaded");
    say!("uploaded 100 MB in {:.2?}, {:.0} Mbit/s, the kernel sends with {congestion}", curl.took, mbit(curl.took));
}

/// What both summaries have to say.
fn expect_both_ways(summary: &Summary) {
    assert_eq!((summary.workload("accepted"), summary.workload("closed"), summary.workload("reset")), (2, 2, 0));
    assert_eq!((summary.workload("requests"), summary.workload("rejected")), (2, 0));
    assert!(summary.workload("bytes_in") > SIZE && summary.workload("bytes_out") > SIZE);
    assert_eq!(summary.endings("finished"), 2);
}

#[test]
fn curl_fetches_and_uploads_100_mb() {
    let world = World::new();
    let server = world.serve("http", 80, &[]);
    both_ways(&world, Duration::from_secs(30));
    let summary = Summary::of(&server.terminate());
    expect_both_ways(&summary);
    say!("{} retransmissions", summary.protocol("retransmits"));
}

#[test]
fn curl_fetches_and_uploads_100_mb_through_loss_reordering_and_duplication() {
    let world = World::new();
    let server = world.serve("http", 80, &["--impair", "loss=2%,reorder=1%,duplicate=1%"]);
    // Without SACK or a tail-loss probe, a lost ACK of the last segments costs a time-out of 200 ms.
    both_ways(&world, Duration::from_secs(90));
    let summary = Summary::of(&server.terminate());
    expect_both_ways(&summary);
    for direction in ["rx", "tx"] {
        let frames = summary.device(&format!("{direction}_frames"));
        assert!(frames > 40_000, "only {frames} frames");
        for (what, share) in [("lost", 0.02), ("reordered", 0.01), ("duplicated", 0.01)] {
            let name = format!("impair_{direction}_{what}");
            let (count, expected) = (summary.device(&name) as f64, frames as f64 * share);
            assert!((0.7..1.3).contains(&(count / expected)), "{name}: {count} of {frames}");
        }
    }
    let (again, time_outs) = (summary.protocol("retransmits"), summary.protocol("rto_fired"));
    assert!(again >= summary.device("impair_tx_lost") / 2, "{again} retransmissions");
    say!("{again} retransmissions, {} of them fast, {time_outs} time-outs", summary.protocol("fast_retransmits"));
}
