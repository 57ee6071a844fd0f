//! Attacks on a host, each with a victim: a connection between two others that must not lose a byte.
//!
//! B is attacked. A talks with B all the time. The attacker is whoever [`Forge`] makes: off the path it knows the ends of a
//! connection at most, on the path it is a peer that breaks the rules (`Rogue`). Each attack has its bounds; what goes
//! beyond one makes its verdict a failure.

mod blind;
mod flood;
mod peer;
mod rogue;
mod sack;
mod table;

pub use table::Table;

use crate::lab::{A, B, End, Forge, Lab};
use corelane_proto::endpoint::EndpointConfig;
use corelane_proto::wire::TcpPacket;
use rogue::Rogue;
use serde::Serialize;
use std::time::{Duration, Instant};

/// After so many attacking packets the victims talk, and time passes.
const BETWEEN_TALKS: u64 = 256;
/// Bytes that each victim sends then.
const TALK: u64 = 1000;
/// Bytes of memory that a frame takes.
const FRAME_BYTES: usize = 2048;

/// An attack.
pub struct Attack {
    /// Its name, as on the command line and in the tests.
    pub name: &'static str,
    /// What is attacked, and where it is described.
    pub about: &'static str,
    /// Attacking packets in a test, and by the command.
    pub packets: (u64, u64),
    setup: fn(usize, &mut EndpointConfig),
    run: fn(&mut Arena),
}

/// Every attack.
pub fn all() -> impl Iterator<Item = &'static Attack> {
    blind::ATTACKS.iter().chain(flood::ATTACKS).chain(peer::ATTACKS).chain(sack::ATTACKS)
}

/// What came of an attack.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Attacking packets.
    pub packets: u64,
    /// Frames that the attacked host sent in answer.
    pub replies: u64,
    /// Most frames of the host that were not free at any time, the victim's among them.
    pub frames_at_peak: usize,
    /// The memory of these frames, bytes.
    pub bytes_at_peak: usize,
    /// Time by the clock for an attacking packet and its answer, nanoseconds: for information only.
    pub ns_per_packet: u64,
    /// Bytes that the victims sent each other, and how many of them did not arrive.
    pub victim_bytes: u64,
    /// See `victim_bytes`.
    pub victim_lost: u64,
    /// What else was measured.
    pub facts: Vec<String>,
    /// The bounds that did not hold.
    pub broken: Vec<String>,
}

impl Report {
    /// Whether every bound held.
    pub fn held(&self) -> bool {
        self.broken.is_empty() && self.victim_lost == 0
    }
}

/// Runs `attack` with `packets` attacking packets, or as many as a test has.
pub fn run(attack: &Attack, packets: Option<u64>) -> Report {
    let mut arena = Arena::new(attack, packets.unwrap_or(attack.packets.0));
    (attack.run)(&mut arena);
    arena.finish(attack)
}

/// The attack of that name.
pub fn named(name: &str) -> Option<&'static Attack> {
    all().find(|attack| attack.name == name)
}

/// Where an attack takes place.
pub(crate) struct Arena {
    pub(crate) lab: Lab,
    /// Attacking packets that are wanted.
    pub(crate) wanted: u64,
    pub(crate) packets: u64,
    pub(crate) replies: u64,
    work: Duration,
    victims: (End, End),
    /// Frames of B that are in use without an attack.
    frames_before: usize,
    facts: Vec<String>,
    broken: Vec<String>,
}

impl Arena {
    fn new(attack: &Attack, wanted: u64) -> Self {
        let mut lab = Lab::with(2, attack.setup);
        lab.listen(B, 80);
        let victims = lab.open(A, B, 80);
        lab.keep_log(false);
        let mut arena = Self {
            lab,
            wanted,
            packets: 0,
            replies: 0,
            work: Duration::ZERO,
            victims,
            frames_before: 0,
            facts: Vec::new(),
            broken: Vec::new(),
        };
        arena.talk();
        arena.frames_before = arena.lab.node(B).most_frames;
        arena.lab.node(B).most_frames = 0;
        arena
    }

