//! One core's turn: receive, timers, application, transmit. No rule of TCP is here, and no clock.

mod dispatch;
mod leave;
mod moving;
mod post;
mod siblings;
#[cfg(test)]
mod tests;
mod waiting;

use leave::Leaving;
use moving::Mover;
pub(crate) use post::Post;
pub use siblings::Siblings;
pub use waiting::{Idle, Pause};

use crate::Error;
use crate::app::{App, Core, Net, Returns, States};
use crate::control::{Load, Moves, Registrar};
use crate::device::store::Copies;
use crate::device::{Device, Store};
use crate::steer::mirror::Change;
use corelane_proto::endpoint::{Astray, CloseReason, EndpointConfig, InterfaceId, Transmit};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::{Buf, Endpoint, Instant, Memory, SocketAddr};
use corelane_xdp::{Census, Frame};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Frames received in one turn at most. More would delay timers and answers; fewer would cost more turns.
const RX_BATCH: usize = 64;

/// Frames taken from the protocol and not yet in the transmit ring, at most.
const TX_BATCH: usize = 256;

/// The fill ring is topped up when so many frames have been received, or after so many turns. To write to it for each frame
/// would take its cache line from the core on which the kernel reads it, and that core pays.
const REFILL_FRAMES: usize = 32;
const REFILL_TURNS: u32 = 64;

/// How long a worker sleeps at most while the device has frames to send.
const RETRY_KICK: Duration = Duration::from_millis(1);

/// What a worker is told at its start.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The protocol's addresses and bounds.
    pub endpoint: EndpointConfig,
    /// TCP as connections have it that name nothing else.
    pub tcp: TcpConfig,
    /// Events given to the application in one turn at most.
    pub events_per_turn: usize,
    /// Key of sequence numbers, ports and tables: 32 random bytes.
    pub secret: [u8; 32],
}

/// What a worker has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WorkerCounters {
    /// Turns.
    pub turns: u64,
    /// Turns that found nothing to do.
    pub idle_turns: u64,
    /// Sleeps.
    pub sleeps: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Frames that came here and belong to another worker: handed over to it.
    pub handed_over: u64,
    /// Dropped: frames of another worker that could not be handed over, because it has too many to take already.
    pub dropped_hand_over: u64,
    /// Frames put into the transmit ring.
    pub tx_frames: u64,
    /// Frames copied because their connection goes by another interface than when they were written.
    pub tx_copied: u64,
    /// Dropped: such frames for which there was no frame to copy into.
    pub dropped_no_copy: u64,
    /// Events given to the application.
    pub events: u64,
    /// Packets that came by a ring of another process's program, while one took over from the other.
    pub relayed_in: u64,
    /// Frames sent through a socket of the kernel, after another process had taken over.
    pub relayed_out: u64,
    /// Dropped: packets of either kind for which there was no frame, that were refused, or whose flow could not be
    /// registered.
    pub dropped_relay: u64,
    /// Connections taken over from other workers.
    pub moved_in: u64,
    /// Connections that other workers have taken over, while this one was drained.
    pub moved_out: u64,
    /// Connections to move that the application kept when it was asked, each as often as it was.
    pub moves_kept: u64,
    /// Connections that were to move and came back, since the other worker did not take them.
    pub moves_returned: u64,
    /// Connections of other workers not taken for want of a slot or of frames for their unread bytes.
    pub moves_refused_full: u64,
    /// Those that the application here did not want.
    pub moves_refused_application: u64,
    /// Those that came while this worker stops, or leaves its interface to another process.
    pub moves_refused_stopping: u64,
    /// Those whose address is none of ours any more, or whose ends another connection has.
    pub moves_refused_address: u64,
    /// Connections reset because the application gave them up and nobody took them.
    pub moves_reset: u64,
}

