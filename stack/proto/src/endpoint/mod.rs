//! One core's protocol state: everything it knows about the network, and nothing that another core knows.
//!
//! Drive it in this order, each turn: [`receive`](Endpoint::receive) for each frame, [`on_time`](Endpoint::on_time),
//! [`poll_event`](Endpoint::poll_event) until there is none (the application acts in between),
//! [`poll_transmit`](Endpoint::poll_transmit) until there is none or the device is full, then wait until
//! [`poll_deadline`](Endpoint::poll_deadline) at the latest. What TCP does is decided in `tcp`; here segments find
//! their connection and packets their way.

mod beside;
mod chains;
pub mod config;
mod connect;
mod cookies;
pub mod counters;
pub mod event;
mod events;
mod fast_open;
pub(crate) mod flow_hash;
mod interfaces;
pub(crate) mod isn;
pub(crate) mod limiter;
pub(crate) mod list;
mod listeners;
mod moving;
pub(crate) mod neighbours;
mod net;
mod ownership;
mod passive;
pub(crate) mod ports;
pub(crate) mod ready;
mod receive;
mod routing;
mod shares;
mod source_routes;
pub(crate) mod syn_queue;
pub(crate) mod table;
mod ticks;
pub(crate) mod time_wait;
mod transmit;
mod user;
pub(crate) mod wheel;

pub use crate::memory::InterfaceId;
pub use beside::OnInterface;
pub use config::{Cidr, EndpointConfig, ListenConfig, Sharing, SynCookies};
pub use counters::Counters;
pub use event::{
    CloseReason, ConnectError, Event, ListenError, ListenerId, SendError, Shutdown, Transmit, Trouble, Unreachable,
};
pub use interfaces::InterfaceConfig;
pub use moving::{MoveError, Moving};
pub use ownership::{Astray, Ownership};
pub use routing::{Hop, Route};
pub use table::ConnId;

use crate::addr::{Addr, Flow, Mac, SocketAddr};
use crate::memory::{Memory, Token};
use crate::tcp::config::TcpConfig;
use crate::tcp::effects::Effects;
use crate::tcp::segment::Segment;
use crate::tcp::state::State;
use crate::tcp::{self, Link, News, Tcb, coverage};
use crate::time::Instant;
use crate::wire::arp::Operation;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use beside::Beside;
use cookies::Cookies;
use core::time::Duration;
use fast_open::FastOpens;
use flow_hash::subkey;
use interfaces::{Interfaces, Station, Way};
use isn::Isn;
use limiter::{Challenges, Replies};
use listeners::Listeners;
use ports::Ports;
use ready::Ready;
use routing::RoutingTable;
use source_routes::SourceRoutes;
use syn_queue::SynQueue;
use table::ConnTable;
use time_wait::TimeWait;
use wheel::Wheel;

/// When to look again at what is overdue and has to wait for something that no timer announces.
const OVERDUE: Duration = Duration::from_millis(1);

/// Most packets that wait to be sent without belonging to a connection's send queue.
const OUTBOX: usize = 4096;

/// A connection with what only the endpoint needs of it.
#[derive(Debug)]
struct Conn {
    tcb: Tcb,
    /// The address whose Ethernet address we need: the peer's, or the gateway's. `None`: no route leads to the peer.
    next_hop: Option<Addr>,
    /// The interface by which it goes, or went last.
    via: InterfaceId,
    /// Its Ethernet address, as the neighbour cache had it in this generation.
    mac: Option<(Mac, u32)>,
    //= spec/rfc9293.txt#section-3.5
    //# a TCP implementation MUST keep track of whether a connection has reached SYN-RECEIVED state as the result of a
    //# passive OPEN or an active OPEN (MUST-11).
    listener: Option<ListenerId>,
    /// How many have to close it.
    handles: u32,
    /// News taken from the TCB that the application has not been told.
    news: News,
    /// The application knows of the connection.
    told: bool,
    /// The application knows that it is over.
    retired: bool,
    /// It counts as pending for Fast Open.
    pending: bool,
}

