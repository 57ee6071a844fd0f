//! What a seed stands for: the network, the hosts, and what the applications do.

use corelane_proto::Instant;
use corelane_proto::tcp::algorithm::Algorithm;
use corelane_proto::tcp::config::{Ecn, KeepaliveConfig, TcpConfig};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::Duration;

/// The random numbers of everything.
pub(crate) type Rng = Xoshiro256PlusPlus;

/// What one direction of the wire does. Probabilities are from 0 to 1, each for itself and for each frame.
#[derive(Clone, Debug)]
pub struct LinkPlan {
    /// A frame is lost.
    pub loss: f64,
    /// A frame comes twice.
    pub duplicate: f64,
    /// One to four bits of a frame are flipped.
    pub corrupt: f64,
    /// A frame takes up to `reorder_us` longer than others.
    pub reorder: f64,
    /// Microseconds that every frame takes.
    pub delay_us: u64,
    /// Most microseconds more, drawn for each frame.
    pub jitter_us: u64,
    /// See `reorder`.
    pub reorder_us: u64,
    /// The bottleneck, if there is one.
    pub bytes_per_second: Option<u64>,
    /// Frames that wait for the bottleneck; more are lost.
    pub queue: usize,
    /// A copy of a frame comes again, up to ten seconds later.
    pub late: f64,
    /// Somebody off the path adds a segment with a number outside of every window.
    pub forged: f64,
    /// From when to when nothing passes.
    pub outage: Option<(Instant, Instant)>,
}

/// How a host is equipped.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// All its frames.
    pub frames: u32,
    /// Those of them that only receiving takes.
    pub reserve: usize,
    /// Below how many free ones the endpoint is sparing.
    pub low_water: usize,
    /// Frames that the device has to send at once.
    pub tx_slots: usize,
    /// Most microseconds from a frame's sending to its completion.
    pub completion_us: u64,
    /// What its listeners give to connections; one of them leaves keepalive out.
    pub accepts: TcpConfig,
    /// Maximum segment lifetime.
    pub msl: Duration,
}

/// How an application leaves a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leave {
    /// Shuts the sending side once everything is sent, reads to the end, closes.
    ShutThenRead,
    /// Closes once everything is sent and everything expected has been read.
    Close,
    /// Once everything is sent it waits for the peer to end, then closes.
    AfterPeer,
    /// Aborts this long after it has begun to open the connection, or got it.
    Abort(Duration),
    /// The same, but it shuts the sending side once everything is sent: the abort may find any state.
    ShutThenAbort(Duration),
    /// Closes after such a time, whatever is unread or on its way.
    CloseEarly(Duration),
}

impl Leave {
    /// Whether both streams may end unfinished.
    pub fn is_abrupt(self) -> bool {
        matches!(self, Self::Abort(_) | Self::ShutThenAbort(_) | Self::CloseEarly(_))
    }
}

/// What one application does on one connection.
#[derive(Clone, Debug)]
pub struct SidePlan {
    /// Bytes to send.
    pub total: u64,
    /// Bytes of a write.
    pub write: usize,
    /// Probability of a pause after a write, and how long it is at most.
    pub write_pause: (f64, Duration),
    /// Writes into frames of its own instead of copying.
    pub zero_copy: bool,
    /// Most bytes that are read before a pause.
    pub read: usize,
    /// The longest pause after a read; zero for none.
    pub read_pause: Duration,
    /// One long pause: after how many bytes read, and how long.
    pub nap: Option<(u64, Duration)>,
    /// Probability that a buffer is kept for a while after it was read.
    pub detach: f64,
    /// Probability that a part of a buffer is put back.
    pub put_back: f64,
    /// Shuts the receiving side after so many bytes.
    pub shut_read_after: Option<u64>,
    /// Probability that a write is urgent.
    pub urgent: f64,
    /// How it leaves.
    pub leave: Leave,
}