impl WorkerCounters {
    /// Each counter with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Self {
            turns,
            idle_turns,
            sleeps,
            rx_frames,
            handed_over,
            dropped_hand_over,
            tx_frames,
            tx_copied,
            dropped_no_copy,
            events,
            relayed_in,
            relayed_out,
            dropped_relay,
            moved_in,
            moved_out,
            moves_kept,
            moves_returned,
            moves_refused_full,
            moves_refused_application,
            moves_refused_stopping,
            moves_refused_address,
            moves_reset,
        } = *self;
        [
            ("turns", turns),
            ("idle_turns", idle_turns),
            ("sleeps", sleeps),
            ("rx_frames", rx_frames),
            ("handed_over", handed_over),
            ("dropped_hand_over", dropped_hand_over),
            ("tx_frames", tx_frames),
            ("tx_copied", tx_copied),
            ("dropped_no_copy", dropped_no_copy),
            ("events", events),
            ("relayed_in", relayed_in),
            ("relayed_out", relayed_out),
            ("dropped_relay", dropped_relay),
            ("moved_in", moved_in),
            ("moved_out", moved_out),
            ("moves_kept", moves_kept),
            ("moves_returned", moves_returned),
            ("moves_refused_full", moves_refused_full),
            ("moves_refused_application", moves_refused_application),
            ("moves_refused_stopping", moves_refused_stopping),
            ("moves_refused_address", moves_refused_address),
            ("moves_reset", moves_reset),
        ]
        .into_iter()
    }
}

/// How connections have ended, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Endings([u64; CloseReason::ALL.len()]);

impl Endings {
    /// Each reason with its number.
    pub fn iter(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        CloseReason::ALL.into_iter().zip(self.0)
    }

    fn count(&mut self, reason: CloseReason) {
        if let Some(at) = CloseReason::ALL.iter().position(|known| *known == reason) {
            self.0[at] += 1;
        }
    }
}

/// One core: an application, the protocol and a device, run by calling [`turn`](Self::turn).
///
/// Call [`start`](Self::start) once, then `turn` with a time that never goes back; when a turn had nothing to do,
/// [`wait`](Self::wait) may sleep until [`deadline`](Self::deadline). At the end [`stop`](Self::stop), more turns until
/// [`is_done`](Self::is_done), then [`abort`](Self::abort) and some turns for the resets, then drop it.
pub struct Worker<A: App, D: Device> {
    app: A,
    net: Net,
    states: States<A::State>,
    returns: Rc<Returns>,
    received: Vec<Frame>,
    to_send: VecDeque<Frame>,
    completed: Vec<Frame>,
    /// Frames received, and turns, since the fill ring was topped up.
    unfilled: usize,
    unfilled_turns: u32,
    /// Whether other workers may want something of this one's rings, so that it looks at them in each turn.
    has_others: bool,
    wake: Option<Instant>,
    stopping: bool,
    events_per_turn: usize,
    counters: WorkerCounters,
    endings: Endings,
    siblings: Option<Siblings>,
    post: Option<Post>,
    /// While another process takes over, and after that.
    leaving: Option<Box<Leaving>>,
    /// Where there are other workers.
    mover: Option<Box<Mover>>,
    // The last to go: its rings outlive every frame above.
    device: D,
}

impl<A: App, D: Device> Worker<A, D> {
    /// A worker over `device`. All memory that a turn needs is allocated here.
    pub fn new(app: A, device: D, config: WorkerConfig, now: Instant) -> Self {
        let WorkerConfig { endpoint, tcp, events_per_turn, secret } = config;
        let connections = endpoint.connections;
        let frames = device.pool().total();
        let store = Store::new(device.pool().clone());
        // Where several workers send on a queue each has a part of its frames, and keeps a part of that.
        let low_water_frames = endpoint.low_water_frames.min(store.available() / 4);
        let endpoint = Endpoint::new(EndpointConfig { low_water_frames, ..endpoint }, secret, now);
        let addresses = endpoint.addresses().map(|cidr| cidr.addr).collect();
        Self {
            app,
            net: Net { endpoint, store, tcp, addresses, registrar: None, stop: false },
            states: States::new(connections),
            returns: Returns::new(frames),
            received: Vec::with_capacity(frames),
            to_send: VecDeque::with_capacity(TX_BATCH),
            completed: Vec::with_capacity(frames),
            unfilled: 0,
            unfilled_turns: 0,
            has_others: false,
            wake: None,
            stopping: false,
            events_per_turn: events_per_turn.max(1),
            counters: WorkerCounters::default(),
            endings: Endings::default(),
            siblings: None,
            post: None,
            leaving: None,
            mover: None,
            device,
        }
    }

