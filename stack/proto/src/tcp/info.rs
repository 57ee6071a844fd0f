//! What a connection tells about itself.

use super::algorithm::Algorithm;
use super::state::State;
use core::time::Duration;

/// The ECN that a connection uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EcnMode {
    /// None.
    #[default]
    Off,
    /// Each mark is echoed until it is answered (RFC 3168).
    Classic,
    /// Marks are counted (RFC 9768).
    Accurate,
}

/// A snapshot of one connection, for the application and for tools.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpInfo {
    /// State.
    pub state: State,
    /// Smoothed round-trip time; `None` before the first sample.
    pub srtt: Option<Duration>,
    /// The least round-trip time of the last minutes (150 s to 300 s); `None` before the first sample.
    pub min_rtt: Option<Duration>,
    /// Retransmission time-out in force, without back-off.
    pub rto: Duration,
    /// The congestion control.
    pub algorithm: Algorithm,
    /// Congestion window, bytes.
    pub cwnd: u32,
    /// Slow-start threshold, bytes; `u32::MAX` before the first loss.
    pub ssthresh: u32,
    /// What the network has delivered by the latest sample, bytes a second; 0 before the first.
    pub delivery_rate: u64,
    /// How fast segments leave at most, bytes a second; `None` when nothing paces them.
    pub pacing_rate: Option<u64>,
    /// Effective send MSS: payload bytes a segment, options taken off (RFC 9293 3.7.1).
    pub mss: u16,
    /// Window that the peer offers, bytes.
    pub send_window: u32,
    /// Window that we offer, bytes.
    pub recv_window: u32,
    /// Bytes sent and not acknowledged.
    pub unacked: u32,
    /// Of those, what is probably in the network: neither `SACKed` nor found lost (RFC 6675's pipe).
    pub in_flight: u32,
    /// Bytes delivered: acknowledged or `SACKed`.
    pub delivered: u64,
    /// The ECN in force.
    pub ecn: EcnMode,
    /// Bytes delivered that the network has marked with CE, by what the peer tells; reckoned where it counts packets only.
    /// Classic ECN counts whatever is acknowledged while a mark is echoed.
    pub marked_bytes: u64,
    /// Packets marked with CE that have come, the SYN-ACK among them with accurate ECN.
    pub marked_segments_in: u32,
    /// Bytes taken from the application and not sent.
    pub unsent: u32,
    /// Bytes in order that the application has not read.
    pub unread: u32,
    /// What was lost, what was sent again, and how that was found out.
    pub counts: Counts,
}

/// How a connection's losses went. All count from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Bytes sent again.
    pub resent_bytes: u64,
    /// Bytes found lost, rightly or not.
    pub lost_bytes: u64,
    /// Segments sent again.
    pub retransmits: u32,
    /// Retransmission time-outs.
    pub time_outs: u32,
    /// Fast recoveries.
    pub recoveries: u32,
    /// Probes of the tail (RFC 8985 7).
    pub probes: u32,
    /// Segments that the peer has received twice, by its D-SACKs (RFC 2883).
    pub duplicates: u32,
    /// Recoveries that proved needless and were undone.
    pub undone: u32,
}
