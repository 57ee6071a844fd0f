//! Hosts in a network that a script steers: what the state and attack scenarios are made of.
//!
//! Nothing is random. A test opens and closes connections by name, lets time pass, and says with [`Rule`]s which segments
//! are lost, late, doubled or held; afterwards it looks at the segments on the wire, at what the applications were told and
//! at the counters. An attacker is not a host: its frames are made with [`Forge`] and put on the wire with
//! [`Lab::inject`].
//!
//! ```
//! use corelane_sim::lab::{A, B, Lab, Rule};
//! use corelane_proto::tcp::segment::Flags;
//!
//! let mut lab = Lab::new(2);
//! lab.listen(B, 80);
//! lab.rule(Rule::from(A).with(Flags::SYN).times(1).lose());
//! let a = lab.connect(A, B, 80);
//! lab.run_secs(2);
//! assert_eq!(lab.wire(), ["A SYN 0 lost", "A SYN 0", "B SYN,ACK 0 ack 1", "A ACK 1 ack 1"]);
//! lab.send(a, 100);
//! lab.run_secs(1);
//! let b = lab.accepted(B);
//! assert_eq!(lab.seen(b).read, 100);
//! lab.finish();
//! ```

mod forge;
mod log;
mod node;
mod rules;

pub use forge::{ATTACKER, ATTACKER_ADDR, Forge, icmp_error};
pub use log::Sent;
pub use node::{Node, Seen};
pub use rules::{Rule, Verdict};

use crate::wire::Wire;
use corelane_proto::endpoint::{Cidr, ConnId, ConnectError, EndpointConfig, Event, ListenerId, Shutdown};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::info::TcpInfo;
use corelane_proto::tcp::state::State;
use corelane_proto::wire::{Body, Checksums, TcpPacket, parse};
use corelane_proto::{Addr, Endpoint, Instant, Mac, SocketAddr};
use log::Log;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The first host.
pub const A: usize = 0;
/// The second.
pub const B: usize = 1;
/// The third.
pub const C: usize = 2;

/// What every frame takes from host to host.
pub const DELAY: Duration = Duration::from_millis(5);
/// Segments to an attacker that are kept for it.
const MOST_STRAY: usize = 10_000;
/// Frames of a host.
const FRAMES: u32 = 4096;

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// The host.
    pub host: usize,
    index: usize,
}

/// A frame on its way.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Instant,
    order: u64,
    to: usize,
    frame: Vec<u8>,
}

/// A few hosts on one link.
pub struct Lab {
    /// What every frame takes from host to host.
    pub delay: Duration,
    now: Instant,
    nodes: Vec<Node>,
    configs: Vec<EndpointConfig>,
    /// The settings of the connections that are opened and of the listeners that are made from now on.
    pub tcp: TcpConfig,
    flight: BinaryHeap<Reverse<Flight>>,
    order: u64,
    held: Vec<(usize, Vec<u8>)>,
    rules: Vec<Rule>,
    log: Log,
    wire: Option<Wire>,
    listeners: Vec<(usize, SocketAddr, ListenerId)>,
    faults: Vec<String>,
    restarts: u8,
    /// Connections of each host that the script has been given as accepted.
    taken: Vec<usize>,
    /// The last segment of each host.
    last: Vec<Option<TcpPacket>>,
    /// Segments to an attacker that nobody has looked at.
    stray: Vec<TcpPacket>,
    /// Frames that hosts sent, and that went to an Ethernet address that no host has.
    pub frames_sent: u64,
    /// See `frames_sent`.
    pub frames_stray: u64,
}

/// The IPv4 address of `host`.
pub fn addr(host: usize) -> Addr {
    Addr::v4([10, 0, 0, host as u8 + 1])
}

/// The IPv6 address of `host`.
pub fn addr6(host: usize) -> Addr {
    Addr::v6([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host as u8 + 1])
}

/// The Ethernet address of `host`.
pub fn mac(host: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, host as u8 + 1])
}

impl Lab {
    /// `hosts` hosts with default settings.
    pub fn new(hosts: usize) -> Self {
        Self::with(hosts, |_, _| {})
    }