    /// Joins the worker with the others of its interface.
    #[must_use]
    pub fn with_siblings(mut self, siblings: Siblings) -> Self {
        self.siblings = Some(siblings);
        self
    }

    /// Has the worker obey orders and, if there are others with its addresses, hand over to them what is theirs.
    #[must_use]
    pub(crate) fn with_post(mut self, post: Post, has_others: bool) -> Self {
        self.has_others = has_others;
        if has_others {
            self.net.endpoint.set_ownership(Box::new(post.view().clone()));
        }
        self.post = Some(post);
        self
    }

    /// Has the worker give connections to others and take theirs.
    #[must_use]
    pub(crate) fn with_moves(mut self, moves: Moves) -> Self {
        self.mover = Some(Box::new(Mover::new(moves)));
        self
    }

    /// Where the application listens.
    pub(crate) fn listens(&self) -> Vec<SocketAddr> {
        self.net.endpoint.listens_on().collect()
    }

    /// Has the worker register where it listens and what it connects to.
    #[must_use]
    pub(crate) fn with_registrar(mut self, registrar: Registrar) -> Self {
        self.net.registrar = Some(registrar);
        self
    }

    /// Tells the endpoint what the kernel knows already of an interface. `largest_mtu` is the longest IP packet that the frames hold.
    pub(crate) fn follow(&mut self, on: InterfaceId, changes: &[Change], largest_mtu: u16) {
        for change in changes {
            change.apply_on(on, &mut self.net.endpoint, largest_mtu);
        }
    }

    /// Lets the application begin.
    pub fn start(&mut self, now: Instant) -> Result<(), Error> {
        self.app.on_start(&mut Core::new(&mut self.net, &mut self.states, now))
    }

    /// One turn at `now`; says whether there was anything to do, so that another turn is due at once.
    pub fn turn(&mut self, now: Instant) -> Result<bool, Error> {
        self.reclaim();
        let ordered = self.obey(now);
        let moved = self.take_parcels(now) > 0;
        let direct = self.receive(now);
        let received = direct + self.take_relayed(now, direct);
        self.net.endpoint.on_time(now, &mut self.net.store);
        self.take_returns();
        let events = self.dispatch(now);
        let moving = self.move_some(now);
        if !self.stopping {
            self.wake = self.app.on_turn(&mut Core::new(&mut self.net, &mut self.states, now));
        }
        let sent = self.transmit(now)?;
        if let Some(registrar) = &mut self.net.registrar {
            registrar.on_turn(&mut self.net.endpoint);
        }
        self.look_whether_left();
        self.refill(direct);
        let busy = ordered || moved || moving || received > 0 || events > 0 || sent > 0;
        self.counters.turns += 1;
        self.counters.idle_turns += u64::from(!busy);
        Ok(busy)
    }

    /// Tops up the fill rings when it is worth it, and in each turn where other workers give frames back.
    fn refill(&mut self, received: usize) {
        self.unfilled += received;
        self.unfilled_turns += 1;
        if self.has_others || self.unfilled >= REFILL_FRAMES || self.unfilled_turns >= REFILL_TURNS {
            (self.unfilled, self.unfilled_turns) = (0, 0);
            self.device.refill();
        }
    }

    /// Takes back the frames that the device has sent.
    fn reclaim(&mut self) {
        if self.net.store.posted() == 0 && !self.has_others {
            return;
        }
        self.device.reclaim(&mut self.completed);
        for frame in self.completed.drain(..) {
            self.net.store.completed(frame);
        }
    }

    /// Gives what the device has received to the protocol.
    fn receive(&mut self, now: Instant) -> usize {
        self.device.rx_burst(now, &mut self.received, RX_BATCH);
        let count = self.received.len();
        if let Some(siblings) = &self.siblings {
            self.received.iter().for_each(|frame| siblings.tell(InterfaceId(frame.interface()), frame.bytes()));
            hear(siblings, &mut self.net, now);
        }
        self.take_received(now);
        self.counters.rx_frames += count as u64;
        count
    }