/// A packet that belongs to no connection's send queue.
#[derive(Debug)]
enum Outgoing {
    /// A frame that is ready.
    Frame { on: InterfaceId, token: Token, len: u16 },
    /// A segment without payload, for `to` or for whom the next hop resolves to.
    Segment { flow: Flow, segment: Segment, to: Option<Station>, marking: Marking },
    /// An ARP packet: to everybody when there is no `target_mac`.
    Arp { on: InterfaceId, operation: Operation, target: Addr, target_mac: Option<Mac>, source: Addr },
}

/// What IP is told for a connection's segments, beside its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Marking {
    /// Time to live, or hop limit.
    ttl: u8,
    /// The Differentiated Services field in its place: six bits, then two for ECN.
    tos: u8,
}

impl Marking {
    /// Of what belongs to no connection and no listener.
    const NONE: Self = Self { ttl: 64, tos: 0 };

    //= spec/rfc9293.txt#section-3.9.1.9
    //# The application layer MUST be able to specify the Differentiated Services field for segments that are sent on a
    //# connection (MUST-48).
    //= spec/rfc9293.txt#section-3.9.1.9
    //# TCP implementations SHOULD pass the current Differentiated Services field value without change to the IP layer,
    //# when it sends segments on the connection (SHLD-22).
    const fn of(config: &TcpConfig) -> Self {
        Self { ttl: config.ttl, tos: config.dscp << 2 }
    }
}

/// One core's protocol state.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    counters: Counters,
    now: Instant,
    conns: ConnTable<Conn>,
    wheel: Wheel,
    /// Connections that may have something to send.
    ready: Ready,
    /// The connection that is sending, and how many segments more before others have their turn.
    sending: Option<(u32, u8)>,
    /// Connections with news.
    news: Ready,
    /// Connections that wait for a frame.
    starved: Ready,
    /// Connections whose next frame the device has not sent yet.
    posted: Ready,
    /// Connections that wait for a neighbour.
    unresolved: Ready,
    listeners: Listeners,
    half_open: SynQueue,
    time_wait: TimeWait,
    /// Until then no TCP segment is sent.
    quiet_until: Instant,
    interfaces: Interfaces,
    routing: RoutingTable,
    source_routes: SourceRoutes,
    beside: Beside,
    isn: Isn,
    ports: Ports,
    cookies: Cookies,
    fast_open: FastOpens,
    replies: Replies,
    challenges: Challenges,
    outbox: VecDeque<Outgoing>,
    /// Which flows are ours, where there are other endpoints.
    ownership: Option<Box<dyn Ownership>>,
    /// Frames that belong to one of them.
    astray: VecDeque<Astray>,
    /// When to look next for peers that hold frames behind a closed window, if frames are scarce then.
    hoarders_at: Instant,
    fx: Effects,
}

impl Endpoint {
    /// An endpoint with nothing in its tables. `secret` keys its hashes and sequence numbers (RFC 6528): it must be
    /// random and must not be told to anyone.
    pub fn new(config: EndpointConfig, secret: [u8; 32], now: Instant) -> Self {
        let connections = config.connections.max(1);
        let interfaces = Interfaces::new(&config, &secret);
        Self {
            counters: Counters::default(),
            now,
            conns: ConnTable::new(connections, subkey(&secret, "connections")),
            wheel: Wheel::new(connections, now),
            ready: Ready::new(connections),
            sending: None,
            news: Ready::new(connections),
            starved: Ready::new(connections),
            posted: Ready::new(connections),
            unresolved: Ready::new(connections),
            listeners: Listeners::default(),
            half_open: SynQueue::new(config.syn_queue, config.syn_ack_retries, subkey(&secret, "half-open")),
            //= spec/rfc9293.txt#section-3.6.1
            //# When a connection is closed actively, it MUST linger in the TIME-WAIT state for a time 2xMSL (Maximum
            //# Segment Lifetime) (MUST-13).
            quiet_until: now + config.quiet_time,
            time_wait: TimeWait::new(config.time_wait, 2 * config.msl, subkey(&secret, "time-wait")),
            routing: interfaces.table(),
            interfaces,
            source_routes: SourceRoutes::default(),
            beside: Beside::new(),
            isn: Isn::new(&secret),
            ports: Ports::new(&(config.ports.0..=config.ports.1), subkey(&secret, "ports")),
            cookies: Cookies::new(subkey(&secret, "cookies")),
            fast_open: FastOpens::new(&secret, config.fast_open_pending, config.fast_open_servers),
            replies: Replies::new(config.replies_per_second),
            challenges: Challenges::new(config.challenge_acks_per_second, subkey(&secret, "challenges")),
            outbox: VecDeque::with_capacity(OUTBOX),
            ownership: None,
            astray: VecDeque::with_capacity(ownership::ASTRAY),
            hoarders_at: now,
            fx: Effects::default(),
            config,
        }
    }

