//! The network between the two hosts, and time.

use super::host::Host;
use crate::Input;
use corelane_proto::Instant;
use corelane_proto::endpoint::CloseReason;
use corelane_sim::wire::Wire;
use std::collections::VecDeque;
use std::time::Duration;

/// How long the network is bad at most: nothing that is in order gives up meanwhile.
const BAD_TIME: Duration = Duration::from_secs(40);
/// What each step takes: long enough for another initial sequence number (RFC 9293 3.4.1 counts in 4 us).
const STEP: Duration = Duration::from_micros(8);
/// How long the good network takes for a frame.
const DELAY: Duration = Duration::from_millis(1);
/// Within this time everything has to be over.
const LONGEST: Duration = Duration::from_secs(4 * 3600);
const MOST_TURNS: u32 = 2_000;
const MOST_STEPS: u32 = 300_000;
/// Frames on the way at most; more are lost.
const ON_THE_WAY: usize = 256;

/// Both hosts, and what is on its way to each.
pub(super) struct World {
    now: Instant,
    hosts: [Host; 2],
    /// Frames on their way to host 0 and to host 1.
    wires: [VecDeque<Vec<u8>>; 2],
    judge: Wire,
}

impl World {
    pub(super) fn new(input: &mut Input<'_>) -> Self {
        let what = input.any::<u8>();
        let (v4, crossed) = (what & 1 == 0, what & 6 == 6);
        let hosts = [0, 1].map(|index| Host::new(index, v4, input));
        let now = Instant::from_millis(1);
        let mut world = Self { now, hosts, wires: Default::default(), judge: Wire::default() };
        let early = !crossed && world.hosts.iter().all(|host| host.tcp.fast_open);
        if early {
            world.meet();
        }
        world.hosts[0].connect(world.now, crossed);
        if crossed {
            world.hosts[1].connect(world.now, crossed);
        }
        if early {
            world.hosts[0].write(input.below(3000) as usize);
        }
        world.turns();
        world
    }

    /// A first connection, so that host 0 has a cookie of host 1 for the one that counts.
    fn meet(&mut self) {
        self.hosts[0].connect(self.now, false);
        self.pass_everything();
        self.hosts[0].give_up();
        self.pass_everything();
        for host in &mut self.hosts {
            assert!(host.ended().is_some(), "host {} still has the first connection", host.index);
            host.conn = None;
        }
        self.now = self.now + STEP;
    }

    fn pass_everything(&mut self) {
        for _ in 0..8 {
            self.turns();
            for to in [0, 1] {
                self.hosts[to].complete(usize::MAX);
                for frame in std::mem::take(&mut self.wires[to]) {
                    self.arrive(to, &frame);
                }
            }
        }
    }

