//! The constants of TCP's behaviour as settings, each with its default, its unit and what it costs.

use super::algorithm::Algorithm;
use core::time::Duration;

/// What a connection does about explicit congestion notification.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ecn {
    /// Nothing, whatever the peer asks for.
    Off,
    /// What the peer asks for, accurate ECN too; our own SYN asks for nothing.
    #[default]
    Passive,
    /// Our SYN asks for classic ECN (RFC 3168); a peer gets no more than that either.
    Classic,
    /// Our SYN asks for accurate ECN (RFC 9768); classic is what is left where the peer does not have it.
    Accurate,
}

/// Settings of one connection, or of all that a listener accepts.
///
/// A setting outside of its range counts as the nearest value inside it; [`check`](TcpConfig::check) says which one it
/// is, for those who would rather refuse it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpConfig {
    /// Most bytes received and not yet read by the application: the receive window's bound. 4 KiB to 1 GiB,
    /// default 256 KiB. A connection whose application reads slowly holds that much in frames.
    pub recv_buffer: u32,
    /// The receive window that a connection begins with, bytes; it grows towards [`recv_buffer`](Self::recv_buffer) as
    /// the peer fills it within a round trip and the application reads. 4 KiB to 1 GiB, default 64 KiB; more than
    /// `recv_buffer` counts as `recv_buffer`. A small value costs a fast peer a few round trips at the start, a great
    /// one lets each idle peer claim that many frames.
    pub recv_buffer_initial: u32,
    /// Most bytes taken from the application and not yet acknowledged. 4 KiB to 1 GiB, default 256 KiB. It holds
    /// frames like [`recv_buffer`](Self::recv_buffer).
    pub send_buffer: u32,
    /// Largest segment that we offer to receive and agree to send, payload bytes without options (RFC 9293 3.7.1).
    /// `None`, the default, takes what the device's MTU allows.
    pub mss: Option<u16>,
    /// Least segment that we send however little the peer or the path takes, payload and options together. 48 to 536
    /// bytes, default 88: a packet of 128 bytes, as the smallest links that carry IP have. Less would let a peer that
    /// offers an MSS of 1 multiply our packets (CVE-2019-11479); more would cut off the smallest devices.
    pub min_mss: u16,
    /// Offer window scaling (RFC 7323 2). Default on; without it no window exceeds 65,535 bytes.
    pub window_scaling: bool,
    /// Offer timestamps (RFC 7323 3): PAWS and samples during recovery, for 12 bytes a segment. Default on.
    pub timestamps: bool,
    /// Offer SACK (RFC 2018). Default on.
    pub sack: bool,
    /// Send small segments at once instead of waiting for the ACK of what is in flight (Nagle, RFC 9293 3.7.4).
    /// Default on (that is, Nagle off): this stack answers requests.
    pub nodelay: bool,
    /// Hold back what does not fill a segment until it does, until this is off again, or for 200 ms: for an application
    /// that writes its answer in pieces. Default off. It goes before `nodelay`; urgent data and a FIN go before it.
    pub cork: bool,
    /// Initial window, segments (RFC 6928). 1 to 64, default 10.
    pub initial_window_segments: u8,
    /// The congestion control. Default `cubic`, as Linux and most others have.
    pub congestion: Algorithm,
    /// Begin anew with the initial window when nothing was sent for longer than a retransmission time-out (RFC 5681 4.1).
    /// Default on. Off keeps what was proven for five minutes (RFC 7661): the answer to a request that comes after a pause
    /// goes at once, into a network that may have changed.
    pub restart_after_idle: bool,
    /// Explicit congestion notification: routers mark what they would drop. Default `passive`, as Linux has. To ask for it
    /// costs a SYN that some old firewall drops two time-outs; accurate ECN costs up to 12 bytes of each pure ACK.
    /// With the congestion control `dctcp`, which needs to know how much is marked, our SYN asks for accurate ECN unless
    /// this is off.
    pub ecn: Ecn,
    /// Space segments over the round trip, at twice the congestion window a round trip in slow start and 1.2 times it
    /// later, as Linux with `fq` does. Default off; `bbr` paces always, at its own rate. It costs a timer for each burst.
    pub pacing: bool,
    /// Segments that a paced connection may send at once, after idleness or a late timer. 1 to 64, default 10. The timer
    /// wheel itself is exact to the nanosecond; how late it is looked at depends on how the worker waits: within a turn
    /// when it spins, some 50 to 100 us when it sleeps. The burst makes up for that.
    pub pacing_burst_segments: u8,
    /// Send the last segment again, or a new one, when no ACK comes for two round trips (tail-loss probe, RFC 8985 7).
    /// Default on; it needs SACK. Without it a lost tail waits for the retransmission time-out.
    pub tail_loss_probe: bool,
    /// By how much the tail-loss probe of a single segment waits longer, because the peer may hold back its ACK. 0 to
    /// 500 ms, default 0: how long the peer delays ACKs shows in the round-trip times, and the first probes that go too
    /// early cost a segment each. Linux waits 200 ms.
    pub peer_ack_delay: Duration,
    /// Least time to a tail-loss probe. 10 us to 1 s, default 2 ms: on a fast network two round trips are less than what
    /// the peer's scheduler may take.
    pub probe_min: Duration,
    /// How long an ACK may wait for company (RFC 9293 3.8.6.3, MUST-40: under 500 ms). Default 40 ms; 0 sends each
    /// ACK at the end of the turn.
    pub delayed_ack: Duration,
    /// How long after the last of a burst of full segments its ACK leaves; after 16 of them it does anyway. 0 to 10 ms, 0
    /// does not wait: at least every second full segment is acknowledged at the end of the turn it came in (RFC 9293
    /// 3.8.6.3, SHLD-19), and so are the first ones, those that are not full, and whatever is out of order. Default 0.
    pub ack_gap: Duration,
    /// Segments that are acknowledged at once at the start and after idleness, so that the peer's congestion window
    /// opens quickly. 0 to 255, default 16 as Linux has; each costs an ACK that might have had company.
    pub quick_acks: u8,
    /// RTO before the first sample (RFC 6298 2.1). Default 1 s.
    pub rto_initial: Duration,
    /// Least RTO. RFC 6298 2.4 recommends 1 s; default 200 ms as Linux has, because data centres can't wait.
    pub rto_min: Duration,
    /// Greatest RTO, at least 60 s by RFC 6298 2.5 where it is limited at all. Default 120 s.
    pub rto_max: Duration,
    /// How often a SYN or SYN-ACK is sent again before the attempt fails (R2 for SYNs, RFC 9293 3.8.3, at least
    /// 3 minutes by MUST-23). Default 7: 1 + 2 + ... + 64 + 120 s = 247 s.
    //= spec/rfc9293.txt#section-3.8.3
    //# R2 for a SYN segment MUST be set large enough to provide retransmission of the segment for at least 3 minutes
    //# (MUST-23).
    pub syn_retries: u8,
    /// R1 (RFC 9293 3.8.3): after so many retransmissions of the same segment the neighbour on the way is asked whether
    /// it is still there, and the application hears of trouble. 1 to 15, default 3 (SHLD-10).
    pub r1_retransmits: u8,
    /// R2 (RFC 9293 3.8.3): how long data may stay unacknowledged before the connection is given up; a peer that keeps
    /// its window closed and answers is not given up. Default 15 minutes, at least 100 s by SHLD-11.
    //= spec/rfc9293.txt#section-3.8.3
    //# An application MUST (MUST-21) be able to set the value for R2 for a particular connection.
    pub give_up_after: Duration,
    /// The user time-out (RFC 9293 3.9.1.1, RFC 5482): how long something that was handed over may wait without that
    /// anything new is acknowledged, behind a closed window too, before the connection is given up. At least 1 ms,
    /// default `None`: R2 decides alone. The peer is not told: the option of RFC 5482 is neither sent nor obeyed.
    pub user_timeout: Option<Duration>,
    /// How long queued data may still go out after `close`; what is left then is given up with an RST. `None`, the
    /// default, is as long as R2 allows. Zero makes every `close` an abort.
    pub linger: Option<Duration>,
    /// Data in the SYN (RFC 7413), as a server and as a client: a round trip less for a peer that has been met before. A
    /// SYN that comes twice may open two connections with the same data, so it is for requests that may be repeated.
    /// Default off.
    pub fast_open: bool,
    /// Maximum segment lifetime; TIME-WAIT lasts twice as long (RFC 9293 3.4.2). Default 30 s, so TIME-WAIT lasts
    /// the 60 s that Linux has. It counts while the application has unread data; the wait after that is the
    /// endpoint's.
    pub msl: Duration,
    /// How long FIN-WAIT-2 waits for the peer's FIN after the application closed for good. Default 60 s.
    pub fin_wait_2: Duration,
    /// Least time between two challenge ACKs, and between two answers to empty segments that are not acceptable (RFC 5961
    /// 7). 1 ms to 60 s, default 500 ms as Linux has. Shorter lets a peer that lost its state come back sooner, and
    /// somebody who forges segments make us send more. The endpoint has a limit for all its connections besides.
    pub challenge_interval: Duration,
    /// Segments `SACKed`, or without SACK duplicate ACKs, that tell of a loss at once where no reordering was seen
    /// (RFC 8985 6.2, RFC 5681 3.2). 1 to 127, default 3.
    pub duplicate_ack_threshold: u8,
    /// Keepalive (RFC 9293 3.8.4); `None`, the default, is off (MUST-25).
    //= spec/rfc9293.txt#section-3.8.4
    //# If keep-alives are included, the application MUST be able to turn them on or off for each TCP connection
    //# (MUST-24)
    pub keepalive: Option<KeepaliveConfig>,
    /// The Differentiated Services field of what is sent, 0 to 63 (RFC 9293 3.9.1.9, MUST-48). Default 0.
    pub dscp: u8,
    /// Time to live, or hop limit, of what is sent (RFC 9293 3.9.2, MUST-49). 1 to 255, default 64.
    pub ttl: u8,
    /// Tell the application of soft errors, those that do not end a connection: ICMP, silent neighbours, R1 reached
    /// (RFC 9293 3.9.1.8). Default on; an event each.
    //= spec/rfc9293.txt#section-3.9.1.8
    //# However, an application program that does not want to receive such ERROR_REPORT calls SHOULD be able to
    //# effectively disable these calls (SHLD-20).
    pub report_soft_errors: bool,
}