    /// Makes what the peers hand back to us, as SYN cookies, with another secret from now on. What was made with the one
    /// before is taken until the next change. It is worth doing every few hours, for a secret that is used for ever can
    /// be guessed for ever. `secret` must be random.
    pub fn change_secret(&mut self, secret: [u8; 32]) {
        self.cookies.change_key(subkey(&secret, "cookies"));
        self.fast_open.change_secret(&secret);
    }

    /// The settings, as they were at the start.
    pub fn config(&self) -> &EndpointConfig {
        &self.config
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Connections that are there, whatever their state, TIME-WAIT without an application not among them.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Half-open connections of all listeners.
    pub fn half_opens(&self) -> usize {
        self.half_open.len()
    }

    /// Connections in TIME-WAIT that their application is done with.
    pub fn time_waits(&self) -> usize {
        self.time_wait.len()
    }

    /// Frames that connections and waiting packets hold.
    pub fn frames_held(&self) -> usize {
        let conns: usize = self.conns.iter().map(|(_, _, conn)| conn.tcb.frames()).sum();
        let waiting = self.outbox.iter().filter(|out| matches!(out, Outgoing::Frame { .. })).count();
        conns + waiting + self.fx.freed.len() + self.astray.len()
    }

    /// What must hold between two calls; in debug builds only. For simulators and fuzzers.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn check_consistency(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        for (id, flow, conn) in self.conns.iter() {
            conn.tcb.check_consistency();
            let slot = id.slot() as u32;
            if self.ready.contains(slot) || self.sending.is_some_and(|(sending, _)| sending == slot) {
                // Its timer is set when it has sent what it may send now.
                continue;
            }
            let (deadline, armed) = (conn.tcb.deadline(), self.wheel.deadline(slot));
            assert!(deadline.is_some() || conn.tcb.info().unacked == 0, "{flow:?} waits for nothing");
            let Some(deadline) = deadline else { continue };
            // The wheel counts in ticks, and what is overdue is looked at a little later.
            let latest = deadline.max(self.now) + 2 * OVERDUE;
            let watched = armed.is_some_and(|armed| armed <= latest);
            assert!(watched, "{flow:?} wants to be looked at by {latest:?}, and will be at {armed:?}");
        }
    }

    /// Every connection's id and ends, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Flow)> {
        self.conns.iter().map(|(id, flow, _)| (id, flow))
    }

    /// Accepts connections to `local`, which may be the unspecified address, with `config`: a [`ListenConfig`], or a
    /// [`TcpConfig`] with the defaults of this endpoint. Connections that another listener had there, or that wait in
    /// TIME-WAIT, are no hindrance.
    ///
    /// # Errors
    /// Port 0, an address that is not ours, or a listener at the same place.
    pub fn listen(&mut self, local: SocketAddr, config: impl Into<ListenConfig>) -> Result<ListenerId, ListenError> {
        if !local.addr.is_unspecified() && !self.is_ours(local.addr) {
            return Err(ListenError::NotOurs(local.addr));
        }
        //= spec/rfc9293.txt#section-3.9.1.1
        //# A TCP implementation that supports multiple concurrent connections MUST provide an OPEN call that will
        //# functionally allow an application to LISTEN on a port while a connection block with the same local port is
        //# in SYN-SENT or SYN-RECEIVED state (MUST-42).
        let listener = self.listeners.add(local, &config.into(), &self.config)?;
        self.half_open.add_listener(listener);
        coverage::event(State::Closed, tcp::state::Event::PassiveOpen);
        Ok(listener)
    }

    /// Where it listens, in order.
    pub fn listens_on(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listeners.locals()
    }

    /// Where a listener listens; `None` when it is gone.
    pub fn listening_at(&self, id: ListenerId) -> Option<SocketAddr> {
        self.listeners.get(id).map(|listener| listener.local)
    }

    /// Accepts no more connections there. Those that are open stay; those that are half-open are forgotten, and what
    /// their peers send next is answered by an RST.
    pub fn unlisten(&mut self, id: ListenerId) {
        self.listeners.remove(id);
        coverage::event(State::Listen, tcp::state::Event::Close);
        let listeners = &self.listeners;
        self.half_open.retain(|flow| listeners.find(flow.local).is_some());
        self.half_open.remove_listener(id);
    }

    /// When [`on_time`](Self::on_time) wants to be called at the latest.
    pub fn poll_deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.wheel.next_deadline(),
            self.half_open.next_deadline(),
            self.time_wait.next_deadline(),
            self.interfaces.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Time has passed: timers fire.
    pub fn on_time<M: Memory>(&mut self, now: Instant, memory: &mut M) {
        self.now = self.now.max(now);
        while let Some(slot) = self.wheel.expire(self.now) {
            let Some(id) = self.conns.by_slot(slot) else { continue };
            let Some(conn) = self.conns.get_mut(id) else { continue };
            let due = conn.tcb.deadline().is_some_and(|deadline| deadline <= self.now);
            let fired = due && conn.tcb.on_time(self.now, &mut self.fx);
            // Whoever waits for its peer has a timer, so this looks often enough.
            conn.tcb.watch_progress(self.now);
            let doubted = fired && conn.tcb.has_reached_r1();
            let way = conn.way();
            self.counters.rto_fired += u64::from(fired);
            self.counters.delivery_troubles += u64::from(doubted);
            if let Some(way) = way.filter(|_| doubted) {
                self.doubt(way);
            }
            if let Some(flow) = self.flow(id) {
                self.settle(flow);
            }
            self.after(id);
        }
        for _ in 0..self.time_wait.expire(self.now) {
            coverage::event(State::TimeWait, tcp::state::Event::TimeWaitOver);
        }
        self.counters.time_wait_evicted = self.time_wait.evicted();
        self.retransmit_syn_acks();
        self.poll_neighbours();
        while let Some(slot) = self.posted.pop() {
            self.ready.push(slot);
        }
        if memory.available() < self.config.low_water_frames {
            self.drop_hoarder();
        }
        self.feed_starved(memory);
        self.flush(memory);
    }

    /// What has to be looked at after anything has happened to a connection: its news, its timer, its segments.
    fn after(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let slot = id.slot() as u32;
        conn.take_news();
        let over = conn.tcb.ended().is_some() || conn.tcb.state() == State::TimeWait;
        if over || conn.has_news() {
            self.news.push(slot);
        }
        self.ready.push(slot);
        self.rearm(id);
    }

    /// The wheel holds one entry a connection, which may be early: a later deadline leaves it where it is. What is due
    /// and could not be done, for want of a frame, is looked at again a little later and not at once.
    fn rearm(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id) else { return };
        let slot = id.slot() as u32;
        let soon = self.now + OVERDUE;
        match (conn.tcb.deadline().map(|at| if at > self.now { at } else { soon }), self.wheel.deadline(slot)) {
            (None, Some(_)) => self.wheel.cancel(slot),
            (Some(at), armed) if armed.is_none_or(|armed| at < armed || armed <= self.now) => self.wheel.arm(slot, at),
            _ => {}
        }
    }

    /// Frees what the last events left behind.
    fn flush<M: Memory>(&mut self, memory: &mut M) {
        for token in self.fx.freed.drain(..) {
            memory.free(token);
        }
    }

    /// Queues a packet; when there are too many the packet is dropped and counted.
    fn post(&mut self, out: Outgoing) {
        if self.outbox.len() < OUTBOX {
            self.outbox.push_back(out);
        } else {
            self.limit(out);
        }
    }

    /// The same for one that is older than all that are queued.
    fn post_first(&mut self, out: Outgoing) {
        if self.outbox.len() < OUTBOX {
            self.outbox.push_front(out);
        } else {
            self.limit(out);
        }
    }

    fn limit(&mut self, out: Outgoing) {
        self.counters.replies_limited += 1;
        if let Outgoing::Frame { token, .. } = out {
            self.fx.freed.push(token);
        }
    }

    /// What the link gives to a connection of `flow`.
    fn link(&self, flow: &Flow, config: &TcpConfig) -> Link {
        //= spec/rfc9293.txt#section-3.7.1
        //# The MSS value to be sent in an MSS Option should be equal to the effective MTU minus the fixed IP and TCP
        //# headers.
        //= spec/rfc9293.txt#section-3.7.1
        //# If an MSS Option is not received at connection setup, TCP implementations MUST assume a default send MSS
        //# of 536 (576 - 40) for IPv4 or 1220 (1280 - 60) for IPv6 (MUST-15).
        let (headers, default_mss) = if flow.local.addr.is_v4() { (40, 536) } else { (60, 1220) };
        //= spec/rfc9293.txt#section-3.7.1
        //# The MSS value to be sent in an MSS Option must be less than or equal to: MMS_R - 20 where MMS_R is the
        //# maximum size for a transport-layer message that can be received (and reassembled at the IP layer)
        //# (MUST-67).
        //= spec/rfc9293.txt#section-3.7.3
        //# TCP implementations SHOULD use the smallest effective MTU of the interface to calculate the value to
        //# advertise in the MSS Option (SHLD-6).
        let mss = self.interfaces.get(self.via(flow)).mtu.saturating_sub(headers);
        let ip_options = self.source_routes.of(flow).map_or(0, |route| route.wire_len() as u16);
        Link { mss: config.mss.map_or(mss, |wanted| wanted.min(mss)), default_mss, ip_options }
    }
}