    /// `hosts` hosts whose settings `set` may change.
    pub fn with(hosts: usize, mut set: impl FnMut(usize, &mut EndpointConfig)) -> Self {
        let configs: Vec<_> = (0..hosts)
            .map(|host| {
                let addresses = [(addr(host), 24), (addr6(host), 64)];
                let addresses = addresses.map(|(addr, prefix_len)| Cidr { addr, prefix_len }).to_vec();
                let mut config = EndpointConfig {
                    mac: mac(host),
                    addresses,
                    connections: 256,
                    syn_queue: 64,
                    accept_queue: 64,
                    time_wait: 64,
                    neighbours: 64,
                    low_water_frames: 64,
                    ..EndpointConfig::default()
                };
                set(host, &mut config);
                config
            })
            .collect();
        let mut lab = Self {
            delay: DELAY,
            now: Instant::from_millis(1000),
            nodes: Vec::new(),
            configs,
            tcp: TcpConfig::default(),
            flight: BinaryHeap::new(),
            order: 0,
            held: Vec::new(),
            rules: Vec::new(),
            log: Log::default(),
            wire: Some(Wire::default()),
            listeners: Vec::new(),
            faults: Vec::new(),
            restarts: 0,
            taken: vec![0; hosts],
            last: vec![None; hosts],
            stray: Vec::new(),
            frames_sent: 0,
            frames_stray: 0,
        };
        lab.nodes = (0..hosts).map(|host| lab.start(host)).collect();
        lab
    }

    fn start(&self, host: usize) -> Node {
        let secret = 1 + host as u8 * 16 + self.restarts;
        let mut node = Node::new(self.configs[host].clone(), FRAMES, secret, self.now);
        for other in (0..self.configs.len()).filter(|other| *other != host) {
            // Everybody knows everybody: ARP is not what is looked at here, and IPv6 has no discovery yet.
            node.endpoint.set_neighbour(addr(other), mac(other));
            node.endpoint.set_neighbour(addr6(other), mac(other));
        }
        node.endpoint.set_neighbour(ATTACKER_ADDR, ATTACKER);
        node
    }

