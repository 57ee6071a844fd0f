//! The kernel's sender, and what the kernel's TCP counted in a namespace.

use super::sender::{Counted, Ended, PORT, SEED};
use super::world::{RECEIVER, World};
use crate::failure::Failure;
use crate::workload::pattern;
use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a connection may take to open, with a SYN that has to be sent again.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How late the end of the transfer is seen at most.
const PACE: Duration = Duration::from_millis(20);

/// Counters that say what became of losses, by the kernel's names (`Documentation/networking/snmp_counter.rst`).
const TOLD: &[&str] = &[
    "RetransSegs",
    "TCPTimeouts",
    "TCPLossProbes",
    "TCPSackRecovery",
    "TCPLostRetransmit",
    "TCPSACKReorder",
    "TCPSpuriousRTOs",
    "TCPFullUndo",
    "TCPPartialUndo",
    "TCPDSACKUndo",
    "TCPLossUndo",
];
/// Those of them that are reductions of the window taken back.
const UNDONE: &[&str] = &["TCPFullUndo", "TCPDSACKUndo", "TCPLossUndo", "TCPPartialUndo"];
/// At a receiver: segments of which every byte had come before, which it tells the sender by D-SACK (RFC 2883).
const NEEDLESS: &[&str] = &["TCPDSACKOldSent", "TCPDSACKOfoSent"];

/// Sends with `algorithm` until `done`. To be called in the sender's namespace.
pub(super) fn send(algorithm: &str, done: &AtomicBool) -> Result<Ended, Failure> {
    let machine = |what: &str, error: &dyn std::fmt::Display| Failure::Machine(format!("{what}: {error}"));
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).map_err(|error| machine("a TCP socket", &error))?;
    if let Err(error) = sockopt::set_tcp_congestion(&fd, algorithm) {
        return Ok(Ended::Unavailable(format!("the kernel does not give {algorithm} ({error})")));
    }
    let before = counters()?;
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(CONNECT_LIMIT))
        .map_err(|error| machine("a TCP socket", &error))?;
    connect(&fd, &SocketAddr::from((RECEIVER, PORT)))
        .map_err(|error| machine("the kernel's connection over the path", &error))?;
    let mut stream = TcpStream::from(fd);
    stream.set_write_timeout(Some(PACE)).map_err(|error| machine("a TCP socket", &error))?;
    let (mut at, mut bytes) = (0, vec![0; 16 * 1024]);
    while !done.load(Ordering::Relaxed) {
        pattern::fill(SEED, at, &mut bytes);
        match stream.write(&bytes) {
            Ok(taken) => at += taken as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) if done.load(Ordering::Relaxed) => {}
            Err(error) => return Err(Failure::Threshold(format!("the kernel's connection broke: {error}"))),
        }
    }
    let counters = difference(&before, &counters()?);
    // What is queued is not wanted any more.
    let _ = sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    let sum = |names: &[&str]| names.iter().filter_map(|name| counters.get(*name)).sum::<u64>();
    let counted = Counted { time_outs: sum(&["TCPTimeouts"]), undone: Some(sum(UNDONE)), own: told(&counters) };
    Ok(Ended::Counted(algorithm.to_owned(), counted))
}

fn told(counters: &Counters) -> BTreeMap<String, u64> {
    let told = TOLD.iter().filter_map(|name| Some(((*name).to_owned(), *counters.get(*name)?)));
    told.filter(|(_, count)| *count > 0).collect()
}

/// Needless segments that the receiver's namespace got since its beginning, whoever sent them.
pub(super) fn needless(world: &World) -> Result<u64, Failure> {
    let counters = world.receiver.inside(counters)?;
    Ok(NEEDLESS.iter().filter_map(|name| counters.get(*name)).sum())
}

/// The kernel's counters by name.
type Counters = BTreeMap<String, u64>;

/// Those of TCP in the calling thread's namespace.
fn counters() -> Result<Counters, Failure> {
    let mut all = Counters::new();
    for file in ["netstat", "snmp"] {
        let path = format!("/proc/thread-self/net/{file}");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Failure::Machine(format!("{path} cannot be read: {error}")))?;
        all.append(&mut parse(&text));
    }
    Ok(all)
}

/// Pairs of lines, first the names and then the values, each behind the name of its protocol.
fn parse(text: &str) -> Counters {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.chunks_exact(2).filter(|pair| pair[0].starts_with("Tcp"));
    let columns = pairs.flat_map(|pair| pair[0].split_whitespace().zip(pair[1].split_whitespace()).skip(1));
    // Some are signed limits and no counters.
    columns.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

fn difference(before: &Counters, after: &Counters) -> Counters {
    let since = |(name, count): (&String, &u64)| (name.clone(), count.saturating_sub(*before.get(name).unwrap_or(&0)));
    after.iter().map(since).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_name() {
        let text = "TcpExt: SyncookiesSent TCPTimeouts\nTcpExt: 0 12\nIpExt: InOctets\nIpExt: 7\n";
        let before = parse(text);
        assert_eq!(before, [("SyncookiesSent".to_owned(), 0), ("TCPTimeouts".to_owned(), 12)].into());
        let after = parse("Tcp: MaxConn RetransSegs\nTcp: -1 5\nTcpExt: TCPTimeouts\nTcpExt: 20\n");
        let since = difference(&before, &after);
        assert_eq!(since, [("RetransSegs".to_owned(), 5), ("TCPTimeouts".to_owned(), 8)].into());
        assert_eq!(told(&since), since);
    }

    #[test]
    fn this_kernel_has_the_counters() {
        let counters = counters().unwrap();
        let missing: Vec<_> = TOLD.iter().chain(NEEDLESS).filter(|name| !counters.contains_key(**name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