/// How a connection comes to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// One end connects, the other listens.
    Plain,
    /// Both ends bind a port and connect to each other's, so that their SYNs may cross; the second so long after the
    /// first.
    Crossed(Duration),
    /// A listener connects to another.
    Listener,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct ConnPlan {
    /// Which host opens it: 0 or 1.
    pub opener: usize,
    /// When.
    pub start: Instant,
    /// How it comes to be.
    pub way: Way,
    /// Over IPv6.
    pub v6: bool,
    /// Nobody listens at the port.
    pub refused: bool,
    /// Both ends look after an idle peer. Without it whoever sleeps too long sleeps for ever, and the checks see it.
    pub keepalive: bool,
    /// The opener's settings.
    pub config: TcpConfig,
    /// The opener's application and the accepter's.
    pub sides: [SidePlan; 2],
}

impl ConnPlan {
    /// Whether both applications end it in order.
    pub fn is_orderly(&self) -> bool {
        !self.refused && !self.sides.iter().any(|side| side.leave.is_abrupt())
    }
}

/// Everything that a seed draws.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// The wire from host 0 to host 1, and back.
    pub links: [LinkPlan; 2],
    /// The hosts.
    pub hosts: [HostPlan; 2],
    /// The connections.
    pub conns: Vec<ConnPlan>,
}

impl Scenario {
    /// What `seed` stands for.
    pub fn draw(seed: u64) -> Self {
        let mut draw = Draw(Rng::seed_from_u64(seed));
        let links = draw.links();
        let conns = match draw.below(4) {
            0 => 1,
            1 | 2 => 1 + draw.below(4),
            _ => 1 + draw.below(12),
        };
        let hosts = [draw.host(), draw.host()];
        let longest_lead = links.iter().map(|link| link.delay_us).min().unwrap_or(0);
        let conns = (0..conns).map(|_| draw.conn(longest_lead)).collect();
        let mut scenario = Self { seed, links, hosts, conns };
        // From random numbers of their own, so that a seed means what it meant before these were drawn.
        let mut draw = Draw(scenario.rng(20));
        for host in &mut scenario.hosts {
            draw.rarer_settings(&mut host.accepts, 0.04);
        }
        for conn in &mut scenario.conns {
            draw.rarer_settings(&mut conn.config, 0.08);
        }
        scenario.watch_the_hurried();
        let mut draw = Draw(scenario.rng(21));
        for host in &mut scenario.hosts {
            draw.sender(&mut host.accepts);
        }
        for conn in &mut scenario.conns {
            draw.sender(&mut conn.config);
        }
        scenario
    }

    /// The settings of one side of a connection, but for keepalive: the opener's, or what the other host's listeners give.
    pub fn config_of<'a>(&'a self, conn: &'a ConnPlan, side: usize) -> &'a TcpConfig {
        let accepted = side == 1 && !matches!(conn.way, Way::Crossed(_));
        if accepted { &self.hosts[1 - conn.opener].accepts } else { &conn.config }
    }

    /// Where one side may end by itself, the RST that tells the other can be lost: then only keepalive tells.
    fn watch_the_hurried(&mut self) {
        let keepalive = self.hosts[0].accepts.keepalive;
        let hurried = |conn: &ConnPlan| {
            let configs = [0, 1].map(|side| self.config_of(conn, side));
            configs.iter().any(|config| config.linger.is_some() || config.user_timeout.is_some())
        };
        let watched: Vec<bool> = self.conns.iter().map(hurried).collect();
        for (conn, _) in self.conns.iter_mut().zip(watched).filter(|(_, watched)| *watched) {
            conn.keepalive = true;
            conn.config.keepalive = conn.config.keepalive.or(keepalive);
        }
    }

    /// The worse loss of the two directions, damage included.
    pub fn worst_loss(&self) -> f64 {
        self.links.iter().map(|link| link.loss + link.corrupt).fold(0.0, f64::max)
    }

    /// The random numbers for `part` of the run: parts do not disturb each other.
    pub(crate) fn rng(&self, part: u64) -> Rng {
        Rng::seed_from_u64(self.seed ^ (part + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

struct Draw(Rng);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0.random_range(0..n)
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.0.random::<f64>() < probability
    }

    /// From `least` to `most`, small ones as likely as large ones by order of magnitude.
    fn scale(&mut self, least: f64, most: f64) -> f64 {
        let (low, high) = (least.ln(), most.ln());
        (low + (high - low) * self.0.random::<f64>()).exp()
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())]
    }

    fn millis(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_micros((self.scale(least, most) * 1000.0) as u64)
    }