    /// The input decides what happens next.
    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        self.now = self.now + STEP;
        let what = input.any::<u8>();
        let to = usize::from(what & 1);
        match what >> 1 & 15 {
            0..5 => self.deliver(to, 0),
            5 => self.deliver(to, usize::from(input.any::<u8>())),
            6 => {
                for _ in 0..input.below(16) {
                    self.deliver(to, 0);
                }
            }
            7 => drop(self.wires[to].pop_front()),
            8 => self.double(to, input),
            9 => self.damage(to, input),
            10 => self.hosts[to].complete(usize::from(input.any::<u8>())),
            11 => self.pass(input),
            _ => self.hosts[to].act(input),
        }
        self.turns();
    }

    /// The `nth` frame on its way to host `to` arrives.
    fn deliver(&mut self, to: usize, nth: usize) {
        let count = self.wires[to].len().max(1);
        let Some(frame) = self.wires[to].remove(nth % count) else { return };
        self.arrive(to, &frame);
    }

    fn arrive(&mut self, to: usize, frame: &[u8]) {
        let host = &mut self.hosts[to];
        if let Some(buf) = host.frames.receive(frame) {
            self.judge.on_arrived(frame);
            host.endpoint.receive(self.now, &mut host.frames, buf);
        }
    }

    /// A copy of a frame comes later again.
    fn double(&mut self, to: usize, input: &mut Input<'_>) {
        let nth = usize::from(input.any::<u8>()) % self.wires[to].len().max(1);
        if let Some(frame) = self.wires[to].get(nth).cloned() {
            self.wires[to].push_back(frame);
        }
    }

    /// One bit of a frame is turned round, which a checksum always notices; the Ethernet header has none.
    fn damage(&mut self, to: usize, input: &mut Input<'_>) {
        let (at, bit) = (usize::from(input.any::<u16>()), input.below(8));
        let Some(mut frame) = self.wires[to].pop_front() else { return };
        // Nor have IPv6's traffic class, flow label and hop limit.
        let first = if frame[12..14] == [8, 0] { 14 } else { 22 };
        let at = first + at % (frame.len() - first);
        frame[at] ^= 1 << bit;
        self.arrive(to, &frame);
    }

    fn pass(&mut self, input: &mut Input<'_>) {
        let next = self.hosts.iter().filter_map(|host| host.endpoint.poll_deadline()).min();
        let to = match input.below(4) {
            0..2 => next.unwrap_or(self.now),
            2 => self.now + Duration::from_millis(u64::from(input.any::<u8>())),
            _ => self.now + Duration::from_micros(u64::from(input.any::<u16>())),
        };
        self.now = self.now.max(to.min(Instant::ZERO + BAD_TIME));
    }

    /// Both hosts work until there is nothing more to do now; says whether there was anything.
    fn turns(&mut self) -> bool {
        let mut busy_at_all = false;
        for index in [0, 1] {
            for turn in 0.. {
                assert!(turn < MOST_TURNS, "host {index} does not come to rest");
                let (sent, busy) = self.hosts[index].turn(self.now);
                busy_at_all |= busy;
                for frame in sent {
                    if let Err(what) = self.judge.on_sent(&frame) {
                        panic!("host {index}: {what}");
                    }
                    if self.wires[1 - index].len() < ON_THE_WAY {
                        self.wires[1 - index].push_back(frame);
                    }
                }
                if !busy {
                    break;
                }
            }
        }
        self.check();
        busy_at_all
    }

    fn check(&self) {
        for (mine, theirs) in [(0, 1), (1, 0)] {
            let read = self.hosts[mine].conn.as_ref().map_or(0, |conn| conn.read);
            let written = self.hosts[theirs].conn.as_ref().map_or(0, |conn| conn.written);
            assert!(read <= written, "host {mine} has read {read} of {written} bytes");
        }
    }

    /// The network turns good: everything arrives, and everything ends.
    pub(super) fn finish(&mut self) {
        let end = self.now + LONGEST;
        for step in 0.. {
            assert!(step < MOST_STEPS && self.now < end, "it does not end: {}", self.describe());
            for host in &mut self.hosts {
                host.complete(usize::MAX);
                host.be_orderly();
            }
            let busy = self.turns();
            let mut arrived = false;
            if self.wires.iter().any(|wire| !wire.is_empty()) {
                arrived = true;
                self.now = self.now + DELAY;
                for to in [0, 1] {
                    for frame in std::mem::take(&mut self.wires[to]) {
                        self.arrive(to, &frame);
                    }
                }
            }
            if busy || arrived || self.hosts.iter().any(|host| !host.in_device.is_empty()) {
                continue;
            }
            let next = self.hosts.iter().filter_map(|host| host.endpoint.poll_deadline()).min();
            let Some(next) = next else {
                // The reset that would have ended the other side may have been lost, and it has nothing to send.
                if self.hosts.iter_mut().any(Host::give_up) {
                    continue;
                }
                break;
            };
            assert!(next > self.now, "somebody wants to be woken at once, for nothing: {}", self.describe());
            self.now = next;
        }
        self.check_end();
    }

    fn check_end(&mut self) {
        for host in &self.hosts {
            let left = (host.endpoint.connections(), host.endpoint.half_opens(), host.endpoint.time_waits());
            assert_eq!(left, (0, 0, 0), "host {}: {}", host.index, self.describe());
            assert_eq!(host.frames.free_count(), host.frames.total(), "host {}: a frame is lost", host.index);
            assert!(host.conn.as_ref().is_none_or(|conn| conn.order.closed().is_some()), "{}", self.describe());
        }
        let [Some(a), Some(b)] = self.hosts.each_ref().map(|host| host.conn.as_ref()) else {
            // The opener gave up before the other end was told.
            assert!(self.hosts[0].conn.as_ref().is_some_and(|conn| conn.abrupt), "{}", self.describe());
            return;
        };
        if a.abrupt || b.abrupt {
            return;
        }
        let ends = [a, b].map(|conn| conn.order.closed());
        assert_eq!(ends, [Some(CloseReason::Finished); 2], "{}", self.describe());
        assert_eq!((a.read, b.read), (b.written, a.written), "not everything arrived");
    }

    fn describe(&self) -> String {
        let mut text = format!("at {:?}", self.now);
        for host in &self.hosts {
            let info = host.conn.as_ref().and_then(|conn| host.endpoint.info(conn.id));
            let did = host.conn.as_ref().map(|conn| (conn.written, conn.read, conn.finished, conn.peer_closed));
            text += &format!("; host {}: ended {:?}, did {did:?}, {info:?}", host.index, host.ended());
        }
        text
    }
}