    /// The host loses everything it knew and starts anew, with `set` changing its settings.
    pub fn restart(&mut self, host: usize, set: impl FnOnce(&mut EndpointConfig)) {
        self.restarts += 1;
        set(&mut self.configs[host]);
        self.nodes[host] = self.start(host);
        self.taken[host] = 0;
        self.listeners.retain(|(at, ..)| *at != host);
        // It may well send what its predecessor could not have sent.
        self.wire = None;
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A host.
    pub fn node(&mut self, host: usize) -> &mut Node {
        &mut self.nodes[host]
    }

    /// How often host `host` has counted `name`; see [`Counters`](corelane_proto::endpoint::Counters).
    pub fn count(&self, host: usize, name: &str) -> u64 {
        let counters = self.nodes[host].endpoint.counters();
        let found = counters.iter().find(|(known, _)| *known == name);
        found.map_or_else(|| panic!("there is no counter {name}"), |(_, count)| count)
    }

    /// Adds a rule; the first that fits decides.
    pub fn rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Forgets every rule.
    pub fn no_rules(&mut self) {
        self.rules.clear();
    }

    /// Nothing of `host` reaches anybody any more, until [`no_rules`](Self::no_rules).
    pub fn silence(&mut self, host: usize) {
        self.rules.insert(0, Rule::from(host).lose());
    }

    /// Host `host` accepts at `port`, over both families.
    pub fn listen(&mut self, host: usize, port: u16) {
        let tcp = self.tcp;
        for addr in [addr(host), addr6(host)] {
            let local = SocketAddr::new(addr, port);
            let listener = self.nodes[host].endpoint.listen(local, tcp);
            self.listeners.push((host, local, listener.expect("the port is free")));
        }
    }

    /// Host `host` listens nowhere any more.
    pub fn unlisten_all(&mut self, host: usize) {
        let Self { listeners, nodes, .. } = self;
        listeners.retain(|(at, _, listener)| {
            if *at == host {
                nodes[host].endpoint.unlisten(*listener);
            }
            *at != host
        });
    }

    /// Opens a connection.
    pub fn connect(&mut self, from: usize, to: usize, port: u16) -> End {
        self.connect_from(from, SocketAddr::new(addr(from), 0), SocketAddr::new(addr(to), port))
    }

    /// Opens a connection whose application hands over `len` bytes before anything is sent: with Fast Open they may go with
    /// the SYN.
    ///
    /// # Panics
    /// When there is no port or no place.
    pub fn connect_saying(&mut self, from: usize, to: usize, port: u16, len: u64) -> End {
        let (local, remote) = (SocketAddr::new(addr(from), 0), SocketAddr::new(addr(to), port));
        let node = &mut self.nodes[from];
        let id = node.endpoint.connect(self.now, local, remote, self.tcp).expect("there is a port and a place");
        let flow = node.endpoint.flow(id).expect("it was just opened");
        let index = node.add(id, flow);
        node.seen[index].to_send += len;
        node.pump(index);
        self.turn(from);
        End { host: from, index }
    }

    /// Opens a connection over IPv6.
    pub fn connect6(&mut self, from: usize, to: usize, port: u16) -> End {
        self.connect_from(from, SocketAddr::new(addr6(from), 0), SocketAddr::new(addr6(to), port))
    }

    /// Opens a connection from `local`, whose port is chosen if it is 0.
    pub fn connect_from(&mut self, host: usize, local: SocketAddr, remote: SocketAddr) -> End {
        self.try_connect(host, local, remote).expect("there is a port and a place")
    }

    /// Opens a connection if that is possible.
    ///
    /// # Errors
    /// Those of [`Endpoint::connect`].
    pub fn try_connect(&mut self, host: usize, local: SocketAddr, remote: SocketAddr) -> Result<End, ConnectError> {
        let (now, tcp) = (self.now, self.tcp);
        let id = self.nodes[host].endpoint.connect(now, local, remote, tcp)?;
        Ok(self.opened(host, id))
    }

    /// The listener of `host` at `port`, over IPv4, opens a connection.
    ///
    /// # Errors
    /// Those of [`Endpoint::connect_listener`].
    pub fn connect_listener(&mut self, host: usize, port: u16, remote: SocketAddr) -> Result<End, ConnectError> {
        let local = SocketAddr::new(addr(host), port);
        let at = self.listeners.iter().position(|(at, known, _)| (*at, *known) == (host, local));
        let (_, _, listener) = self.listeners[at.expect("somebody listens there")];
        let id = self.nodes[host].endpoint.connect_listener(self.now, listener, remote)?;
        self.listeners.retain(|(_, _, known)| *known != listener);
        Ok(self.opened(host, id))
    }

    fn opened(&mut self, host: usize, id: ConnId) -> End {
        let node = &mut self.nodes[host];
        let flow = node.endpoint.flow(id).expect("it was just opened");
        let index = node.add(id, flow);
        self.turn(host);
        End { host, index }
    }

    /// The next connection that `host` has accepted.
    ///
    /// # Panics
    /// When there is none.
    pub fn accepted(&mut self, host: usize) -> End {
        self.try_accepted(host).expect("a connection was accepted")
    }

    /// The next connection that `host` has accepted, if there is one.
    pub fn try_accepted(&mut self, host: usize) -> Option<End> {
        let is_accepted = |seen: &Seen| seen.heard(|event| matches!(event, Event::Accepted { .. }));
        let taken = self.taken[host];
        let index = taken + self.nodes[host].seen[taken..].iter().position(is_accepted)?;
        self.taken[host] = index + 1;
        Some(End { host, index })
    }

    /// A connection from `from` to `port` of `to`, both ends of it.
    pub fn open(&mut self, from: usize, to: usize, port: u16) -> (End, End) {
        let end = self.connect(from, to, port);
        self.run(4 * self.delay);
        (end, self.accepted(to))
    }

    /// What the application of `end` saw.
    pub fn seen(&self, end: End) -> &Seen {
        &self.nodes[end.host].seen[end.index]
    }

    /// The state of `end` now; CLOSED when it is gone.
    pub fn state(&self, end: End) -> State {
        let node = &self.nodes[end.host];
        node.endpoint.info(node.seen[end.index].id).map_or(State::Closed, |info| info.state)
    }

    /// Every state in which `end` was found, by the RFC's names.
    pub fn states(&self, end: End) -> Vec<&'static str> {
        self.seen(end).states.iter().map(|state| state.name()).collect()
    }

    /// The application of `end` sends `len` bytes, as fast as they are taken.
    pub fn send(&mut self, end: End, len: u64) {
        self.nodes[end.host].seen[end.index].to_send += len;
        self.turn(end.host);
    }

