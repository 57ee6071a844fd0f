//! A trial: senders, one receiver, the path between them, and virtual time.

use super::algorithm::{Algorithm, equip};
use super::node::{self, Node};
use crate::path::{Drop, Link, LinkCounters, LinkPlan, Packet};
use corelane_proto::Instant;
use corelane_proto::tcp::config::{Ecn, TcpConfig};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::Duration;

/// A trial without an end after so much virtual time is given up.
const LONGEST: Duration = Duration::from_secs(3600);

/// One transfer of a trial.
#[derive(Clone, Copy, Debug)]
pub struct FlowPlan {
    /// Its sender's congestion control.
    pub algorithm: Algorithm,
    /// When it opens, from the beginning of the trial.
    pub start: Duration,
    /// Bytes; `None` goes on until the trial ends.
    pub bytes: Option<u64>,
}

/// A trial.
#[derive(Clone, Debug)]
pub struct TrialPlan {
    /// The transfers, each from a host of its own to the same receiver.
    pub flows: Vec<FlowPlan>,
    /// The way of the data.
    pub forward: LinkPlan,
    /// The way of the ACKs.
    pub back: LinkPlan,
    /// Send and receive buffer of each connection, bytes: so great that the network is the limit.
    pub buffer: u32,
    /// Offer ECN.
    pub ecn: bool,
    /// What chance depends on.
    pub seed: u64,
    /// From when to when the transfers are measured, for those without an end.
    pub window: Option<(Duration, Duration)>,
    /// How often the first sender is looked at, for plots.
    pub sample_every: Option<Duration>,
}

/// What came of one transfer.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowOutcome {
    /// From the first byte written, the connection being open, to the last byte read; `None` if it did not end.
    pub completion: Option<Duration>,
    /// Bytes that were read in the trial's window, or at all without one.
    pub bytes: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Retransmission time-outs.
    pub time_outs: u64,
}

/// What the first sender looked like at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since its first byte was written.
    pub at: Duration,
    /// Congestion window, bytes.
    pub cwnd: u32,
    /// Slow-start threshold, bytes; `u32::MAX` before the first loss.
    pub ssthresh: u32,
    /// Bytes in flight.
    pub in_flight: u32,
    /// The sender's smoothed round-trip time.
    pub srtt: Option<Duration>,
    /// What the path would need there and back for a packet sent now.
    pub path_rtt: Duration,
    /// Bytes that the receiver has read.
    pub read: u64,
    /// Bytes that wait before the bottleneck.
    pub queue: u64,
}

/// What happened at a moment, for plots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// The path dropped a packet with data.
    Dropped(Drop),
    /// The sender's retransmission time-out fired.
    TimeOut,
}

/// What came of a trial.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The transfers', in the order of the plan.
    pub flows: Vec<FlowOutcome>,
    /// What the way of the data did.
    pub forward: LinkCounters,
    /// What the way of the ACKs did.
    pub back: LinkCounters,
    /// The mean number of bytes that waited before the bottleneck, in the window if there is one.
    pub mean_queue: u64,
    /// The first sender over time, if it was asked for.
    pub samples: Vec<Sample>,
    /// What happened when, since the first byte was written.
    pub marks: Vec<(Duration, Mark)>,
}

impl Outcome {
    /// The first transfer's completion; [`Duration::MAX`] if it did not end.
    pub fn completion(&self) -> Duration {
        self.flows.first().and_then(|flow| flow.completion).unwrap_or(Duration::MAX)
    }

    /// Retransmission time-outs of all.
    pub fn time_outs(&self) -> u64 {
        self.flows.iter().map(|flow| flow.time_outs).sum()
    }

    /// Segments sent again by all.
    pub fn retransmits(&self) -> u64 {
        self.flows.iter().map(|flow| flow.retransmits).sum()
    }
}

/// Runs a trial.
///
/// # Panics
/// When the stack breaks: a wrong byte, a frame misused, a connection that ends, no rest. That is no outcome.
pub fn run(plan: &TrialPlan) -> Outcome {
    let mut trial = Trial::new(plan);
    while trial.step() {
        if let Some(what) = trial.nodes.iter().find_map(|node| node.failure.as_ref()) {
            panic!("{what}, at {:?} of {plan:?}", trial.now);
        }
    }
    trial.outcome()
}