    fn links(&mut self) -> [LinkPlan; 2] {
        let perfect = self.chance(0.15);
        let forth = self.link(perfect);
        let back = if self.chance(0.5) { forth.clone() } else { self.link(perfect) };
        [forth, back]
    }

    fn link(&mut self, perfect: bool) -> LinkPlan {
        let delay_us = self.scale(2.0, 150_000.0) as u64;
        let mut plan = LinkPlan {
            loss: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            reorder: 0.0,
            delay_us,
            jitter_us: 0,
            reorder_us: 0,
            bytes_per_second: None,
            queue: 0,
            late: 0.0,
            forged: 0.0,
            outage: None,
        };
        if perfect {
            return plan;
        }
        let often = |draw: &mut Self, most: f64| if draw.chance(0.6) { draw.scale(0.0005, most) } else { 0.0 };
        plan.loss = often(self, 0.12);
        plan.duplicate = often(self, 0.1);
        plan.corrupt = often(self, 0.03);
        plan.reorder = often(self, 0.3);
        if self.chance(0.25) {
            plan.late = self.scale(0.001, 0.03);
        }
        if self.chance(0.25) {
            plan.forged = self.scale(0.001, 0.03);
        }
        plan.reorder_us = self.scale(10.0, 4.0 * delay_us as f64 + 1000.0) as u64;
        if self.chance(0.5) {
            plan.jitter_us = self.scale(1.0, delay_us as f64 + 2.0) as u64;
        }
        if self.chance(0.3) {
            plan.bytes_per_second = Some(self.scale(100_000.0, 1e9) as u64);
            plan.queue = self.scale(8.0, 500.0) as usize;
        }
        if self.chance(0.1) {
            let from = Instant::ZERO + self.millis(1.0, 20_000.0);
            plan.outage = Some((from, from + self.millis(10.0, 20_000.0)));
        }
        plan
    }

    fn host(&mut self) -> HostPlan {
        let small = self.chance(0.3);
        let frames = if small { self.scale(48.0, 300.0) } else { self.scale(1000.0, 3000.0) } as u32;
        let reserve = (frames / 4).clamp(8, 256) as usize;
        HostPlan {
            frames,
            reserve,
            low_water: (frames as usize / 8).clamp(2, 64),
            tx_slots: self.scale(2.0, 256.0) as usize,
            completion_us: if self.chance(0.5) { 0 } else { self.scale(1.0, 50_000.0) as u64 },
            accepts: self.tcp(),
            // Twice as long as this is longer than any nap: who could not be answered for want of frames is in time.
            msl: self.millis(25_000.0, 60_000.0),
        }
    }

    fn tcp(&mut self) -> TcpConfig {
        let buffer = |draw: &mut Self| draw.scale(4096.0, 512.0 * 1024.0) as u32;
        let defaults = TcpConfig::default();
        TcpConfig {
            recv_buffer: buffer(self),
            send_buffer: buffer(self),
            mss: if self.chance(0.4) { Some(self.scale(100.0, 1460.0) as u16) } else { None },
            window_scaling: self.chance(0.8),
            timestamps: self.chance(0.7),
            sack: self.chance(0.7),
            nodelay: self.chance(0.6),
            initial_window_segments: self.pick(&[1, 2, 4, 10, 10, 10, 64]),
            delayed_ack: self.pick(&[0, 1, 40, 40, 40, 200, 499]).to_duration(),
            rto_min: self.pick(&[10, 200, 200, 1000]).to_duration(),
            msl: self.millis(25_000.0, 60_000.0),
            keepalive: Some(KeepaliveConfig {
                idle: Duration::from_secs(self.pick(&[60, 120, 600])),
                interval: Duration::from_secs(self.pick(&[5, 75])),
                probes: 10,
                garbage: false,
            }),
            ..defaults
        }
    }

    /// Half of all ends wait for the end of a burst, as the stack does; by what was drawn already, so that seeds stay.
    fn ack_gap(config: &TcpConfig) -> Duration {
        if config.recv_buffer.is_multiple_of(2) { Duration::from_micros(10) } else { Duration::ZERO }
    }