/// When an idle connection is asked whether its peer is still there (RFC 9293 3.8.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepaliveConfig {
    /// Idle time before the first probe; no less than two hours by default (MUST-28).
    //= spec/rfc9293.txt#section-3.8.4
    //# This interval MUST be configurable (MUST-27)
    pub idle: Duration,
    /// Time between probes. Default 75 s.
    pub interval: Duration,
    /// Unanswered probes after which the connection is given up. Default 10, no less than 2: a probe may get lost.
    pub probes: u8,
    /// Send a byte of garbage in each probe, for peers that do not answer an empty one (RFC 9293 3.8.4, MAY-6). Default
    /// off (SHLD-12).
    pub garbage: bool,
}

impl Default for KeepaliveConfig {
    fn default() -> Self {
        //= spec/rfc9293.txt#section-3.8.4
        //# MUST default to no less than two hours (MUST-28).
        Self { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), probes: 10, garbage: false }
    }
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            recv_buffer: 256 * 1024,
            recv_buffer_initial: 64 * 1024,
            send_buffer: 256 * 1024,
            mss: None,
            min_mss: 88,
            window_scaling: true,
            timestamps: true,
            sack: true,
            nodelay: true,
            cork: false,
            initial_window_segments: 10,
            congestion: Algorithm::default(),
            restart_after_idle: true,
            ecn: Ecn::default(),
            pacing: false,
            pacing_burst_segments: 10,
            tail_loss_probe: true,
            peer_ack_delay: Duration::ZERO,
            probe_min: Duration::from_millis(2),
            delayed_ack: Duration::from_millis(40),
            ack_gap: Duration::ZERO,
            quick_acks: 16,
            //= spec/rfc6298.txt#section-2
            //# (2.1) Until a round-trip time (RTT) measurement has been made for a segment sent between the sender and
            //# receiver, the sender SHOULD set RTO <- 1 second
            rto_initial: Duration::from_secs(1),
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(120),
            syn_retries: 7,
            //= spec/rfc9293.txt#section-3.8.3
            //# The value of R1 SHOULD correspond to at least 3 retransmissions, at the current RTO (SHLD-10).
            r1_retransmits: 3,
            //= spec/rfc9293.txt#section-3.8.3
            //# The value of R2 SHOULD correspond to at least 100 seconds (SHLD-11).
            give_up_after: Duration::from_secs(900),
            user_timeout: None,
            linger: None,
            //= spec/rfc7413.txt#section-2
            //# Therefore, TCP implementations MUST NOT use TFO by default, but only use TFO if requested explicitly by the application
            //# on a per-service- port basis.
            //= spec/rfc7413.txt#section-4.2
            //# It MUST be turned on explicitly by the application.
            fast_open: false,
            msl: Duration::from_secs(30),
            fin_wait_2: Duration::from_secs(60),
            challenge_interval: Duration::from_millis(500),
            duplicate_ack_threshold: 3,
            //= spec/rfc9293.txt#section-3.8.4
            //# they MUST default to off (MUST-25).
            keepalive: None,
            dscp: 0,
            ttl: 64,
            report_soft_errors: true,
        }
    }
}