    /// The application of `end` sends `len` bytes and calls something before any of them can leave.
    ///
    /// # Panics
    /// When the endpoint does not take them.
    pub fn send_then(&mut self, end: End, len: u64, what: impl FnOnce(&mut Endpoint, ConnId)) {
        let node = &mut self.nodes[end.host];
        node.seen[end.index].to_send += len;
        node.pump(end.index);
        assert_eq!(node.seen[end.index].to_send, 0, "the send buffer holds them");
        self.call(end, what);
    }

    /// The application of `end` reads only `len` more bytes.
    pub fn read_only(&mut self, end: End, len: u64) {
        let node = &mut self.nodes[end.host];
        node.seen[end.index].appetite = len;
        node.read(end.index);
        self.turn(end.host);
    }

    /// The application of `end` calls something.
    pub fn call<T>(&mut self, end: End, what: impl FnOnce(&mut Endpoint, ConnId) -> T) -> T {
        let node = &mut self.nodes[end.host];
        let id = node.seen[end.index].id;
        let given = what(&mut node.endpoint, id);
        node.look();
        self.turn(end.host);
        given
    }

    /// The application of `end` closes.
    pub fn close(&mut self, end: End) {
        self.call(end, Endpoint::close);
    }

    /// The application of `end` shuts its sending side.
    pub fn shut_write(&mut self, end: End) {
        self.call(end, |endpoint, id| endpoint.shutdown(id, Shutdown::Write));
    }

    /// The application of `end` aborts.
    pub fn abort(&mut self, end: End) {
        self.call(end, Endpoint::abort);
    }

    /// Every application of `host` but those of `but` aborts.
    pub fn abort_all(&mut self, host: usize, but: &[End]) {
        let kept: Vec<_> = but.iter().map(|end| self.seen(*end).id).collect();
        let open: Vec<_> = self.nodes[host].endpoint.iter().map(|(id, _)| id).collect();
        open.into_iter().filter(|id| !kept.contains(id)).for_each(|id| self.nodes[host].endpoint.abort(id));
        self.turn(host);
    }

    /// Frames that came to `host` while it had none to put them in.
    pub fn starved(&self, host: usize) -> u64 {
        self.nodes[host].starved
    }