    /// Gives the protocol the frames that were received.
    fn take_received(&mut self, now: Instant) {
        let Self { net: Net { endpoint, store, .. }, received, post, device, counters, .. } = self;
        for frame in received.drain(..) {
            // A frame is shorter than 64 KiB.
            let len = u16::try_from(frame.len()).unwrap_or(u16::MAX);
            let on = InterfaceId(frame.interface());
            let token = store.insert(frame);
            endpoint.receive_on(on, now, store, Buf::new(token, 0, len));
            while let Some(astray) = endpoint.poll_astray() {
                hand_over(astray, store, post.as_ref(), device, counters);
            }
        }
    }

    /// Does what the main thread asks for; says whether it did.
    fn obey(&mut self, now: Instant) -> bool {
        let Some(post) = &mut self.post else { return false };
        let stay = self.mover.as_ref().map(|mover| mover.stay()).unwrap_or_default();
        let load = Load {
            busy_turns: self.counters.turns - self.counters.idle_turns,
            frames: self.counters.rx_frames,
            // Those of the tables are added.
            flows: self.mover.as_ref().map_or(0, |mover| mover.awaited()),
            moved_out: self.counters.moved_out,
            moved_in: self.counters.moved_in,
            busy: stay.busy,
            kept: stay.kept,
        };
        let obeyed = post.obey(&mut self.net.endpoint, load);
        if obeyed.kernel {
            self.net.addresses = self.net.endpoint.addresses().map(|cidr| cidr.addr).collect();
        }
        if let Some((mover, moving)) = self.mover.as_mut().zip(obeyed.moving) {
            mover.order(moving);
        }
        if let Some(secret) = obeyed.secret {
            self.net.endpoint.change_secret(secret);
        }
        if let Some(step) = obeyed.leave {
            self.leave(step, now);
        }
        if let Some(held) = obeyed.held {
            self.take_held(&held, now);
        }
        obeyed.any
    }

    /// Opens the windows of connections whose detached bytes the application has dropped.
    fn take_returns(&mut self) {
        while let Some((id, bytes)) = self.returns.pop() {
            self.net.endpoint.consumed(id, bytes);
        }
    }

    /// Puts what the protocol wants to send into the device's ring, and tells the device once.
    fn transmit(&mut self, now: Instant) -> Result<usize, Error> {
        let Net { endpoint, store, .. } = &mut self.net;
        while self.to_send.len() < TX_BATCH {
            let Some((on, transmit)) = endpoint.poll_transmit_on(now, store) else { break };
            let (index, len, keep) = match transmit {
                // From here on the store knows that the frame is free once it has been sent.
                Transmit::Owned { token, len } => (token.index(), len, false),
                Transmit::Lent { index, len } => (index, len, true),
            };
            self.to_send.extend(store.post_on(on, index, len.into(), keep));
        }
        let relayed = self.send_leaving()?;
        // Also without frames: the device may have some whose time has come, or that it could not send before.
        let mut nothing = VecDeque::new();
        let diverted = self.leaving.as_ref().is_some_and(|leaving| leaving.is_diverted());
        let sent = self.device.tx_burst(now, if diverted { &mut nothing } else { &mut self.to_send });
        self.counters.tx_frames += sent as u64;
        self.device.kick().map_err(|error| self.device_error(error))?;
        Ok(sent + relayed)
    }

    fn device_error(&self, error: std::io::Error) -> Error {
        Error::Device { device: self.device.info().name.clone(), error }
    }

    /// Makes what peers hand back to us, as SYN cookies, with another secret from now on; 32 random bytes.
    pub fn change_secret(&mut self, secret: [u8; 32]) {
        self.net.endpoint.change_secret(secret);
    }

    /// When the next turn is due at the latest, if no frame comes before; `None` when nothing is planned.
    pub fn deadline(&self) -> Option<Instant> {
        // What `App::on_turn` has resumed is told in the next turn.
        if self.net.endpoint.has_events() {
            return Some(Instant::ZERO);
        }
        if !self.to_send.is_empty() || self.leaving.as_ref().is_some_and(|leaving| leaving.is_hurried()) {
            // Neither a frame nor a timer announces room in the ring.
            return Some(Instant::ZERO);
        }
        let wake = self.wake.filter(|_| !self.stopping);
        let mover = self.mover.as_ref().and_then(|mover| mover.deadline(self.states.len()));
        [self.net.endpoint.poll_deadline(), self.device.deadline(), wake, mover].into_iter().flatten().min()
    }