/// A setting that is out of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// A number.
    #[error("{setting} is {value}; it has to be from {least} to {most}")]
    Number {
        /// The name of the field.
        setting: &'static str,
        /// What it is.
        value: u64,
        /// The least that it may be.
        least: u64,
        /// The most.
        most: u64,
    },
    /// A time.
    #[error("{setting} is {value:?}; it has to be from {least:?} to {most:?}")]
    Time {
        /// The name of the field.
        setting: &'static str,
        /// What it is.
        value: Duration,
        /// The least that it may be.
        least: Duration,
        /// The most.
        most: Duration,
    },
}

impl TcpConfig {
    /// The receive window that a connection begins with.
    pub fn first_window(&self) -> u32 {
        self.recv_buffer_initial.min(self.recv_buffer)
    }

    /// The ECN of a connection, as its congestion control needs it.
    pub fn ecn_wanted(&self) -> Ecn {
        match (self.ecn, self.congestion) {
            (Ecn::Passive | Ecn::Classic, Algorithm::Dctcp) => Ecn::Accurate,
            (ecn, _) => ecn,
        }
    }

    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut limits = Limits::default();
        let _ = self.limited(&mut limits);
        limits.broken.map_or(Ok(()), Err)
    }

    /// The same settings, each that is out of its range moved to the nearest value inside it.
    #[must_use]
    pub fn clamped(&self) -> Self {
        self.limited(&mut Limits::default())
    }

    /// The one place that knows the ranges.
    fn limited(&self, l: &mut Limits) -> Self {
        const MS: Duration = Duration::from_millis(1);
        const DAY: Duration = Duration::from_secs(86_400);
        const BUFFER: (u32, u32) = (4096, 1 << 30);
        let rto_max = l.time("rto_max", self.rto_max, MS, DAY);
        Self {
            recv_buffer: l.u32("recv_buffer", self.recv_buffer, BUFFER),
            recv_buffer_initial: l.u32("recv_buffer_initial", self.recv_buffer_initial, BUFFER),
            send_buffer: l.u32("send_buffer", self.send_buffer, BUFFER),
            mss: self.mss.map(|mss| l.u16("mss", mss, (48, u16::MAX - 40))),
            min_mss: l.u16("min_mss", self.min_mss, (48, 536)),
            initial_window_segments: l.u8("initial_window_segments", self.initial_window_segments, (1, 64)),
            pacing_burst_segments: l.u8("pacing_burst_segments", self.pacing_burst_segments, (1, 64)),
            peer_ack_delay: l.time("peer_ack_delay", self.peer_ack_delay, Duration::ZERO, 500 * MS),
            probe_min: l.time("probe_min", self.probe_min, Duration::from_micros(10), 1000 * MS),
            delayed_ack: l.time("delayed_ack", self.delayed_ack, Duration::ZERO, 499 * MS),
            ack_gap: l.time("ack_gap", self.ack_gap, Duration::ZERO, 10 * MS),
            rto_initial: l.time("rto_initial", self.rto_initial, MS, rto_max),
            rto_min: l.time("rto_min", self.rto_min, MS, rto_max),
            rto_max,
            syn_retries: l.u8("syn_retries", self.syn_retries, (0, 32)),
            r1_retransmits: l.u8("r1_retransmits", self.r1_retransmits, (1, 15)),
            give_up_after: l.time("give_up_after", self.give_up_after, MS, 365 * DAY),
            //= spec/rfc5482.txt#section-3
            //# Hosts MUST impose upper and lower limits on the user timeouts they use for a connection.
            user_timeout: self.user_timeout.map(|time| l.time("user_timeout", time, MS, 365 * DAY)),
            linger: self.linger.map(|time| l.time("linger", time, Duration::ZERO, DAY)),
            msl: l.time("msl", self.msl, MS, 600_000 * MS),
            fin_wait_2: l.time("fin_wait_2", self.fin_wait_2, Duration::ZERO, DAY),
            challenge_interval: l.time("challenge_interval", self.challenge_interval, MS, 60_000 * MS),
            duplicate_ack_threshold: l.u8("duplicate_ack_threshold", self.duplicate_ack_threshold, (1, 127)),
            keepalive: self.keepalive.map(|config| KeepaliveConfig {
                idle: l.time("keepalive.idle", config.idle, MS, 365 * DAY),
                interval: l.time("keepalive.interval", config.interval, MS, DAY),
                probes: l.u8("keepalive.probes", config.probes, (2, 255)),
                garbage: config.garbage,
            }),
            dscp: l.u8("dscp", self.dscp, (0, 63)),
            ttl: l.u8("ttl", self.ttl, (1, 255)),
            ..*self
        }
    }
}

