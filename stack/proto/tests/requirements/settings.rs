//! Defaults, and what can be set.

use crate::bench::{Bench, IRS, segment};
use corelane_proto::endpoint::CloseReason;
use corelane_proto::tcp::config::{KeepaliveConfig, TcpConfig};
use corelane_proto::tcp::segment::Flags;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

//= spec/rfc9293.txt#section-3.8.3
//= type=test
//# The value of R1 SHOULD correspond to at least 3 retransmissions, at the current RTO (SHLD-10). The value of R2
//# SHOULD correspond to at least 100 seconds (SHLD-11).
#[test]
fn r1_is_three_retransmissions_at_least_and_r2_100_seconds() {
    let config = TcpConfig::default();
    assert!(config.r1_retransmits >= 3);
    assert!(config.give_up_after >= 100 * SECOND);
    assert!(config.user_timeout.is_none_or(|time| time >= 100 * SECOND));
}

//= spec/rfc9293.txt#section-3.8.4
//= type=test
//# they MUST default to off (MUST-25).
//= spec/rfc9293.txt#section-3.8.4
//= type=test
//# MUST default to no less than two hours (MUST-28).
//= spec/rfc9293.txt#section-3.8.4
//= type=test
//# Keep-alive packets MUST only be sent when no sent data is outstanding, and no data or acknowledgment packets have
//# been received for the connection within an interval (MUST-26).
#[test]
fn keepalive_waits_two_hours_and_is_off() {
    assert!(KeepaliveConfig::default().idle >= 7200 * SECOND);
    assert_eq!(TcpConfig::default().keepalive, None);
    let mut bench = Bench::new(TcpConfig::default());
    bench.open();
    assert_eq!(bench.wait(100_000 * SECOND), [], "an idle connection says nothing");
    let mut bench = Bench::new(TcpConfig { keepalive: Some(KeepaliveConfig::default()), ..TcpConfig::default() });
    bench.open();
    assert_eq!(bench.wait(7199 * SECOND), []);
    assert_eq!(bench.wait(2 * SECOND).len(), 1);
}

//= spec/rfc9293.txt#section-3.8.3
//= type=test
//# An application MUST (MUST-21) be able to set the value for R2 for a particular connection.
#[test]
fn each_connection_has_its_own_r2() {
    for r2 in [120, 300] {
        let mut bench = Bench::new(TcpConfig { give_up_after: r2 * SECOND, ..TcpConfig::default() });
        let (conn, ours) = bench.open();
        bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
        bench.send(conn, 10);
        bench.wait((r2 - 1) * SECOND);
        assert_eq!(bench.ended(conn), None, "{r2}");
        bench.wait(121 * SECOND);
        assert_eq!(bench.ended(conn), Some(CloseReason::TimedOut), "{r2}");
    }
}