struct Trial<'a> {
    plan: &'a TrialPlan,
    now: Instant,
    /// The senders, then the receiver.
    nodes: Vec<Node>,
    forward: Link,
    back: Link,
    /// Flows that have begun.
    started: usize,
    armed: Option<Instant>,
    /// Bytes that each flow had delivered when the window began.
    before: Option<Vec<u64>>,
    samples: Vec<Sample>,
    time_outs: Vec<Instant>,
}

impl<'a> Trial<'a> {
    fn new(plan: &'a TrialPlan) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
        let hosts = plan.flows.len() + 1;
        let buffer = u64::from(plan.buffer);
        let buffered = |index| if index == hosts - 1 { buffer * plan.flows.len() as u64 } else { buffer };
        let mut nodes: Vec<_> =
            (0..hosts).map(|index| Node::new(index, hosts, buffered(index), rng.random())).collect();
        nodes[hosts - 1].listen(config(plan, None));
        Self {
            plan,
            now: Instant::ZERO,
            nodes,
            forward: Link::new(plan.forward.clone(), rng.random()),
            back: Link::new(plan.back.clone(), rng.random()),
            started: 0,
            armed: None,
            before: None,
            samples: Vec::new(),
            time_outs: Vec::new(),
        }
    }

    /// Goes to the next moment at which something happens; false when the trial is over.
    fn step(&mut self) -> bool {
        let next_start = self.plan.flows.get(self.started).map(|flow| Instant::ZERO + flow.start);
        let links = [self.forward.poll_deadline(), self.back.poll_deadline(), next_start, self.window_edge()];
        let next = links.into_iter().chain(self.nodes.iter().map(|node| node.wake_at)).flatten().min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        if self.now > Instant::ZERO + LONGEST {
            return false;
        }
        self.open_due();
        while let Some(packet) = self.forward.poll_packet(self.now) {
            self.arrive(&packet);
        }
        while let Some(packet) = self.back.poll_packet(self.now) {
            self.arrive(&packet);
        }
        for index in 0..self.nodes.len() {
            if self.nodes[index].wake_at.is_some_and(|at| at <= self.now) {
                self.turns(index);
            }
        }
        self.sample();
        !self.is_over()
    }

    /// The flows have to be in the order of their starts.
    fn open_due(&mut self) {
        let receiver = self.plan.flows.len();
        while let Some(flow) = self.plan.flows.get(self.started) {
            if Instant::ZERO + flow.start > self.now {
                return;
            }
            let total = flow.bytes.unwrap_or(u64::MAX);
            let config = config(self.plan, Some(flow.algorithm));
            self.nodes[self.started].open(self.now, self.started, receiver, total, config);
            self.started += 1;
        }
    }

    fn arrive(&mut self, packet: &Packet) {
        let to = node::destination(packet.bytes());
        if let Some(node) = self.nodes.get_mut(to) {
            node.receive(self.now, packet.bytes());
        }
    }

    fn turns(&mut self, index: usize) {
        let Self { plan, now, nodes, forward, back, armed, time_outs, .. } = self;
        let node = &mut nodes[index];
        let before = node.endpoint.counters().rto_fired;
        let link = if index == plan.flows.len() { &mut *back } else { &mut *forward };
        node.turns(*now, |frame| link.on_packet(*now, Packet::new(frame)));
        if armed.is_none() && node.open_since().is_some() {
            *armed = Some(*now);
            forward.arm(*now);
            back.arm(*now);
        }
        if index == 0 && node.endpoint.counters().rto_fired > before {
            time_outs.push(*now);
        }
    }

    /// The next edge of the window that has not passed.
    fn window_edge(&self) -> Option<Instant> {
        let (from, to) = self.plan.window?;
        Some(Instant::ZERO + if self.before.is_none() { from } else { to })
    }

