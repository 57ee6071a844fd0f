//! What a connection tells about itself.

use super::state::State;
use core::time::Duration;

/// A snapshot of one connection, for the application and for tools.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpInfo {
    /// State.
    pub state: State,
    /// Smoothed round-trip time; `None` before the first sample.
    pub srtt: Option<Duration>,
    /// Retransmission time-out in force, without back-off.
    pub rto: Duration,
    /// Congestion window, bytes.
    pub cwnd: u32,
    /// Slow-start threshold, bytes; `u32::MAX` before the first loss.
    pub ssthresh: u32,
    /// Effective send MSS: payload bytes a segment, options taken off (RFC 9293 3.7.1).
    pub mss: u16,
    /// Window that the peer offers, bytes.
    pub send_window: u32,
    /// Window that we offer, bytes.
    pub recv_window: u32,
    /// Bytes sent and not acknowledged.
    pub in_flight: u32,
    /// Bytes taken from the application and not sent.
    pub unsent: u32,
    /// Bytes in order that the application has not read.
    pub unread: u32,
    /// Segments sent again.
    pub retransmits: u32,
}