impl Conn {
    fn new(tcb: Tcb, way: Way, listener: Option<ListenerId>) -> Self {
        Self {
            tcb,
            next_hop: Some(way.hop),
            via: way.via,
            mac: None,
            listener,
            handles: 1,
            news: News::default(),
            told: listener.is_none(),
            retired: false,
            pending: false,
        }
    }

    /// The way that it goes. `None`: no route leads to the peer.
    fn way(&self) -> Option<Way> {
        self.next_hop.map(|hop| Way { via: self.via, hop })
    }

    /// Goes another way from now on.
    fn set_way(&mut self, way: Option<Way>) {
        self.next_hop = way.map(|way| way.hop);
        self.via = way.map_or(self.via, |way| way.via);
        self.mac = None;
    }

    fn take_news(&mut self) {
        let new = self.tcb.take_news();
        self.news.opened |= new.opened;
        self.news.readable |= new.readable;
        self.news.writable |= new.writable;
        self.news.peer_closed |= new.peer_closed;
        self.news.urgent |= new.urgent;
        self.tell_trouble(new.trouble);
    }

    /// Something goes wrong on the way: the application hears of it, if it wants to.
    //= spec/rfc9293.txt#section-3.9.1.8
    //# There MUST be a mechanism for reporting soft TCP error conditions to the application (MUST-47).
    fn tell_trouble(&mut self, trouble: Option<Trouble>) {
        if trouble.is_some() && self.tcb.config().report_soft_errors {
            self.news.trouble = trouble;
        }
    }

    fn has_news(&self) -> bool {
        self.news != News::default()
    }
}