    /// Lets `time` pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(next) = self.next_at().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = until;
    }

    /// Lets so many seconds pass.
    pub fn run_secs(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    /// Lets so many milliseconds pass.
    pub fn run_millis(&mut self, millis: u64) {
        self.run(Duration::from_millis(millis));
    }

    fn next_at(&self) -> Option<Instant> {
        let hosts = self.nodes.iter().filter_map(|node| node.endpoint.poll_deadline());
        // A deadline that has passed and is still there is looked at again a little later, as a worker would.
        let hosts = hosts.map(|at| if at <= self.now { self.now + Duration::from_millis(1) } else { at });
        hosts.chain(self.flight.peek().map(|Reverse(flight)| flight.at)).min()
    }

    fn step(&mut self) {
        while self.flight.peek().is_some_and(|Reverse(flight)| flight.at <= self.now) {
            let Some(Reverse(flight)) = self.flight.pop() else { break };
            if let Some(wire) = &mut self.wire {
                wire.on_arrived(&flight.frame);
            }
            self.nodes[flight.to].receive(self.now, &flight.frame);
        }
        (0..self.nodes.len()).for_each(|host| self.turn(host));
    }

    /// The host does what there is to do now.
    pub fn turn(&mut self, host: usize) {
        for frame in self.nodes[host].turns(self.now) {
            self.on_sent(host, frame);
        }
    }

    fn on_sent(&mut self, host: usize, frame: Vec<u8>) {
        self.frames_sent += 1;
        if let Some(Err(what)) = self.wire.as_mut().map(|wire| wire.on_sent(&frame)) {
            self.faults.push(format!("host {host}: {what}"));
        }
        let Ok(packet) = parse(&frame, Checksums::VERIFY) else {
            self.faults.push(format!("host {host} sent what is no frame"));
            return;
        };
        let mut verdict = Verdict::Pass;
        if let Body::Tcp(tcp) = packet.body {
            verdict = self.rules.iter_mut().find_map(|rule| rule.judge(host, &tcp.segment)).unwrap_or(verdict);
            if packet.dst_mac == ATTACKER && self.stray.len() < MOST_STRAY {
                self.stray.push(tcp.clone());
            }
            self.last[host] = Some(tcp.clone());
            self.log.add(self.now, Some(host), verdict, tcp);
        }
        let Some(to) = (0..self.nodes.len()).find(|to| packet.dst_mac == self.configs[*to].mac) else {
            self.frames_stray += 1;
            return;
        };
        let after = match verdict {
            Verdict::Lose => return,
            Verdict::Hold => return self.held.push((to, frame)),
            Verdict::Delay(more) => self.delay + more,
            Verdict::Double(later) => {
                self.fly(self.delay + later, to, frame.clone());
                self.delay
            }
            Verdict::Pass => self.delay,
        };
        self.fly(after, to, frame);
    }

    fn fly(&mut self, after: Duration, to: usize, frame: Vec<u8>) {
        self.order += 1;
        self.flight.push(Reverse(Flight { at: self.now + after, order: self.order, to, frame }));
    }

    /// Lets go what was held, in its order.
    pub fn release(&mut self) {
        for (to, frame) in std::mem::take(&mut self.held) {
            self.fly(self.delay, to, frame);
        }
    }

    /// A frame that no host has sent reaches `host` now. From then on the wire's own checks, which only know honest
    /// hosts, are off.
    pub fn inject(&mut self, host: usize, frame: &[u8]) {
        self.wire = None;
        if let Ok(packet) = parse(frame, Checksums::VERIFY)
            && let Body::Tcp(tcp) = packet.body
        {
            self.log.add(self.now, None, Verdict::Pass, tcp);
        }
        self.nodes[host].receive(self.now, frame);
        self.turn(host);
    }

    /// What hosts have sent to the attacker since the last call.
    pub fn take_stray(&mut self) -> Vec<TcpPacket> {
        std::mem::take(&mut self.stray)
    }

    /// The last segment that `host` sent.
    pub fn last_tcp(&self, host: usize) -> Option<&TcpPacket> {
        self.last[host].as_ref()
    }

    /// Whether the segments on the wire are kept from now on; they are at first.
    pub fn keep_log(&mut self, keep: bool) {
        self.log.off = !keep;
    }

    /// A snapshot of the connection of `end`, while it is there.
    pub fn info(&self, end: End) -> Option<TcpInfo> {
        let node = &self.nodes[end.host];
        node.endpoint.info(node.seen[end.index].id)
    }

    /// Every segment so far.
    pub fn sent(&self) -> &[Sent] {
        &self.log.sent
    }

    /// Every segment so far in a line, such as `A SYN 0`, `B SYN,ACK 0 ack 1`, `A PSH,ACK 1+100 ack 1 lost`: who, flags,
    /// number and length, acknowledgment, and what became of it. Numbers count from each side's SYN; X is an attacker.
    pub fn wire(&self) -> Vec<&str> {
        self.log.sent.iter().map(|sent| sent.line.as_str()).collect()
    }

    /// The segments since the last call, in lines.
    pub fn take_wire(&mut self) -> Vec<String> {
        self.log.sent.drain(..).map(|sent| sent.line).collect()
    }

    /// Every application that has not closed does, the network carries everything, and 2 MSL pass: no fault was seen,
    /// and nothing is left anywhere.
    ///
    /// # Panics
    /// When something is.
    pub fn finish(mut self) {
        let left = self.leftovers();
        assert_eq!(left, Ok(()));
    }

    /// The same, for those who do not want to panic.
    ///
    /// # Errors
    /// What is left, or was seen.
    pub fn leftovers(&mut self) -> Result<(), String> {
        self.no_rules();
        self.release();
        for host in 0..self.nodes.len() {
            let open: Vec<_> = self.nodes[host].endpoint.iter().map(|(id, _)| id).collect();
            open.into_iter().for_each(|id| self.nodes[host].endpoint.close(id));
            self.turn(host);
        }
        self.run_secs(300);
        for (host, node) in self.nodes.iter().enumerate() {
            if let Some(fault) = self.faults.iter().chain(&node.faults).next() {
                return Err(format!("host {host}: {fault}"));
            }
            let (free, total) = node.frames();
            let endpoint = &node.endpoint;
            let left = (endpoint.connections(), endpoint.half_opens(), endpoint.time_waits(), total - free);
            if left != (0, 0, 0, 0) {
                return Err(format!(
                    "{} connections, {} half-opens, {} TIME-WAITs and {} frames of host {host} are left",
                    left.0, left.1, left.2, left.3
                ));
            }
        }
        Ok(())
    }
}