    fn read(&self, flow: usize) -> u64 {
        let readers = &self.nodes[self.plan.flows.len()].readers;
        readers.iter().find(|reader| reader.from == flow).map_or(0, |reader| reader.read)
    }

    fn is_over(&mut self) -> bool {
        let Some((from, to)) = self.plan.window else {
            let mut flows = self.plan.flows.iter().enumerate();
            return flows.all(|(index, flow)| flow.bytes.is_some_and(|bytes| self.read(index) >= bytes));
        };
        if self.before.is_none() && self.now >= Instant::ZERO + from {
            self.before = Some((0..self.plan.flows.len()).map(|flow| self.read(flow)).collect());
            self.forward.take_mean_queue(self.now);
        }
        self.now >= Instant::ZERO + to
    }

    /// Looks at the first sender. Of moments close together only the last counts, so that what lasts is what is seen.
    fn sample(&mut self) {
        let Some(every) = self.plan.sample_every else { return };
        let Some((since, info)) = self.nodes[0].open_since().zip(self.nodes[0].info()) else { return };
        let sample = Sample {
            at: self.now.saturating_since(since),
            cwnd: info.cwnd,
            ssthresh: info.ssthresh,
            in_flight: info.in_flight,
            srtt: info.srtt,
            path_rtt: self.forward.transit(self.now) + self.back.transit(self.now),
            read: self.read(0),
            queue: self.forward.waiting_bytes(),
        };
        let before = self.samples.len().checked_sub(2).map(|index| self.samples[index].at);
        match self.samples.last_mut() {
            Some(last) if before.is_some_and(|before| sample.at < before + every) => *last = sample,
            _ => self.samples.push(sample),
        }
    }

    fn outcome(mut self) -> Outcome {
        let flows = (0..self.plan.flows.len()).map(|index| self.flow(index)).collect();
        let origin = self.nodes[0].open_since().unwrap_or_default();
        let drops = self.forward.drops().iter().map(|(at, drop)| (*at, Mark::Dropped(*drop)));
        let mut marks: Vec<_> = drops.chain(self.time_outs.iter().map(|at| (*at, Mark::TimeOut))).collect();
        marks.sort_by_key(|(at, _)| *at);
        Outcome {
            flows,
            forward: self.forward.counters(),
            back: self.back.counters(),
            mean_queue: self.forward.take_mean_queue(self.now),
            samples: std::mem::take(&mut self.samples),
            marks: marks.into_iter().map(|(at, mark)| (at.saturating_since(origin), mark)).collect(),
        }
    }

    fn flow(&self, index: usize) -> FlowOutcome {
        let (node, plan) = (&self.nodes[index], &self.plan.flows[index]);
        let readers = &self.nodes[self.plan.flows.len()].readers;
        let last_at = readers.iter().find(|reader| reader.from == index).map(|reader| reader.last_at);
        let ended = plan.bytes.is_some_and(|bytes| self.read(index) >= bytes);
        let completion =
            last_at.zip(node.open_since()).filter(|_| ended).map(|(last, since)| last.saturating_since(since));
        let before = self.before.as_ref().map_or(0, |before| before[index]);
        let counters = node.endpoint.counters();
        FlowOutcome {
            completion,
            bytes: self.read(index) - before,
            retransmits: counters.retransmits,
            time_outs: counters.rto_fired,
        }
    }
}

/// The settings of a connection: the defaults, but for its buffers and its congestion control.
fn config(plan: &TrialPlan, algorithm: Option<Algorithm>) -> TcpConfig {
    let mut config = TcpConfig {
        recv_buffer: plan.buffer,
        recv_buffer_initial: plan.buffer,
        send_buffer: plan.buffer,
        ..TcpConfig::default()
    };
    set_ecn(&mut config, plan.ecn);
    if let Some(algorithm) = algorithm {
        equip(algorithm, &mut config);
    }
    config
}

/// Asks for accurate ECN, which tells DCTCP how much is marked and the others that something is.
fn set_ecn(config: &mut TcpConfig, on: bool) {
    config.ecn = if on { Ecn::Accurate } else { Ecn::Off };
}