/// Moves values into their ranges and remembers the first that was outside.
#[derive(Default)]
struct Limits {
    broken: Option<ConfigError>,
}

impl Limits {
    fn number(&mut self, setting: &'static str, value: u64, least: u64, most: u64) -> u64 {
        if !(least..=most).contains(&value) {
            self.broken.get_or_insert(ConfigError::Number { setting, value, least, most });
        }
        value.clamp(least, most)
    }

    fn u32(&mut self, setting: &'static str, value: u32, (least, most): (u32, u32)) -> u32 {
        self.number(setting, value.into(), least.into(), most.into()) as u32
    }

    fn u16(&mut self, setting: &'static str, value: u16, (least, most): (u16, u16)) -> u16 {
        self.number(setting, value.into(), least.into(), most.into()) as u16
    }

    fn u8(&mut self, setting: &'static str, value: u8, (least, most): (u8, u8)) -> u8 {
        self.number(setting, value.into(), least.into(), most.into()) as u8
    }

    fn time(&mut self, setting: &'static str, value: Duration, least: Duration, most: Duration) -> Duration {
        if !(least..=most).contains(&value) {
            self.broken.get_or_insert(ConfigError::Time { setting, value, least, most });
        }
        value.clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_defaults_are_in_their_ranges() {
        assert_eq!(TcpConfig::default().check(), Ok(()));
        assert_eq!(TcpConfig::default().clamped(), TcpConfig::default());
        let keepalive = Some(KeepaliveConfig::default());
        assert_eq!(TcpConfig { keepalive, ..TcpConfig::default() }.check(), Ok(()));
    }

    #[test]
    fn what_is_out_of_range_is_named_and_counts_as_the_nearest() {
        let config = TcpConfig { min_mss: 1, ..TcpConfig::default() };
        let error = config.check().unwrap_err();
        assert_eq!(error.to_string(), "min_mss is 1; it has to be from 48 to 536");
        assert_eq!(config.clamped().min_mss, 48);
        let config = TcpConfig { delayed_ack: Duration::from_secs(3), ..TcpConfig::default() };
        let error = config.check().unwrap_err();
        assert_eq!(error.to_string(), "delayed_ack is 3s; it has to be from 0ns to 499ms");
        assert_eq!(config.clamped().delayed_ack, Duration::from_millis(499));
    }

    //= spec/rfc5482.txt#section-3
    //= type=test
    //# Hosts MUST impose upper and lower limits on the user timeouts they use for a connection.
    #[test]
    fn a_user_time_out_is_neither_nothing_nor_for_ever() {
        let mended = |user_timeout| TcpConfig { user_timeout, ..TcpConfig::default() }.clamped().user_timeout;
        assert_eq!(mended(Some(Duration::ZERO)), Some(Duration::from_millis(1)));
        assert_eq!(mended(Some(Duration::MAX)), Some(Duration::from_secs(365 * 86_400)));
        assert_eq!(mended(None), None);
    }

    #[test]
    fn a_time_out_of_no_length_and_probes_of_none_are_mended() {
        let keepalive = Some(KeepaliveConfig { probes: 0, ..KeepaliveConfig::default() });
        let config = TcpConfig { rto_min: Duration::ZERO, rto_max: Duration::ZERO, keepalive, ..TcpConfig::default() };
        assert!(config.check().is_err());
        let mended = config.clamped();
        assert_eq!(mended.check(), Ok(()));
        assert_eq!(mended.rto_initial, Duration::from_millis(1), "no more than the greatest");
        assert_eq!(mended.keepalive.map(|keepalive| keepalive.probes), Some(2));
    }
}