    /// Sleeps until a frame comes (true), or for `longest`.
    pub fn wait(&mut self, longest: Duration) -> Result<bool, Error> {
        self.counters.sleeps += 1;
        if self.unfilled > 0 {
            (self.unfilled, self.unfilled_turns) = (0, 0);
            self.device.refill();
        }
        // The kernel may have put off what it was told to send; it has to be told again.
        let longest = if self.net.store.posted() > 0 { longest.min(RETRY_KICK) } else { longest };
        self.device.wait(Some(longest)).map_err(|error| self.device_error(error))
    }

    /// Whether the application asked to stop.
    pub const fn wants_to_stop(&self) -> bool {
        self.net.stop
    }

    /// Begins to stop: tells the application and closes every connection. What is queued is still sent by the turns
    /// that follow.
    pub fn stop(&mut self, now: Instant) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        self.app.on_stop(&mut Core::new(&mut self.net, &mut self.states, now));
        let Self { states, net, .. } = self;
        states.ids().for_each(|id| net.endpoint.close(id));
    }

    /// Whether every connection has ended and nothing waits to be sent.
    pub fn is_done(&self) -> bool {
        let awaited = self.mover.as_ref().is_some_and(|mover| mover.is_awaiting());
        self.states.len() == 0 && self.to_send.is_empty() && !awaited
    }

    /// Frames that the device has to send, or has sent and not given back.
    pub fn in_flight(&self) -> usize {
        self.net.store.posted()
    }

    /// Takes what the device has received and frees it unread: the last thing before the device is closed.
    pub fn discard_received(&mut self, now: Instant) {
        while self.device.rx_burst(now, &mut self.received, RX_BATCH) > 0 {
            self.received.clear();
        }
        self.reclaim();
    }

    /// Resets the connections that are left.
    pub fn abort(&mut self) {
        self.net.endpoint.stop();
    }

    /// The application.
    pub const fn app(&self) -> &A {
        &self.app
    }

    /// The application, to change it between turns.
    pub const fn app_mut(&mut self) -> &mut A {
        &mut self.app
    }

    /// The device.
    pub const fn device(&self) -> &D {
        &self.device
    }

    /// What the worker has counted.
    pub fn counters(&self) -> WorkerCounters {
        let Copies { made, lost } = self.net.store.copies();
        WorkerCounters { tx_copied: made, dropped_no_copy: lost, ..self.counters }
    }

    /// What the protocol has counted.
    pub fn endpoint_counters(&self) -> &corelane_proto::endpoint::Counters {
        self.net.endpoint.counters()
    }

    /// How connections have ended.
    pub const fn endings(&self) -> &Endings {
        &self.endings
    }

    /// Where the device's frames are.
    pub fn census(&self) -> Census {
        self.device.pool().census()
    }

    /// How many connections the application has a state for.
    pub const fn connections(&self) -> usize {
        self.states.len()
    }
}

/// Gives a frame to the worker whose flow it is of.
fn hand_over<D: Device>(
    astray: Astray,
    store: &mut Store,
    post: Option<&Post>,
    device: &mut D,
    counters: &mut WorkerCounters,
) {
    let Astray { frame, flow } = astray;
    let len = frame.len;
    // It came from the device a moment ago, so the store has it; and what is astray there is a post to tell the way.
    let (Ok(mut frame), Some(post)) = (store.take(frame.token), post) else { return };
    frame.set_len(len.into());
    let owner = post.view().with(|view| view.owner(&flow));
    match device.hand_off(owner as usize, frame) {
        Ok(()) => counters.handed_over += 1,
        Err(_dropped) => counters.dropped_hand_over += 1,
    }
}

/// Gives the protocol what other workers received for this one.
fn hear(siblings: &Siblings, net: &mut Net, now: Instant) {
    while let Some((on, bytes, len)) = siblings.next() {
        // Without a free frame it is lost, like any other packet.
        let Some(mut frame) = net.store.pool().alloc_on(on.0) else { return };
        frame.buffer_mut()[..len].copy_from_slice(&bytes[..len]);
        let wire_len = u16::try_from(len).unwrap_or(u16::MAX);
        let token = net.store.insert(frame);
        net.endpoint.receive_on(on, now, &mut net.store, Buf::new(token, 0, wire_len));
    }
}
