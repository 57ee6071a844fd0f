//! The constants of TCP's behaviour as settings, each with its default, its unit and what it costs.

use core::time::Duration;

/// Settings of one connection, or of all that a listener accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpConfig {
    /// Most bytes received and not yet read by the application: the receive window's bound. 4 KiB to 1 GiB,
    /// default 256 KiB. A connection whose application reads slowly holds that much in frames.
    pub recv_buffer: u32,
    /// Most bytes taken from the application and not yet acknowledged. 4 KiB to 1 GiB, default 256 KiB. It holds
    /// frames like [`recv_buffer`](Self::recv_buffer).
    pub send_buffer: u32,
    /// Largest segment that we offer to receive and agree to send, payload bytes without options (RFC 9293 3.7.1).
    /// `None`, the default, takes what the device's MTU allows.
    pub mss: Option<u16>,
    /// Offer window scaling (RFC 7323 2). Default on; without it no window exceeds 65,535 bytes.
    pub window_scaling: bool,
    /// Offer timestamps (RFC 7323 3): PAWS and samples during recovery, for 12 bytes a segment. Default on.
    pub timestamps: bool,
    /// Offer SACK (RFC 2018). Default on.
    pub sack: bool,
    /// Send small segments at once instead of waiting for the ACK of what is in flight (Nagle, RFC 9293 3.7.4).
    /// Default on (that is, Nagle off): this stack answers requests.
    pub nodelay: bool,
    /// Initial window, segments (RFC 6928). 1 to 64, default 10.
    pub initial_window_segments: u8,
    /// How long an ACK may wait for company (RFC 9293 3.8.6.3, MUST-40: under 500 ms). Default 40 ms; 0 sends each
    /// ACK at the end of the turn.
    pub delayed_ack: Duration,
    /// RTO before the first sample (RFC 6298 2.1). Default 1 s.
    pub rto_initial: Duration,
    /// Least RTO. RFC 6298 2.4 recommends 1 s; default 200 ms as Linux has, because data centres can't wait.
    pub rto_min: Duration,
    /// Greatest RTO, at least 60 s by RFC 6298 2.5 where it is limited at all. Default 120 s.
    pub rto_max: Duration,
    /// How often a SYN or SYN-ACK is sent again before the attempt fails (R2 for SYNs, RFC 9293 3.8.3, at least
    /// 3 minutes by MUST-23). Default 7: 1 + 2 + ... + 64 + 120 s = 247 s.
    pub syn_retries: u8,
    /// R2 (RFC 9293 3.8.3): how long data may stay unacknowledged before the connection is given up. Default 15
    /// minutes, at least 100 s by SHLD-11.
    pub give_up_after: Duration,
    /// Maximum segment lifetime; TIME-WAIT lasts twice as long (RFC 9293 3.4.2). Default 30 s, so TIME-WAIT lasts
    /// the 60 s that Linux has. It counts while the application has unread data; the wait after that is the
    /// endpoint's.
    pub msl: Duration,
    /// How long FIN-WAIT-2 waits for the peer's FIN after the application closed for good. Default 60 s.
    pub fin_wait_2: Duration,
    /// Duplicate ACKs that start fast retransmit (RFC 5681 3.2). Default 3.
    pub duplicate_ack_threshold: u8,
    /// Keepalive (RFC 9293 3.8.4); `None`, the default, is off (MUST-25).
    pub keepalive: Option<KeepaliveConfig>,
}

/// When an idle connection is asked whether its peer is still there (RFC 9293 3.8.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepaliveConfig {
    /// Idle time before the first probe; no less than two hours by default (MUST-28).
    pub idle: Duration,
    /// Time between probes. Default 75 s.
    pub interval: Duration,
    /// Unanswered probes after which the connection is given up. Default 10.
    pub probes: u8,
}

impl Default for KeepaliveConfig {
    fn default() -> Self {
        Self { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), probes: 10 }
    }
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            recv_buffer: 256 * 1024,
            send_buffer: 256 * 1024,
            mss: None,
            window_scaling: true,
            timestamps: true,
            sack: true,
            nodelay: true,
            initial_window_segments: 10,
            delayed_ack: Duration::from_millis(40),
            rto_initial: Duration::from_secs(1),
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(120),
            syn_retries: 7,
            give_up_after: Duration::from_secs(900),
            msl: Duration::from_secs(30),
            fin_wait_2: Duration::from_secs(60),
            duplicate_ack_threshold: 3,
            keepalive: None,
        }
    }
}