    /// What few applications ask for. With probability `hurry` each for itself, it ends connections by itself.
    fn rarer_settings(&mut self, config: &mut TcpConfig, hurry: f64) {
        config.ack_gap = Self::ack_gap(config);
        config.fast_open = self.chance(0.4);
        config.cork = self.chance(0.1);
        config.ecn = self.pick(&[Ecn::Off, Ecn::Passive, Ecn::Passive, Ecn::Classic, Ecn::Accurate, Ecn::Accurate]);
        if self.chance(hurry) {
            let at_once = self.chance(0.2);
            config.linger = Some(if at_once { Duration::ZERO } else { self.millis(1.0, 30_000.0) });
        }
        if self.chance(hurry) {
            config.user_timeout = Some(self.millis(500.0, 120_000.0));
        }
    }

    /// How data is sent.
    fn sender(&mut self, config: &mut TcpConfig) {
        config.congestion = self.pick(&Algorithm::ALL);
        config.pacing = self.chance(0.3);
        config.tail_loss_probe = self.chance(0.8);
        config.peer_ack_delay = self.pick(&[0, 0, 1, 40, 500]).to_duration();
    }

    /// `longest_lead` is how many microseconds the first of two that open to each other may be ahead.
    fn conn(&mut self, longest_lead: u64) -> ConnPlan {
        let opener = self.below(2) as usize;
        let start = Instant::from_micros(if self.chance(0.5) { 0 } else { self.scale(1.0, 5e6) as u64 });
        let refused = self.chance(0.03);
        let way = match self.below(10) {
            0 if !refused => Way::Crossed(Duration::from_micros(self.below(longest_lead + 1))),
            1 if !refused => Way::Listener,
            _ => Way::Plain,
        };
        let v6 = self.chance(0.25);
        let mut config = self.tcp();
        let mut sides = [self.side(), self.side()];
        let (first, second) = if self.chance(0.5) { (0, 1) } else { (1, 0) };
        // Somebody has to begin to end it.
        sides[first].leave = match self.below(20) {
            0 => Leave::Abort(self.millis(0.001, 10_000.0)),
            1 => Leave::ShutThenAbort(self.millis(0.001, 10_000.0)),
            2 | 3 => Leave::CloseEarly(self.millis(0.001, 10_000.0)),
            4..=10 => Leave::Close,
            _ => Leave::ShutThenRead,
        };
        sides[second].leave = self.pick(&[Leave::AfterPeer, Leave::AfterPeer, Leave::Close, Leave::ShutThenRead]);
        for side in &mut sides {
            if side.leave == Leave::Close {
                // It waits for every byte.
                side.shut_read_after = None;
            }
        }
        // An RST can be lost: then only keepalive tells an application that waits to read.
        let keepalive = sides[first].leave.is_abrupt() || self.chance(0.2);
        config.keepalive = config.keepalive.filter(|_| keepalive);
        ConnPlan { opener, start, way, v6, refused, keepalive, config, sides }
    }

    fn side(&mut self) -> SidePlan {
        let total = match self.below(5) {
            0 => 0,
            1 => self.scale(1.0, 2000.0) as u64,
            _ => self.scale(100.0, 400_000.0) as u64,
        };
        // Neither a write of a byte at a time for 400,000 times, nor a read.
        let least = (total / 400).max(1) as f64;
        let slow = self.chance(0.3);
        SidePlan {
            total,
            write: self.scale(least, least.max(100_000.0)) as usize,
            write_pause: if self.chance(0.3) { (0.2, self.millis(0.01, 300.0)) } else { (0.0, Duration::ZERO) },
            zero_copy: self.chance(0.3),
            read: if slow { self.scale(500.0, 20_000.0) as usize } else { usize::MAX },
            read_pause: if slow { self.millis(0.01, 200.0) } else { Duration::ZERO },
            nap: self.chance(0.15).then(|| (self.below(total.max(1) + 1000), self.millis(100.0, 40_000.0))),
            detach: if self.chance(0.2) { 0.3 } else { 0.0 },
            put_back: if self.chance(0.2) { 0.3 } else { 0.0 },
            shut_read_after: self.chance(0.04).then(|| self.scale(1.0, 10_000.0) as u64),
            urgent: if self.chance(0.1) { 0.2 } else { 0.0 },
            leave: Leave::AfterPeer,
        }
    }
}

trait ToDuration {
    fn to_duration(self) -> Duration;
}

impl ToDuration for u64 {
    /// Milliseconds.
    fn to_duration(self) -> Duration {
        Duration::from_millis(self)
    }
}