    /// What the attacker knows of the victims' connection: a segment that A could send next.
    pub(crate) fn as_a(&self) -> Forge {
        let last = self.lab.last_tcp(A).unwrap_or_else(|| unreachable!("A has sent something"));
        Forge::peer_of(B, &self.lab.seen(self.victims.1).flow).seq(last.segment.end()).ack(last.segment.ack)
    }

    /// B's end of the victims' connection.
    pub(crate) fn victim(&self) -> End {
        self.victims.1
    }

    /// One attacking packet.
    pub(crate) fn hit(&mut self, frame: &[u8]) -> Vec<TcpPacket> {
        let before = self.lab.frames_sent;
        let start = Instant::now();
        self.lab.inject(B, frame);
        self.work += start.elapsed();
        self.packets += 1;
        self.replies += self.lab.frames_sent - before;
        if self.packets.is_multiple_of(BETWEEN_TALKS) {
            self.talk();
        }
        self.lab.take_stray()
    }

    /// Both victims send something.
    pub(crate) fn talk(&mut self) {
        self.lab.send(self.victims.0, TALK);
        self.lab.send(self.victims.1, TALK);
        self.lab.run_millis(20);
    }

    /// The victims lose nothing and are not kept waiting, whoever else holds what.
    pub(crate) fn victims_keep_pace(&mut self) {
        self.talk();
        self.lab.run_secs(1);
        let (a, b) = (self.lab.seen(self.victims.0), self.lab.seen(self.victims.1));
        let late = a.sent + a.to_send + b.sent + b.to_send - a.read - b.read;
        let starved = self.lab.starved(B);
        self.must(late == 0, || format!("{late} bytes of the victims wait for the attacker"));
        self.must(starved == 0, || format!("{starved} frames came to a host that had no frame to put them in"));
    }

    /// A bound.
    pub(crate) fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.broken.len() < 20 {
            self.broken.push(what());
        }
    }

    /// Something that was measured.
    pub(crate) fn fact(&mut self, what: String) {
        self.facts.push(what);
    }

    /// What B has counted.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.lab.count(B, name)
    }

    /// Frames of B in use now that were free before the attack.
    pub(crate) fn frames_more(&mut self) -> usize {
        let (free, total) = self.lab.node(B).frames();
        (total - free).saturating_sub(self.frames_before)
    }

    /// Most frames of B in use during the attack, beyond what the victims use.
    pub(crate) fn frames_peak(&mut self) -> usize {
        let before = self.frames_before;
        self.lab.node(B).most_frames.saturating_sub(before)
    }

    fn finish(mut self, attack: &Attack) -> Report {
        let frames_at_peak = self.lab.node(B).most_frames;
        // The applications give up whoever is not honest.
        self.lab.abort_all(B, &[self.victims.1]);
        self.talk();
        self.lab.run_secs(5);
        let (a, b) = (self.lab.seen(self.victims.0).clone(), self.lab.seen(self.victims.1).clone());
        let victim_bytes = a.sent + a.to_send + b.sent + b.to_send;
        let victim_lost = victim_bytes - a.read - b.read;
        for (who, seen) in [("A", &a), ("B", &b)] {
            self.must(seen.wrong_at.is_none(), || {
                format!("{who} read a byte that nobody sent, at {:?}", seen.wrong_at)
            });
            self.must(seen.closed.is_none(), || format!("{who}'s connection ended: {:?}", seen.reason()));
        }
        self.broken.extend(self.lab.leftovers().err());
        Report {
            name: attack.name,
            about: attack.about,
            packets: self.packets,
            replies: self.replies,
            frames_at_peak,
            bytes_at_peak: frames_at_peak * FRAME_BYTES,
            ns_per_packet: u64::try_from(self.work.as_nanos()).unwrap_or(u64::MAX) / self.packets.max(1),
            victim_bytes,
            victim_lost,
            facts: self.facts,
            broken: self.broken,
        }
    }
}

/// Settings as they are.
fn plain(_: usize, _: &mut EndpointConfig) {}

/// Numbers that look random and are the same each time (`SplitMix64`).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }
}
