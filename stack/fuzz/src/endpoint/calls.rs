//! The application: what it calls, what it holds, what it was told.

use super::bench::{Bench, OURS, PEERS, tcp_config};
use super::peer::{Reading, peer_byte};
use crate::Input;
use corelane_proto::endpoint::{ConnId, Event, Shutdown};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::tcp::state::State;
use corelane_proto::wire::SourceRoute;
use corelane_proto::{Addr, Buf, Endpoint, Flow, Memory, SocketAddr};
use corelane_sim::checks::EventOrder;

/// Connections of the past whose names are still used, to see that nothing comes of it.
const PAST: usize = 4;
/// No buffer of a run is larger.
const MOST_BUFFERED: u32 = 100_000 + 65_535;

/// A connection as its application sees it.
struct Conn {
    id: ConnId,
    flow: Flow,
    order: EventOrder,
    written: u32,
    reading: Reading,
    /// Buffers that were read and are kept: their frames are ours, and their bytes still count.
    kept: Vec<Buf>,
}

/// The application.
#[derive(Default)]
pub(super) struct App {
    conns: Vec<Conn>,
    past: Vec<ConnId>,
    kept_of_past: Vec<Buf>,
}

impl App {
    pub(super) fn add(&mut self, id: ConnId, flow: Flow) {
        assert!(self.conns.iter().all(|conn| conn.id != id), "{id:?} is given twice");
        let order = EventOrder::default();
        let (reading, kept) = (Reading::default(), Vec::new());
        self.conns.push(Conn { id, flow, order, written: 0, reading, kept });
    }

    /// Frames that the application holds.
    pub(super) fn held(&self) -> usize {
        self.kept_of_past.len() + self.conns.iter().map(|conn| conn.kept.len()).sum::<usize>()
    }

    /// The peer of `flow` is not remembered any more.
    pub(super) fn forget(&mut self, flow: Flow) {
        self.conns.iter_mut().filter(|conn| conn.flow == flow).for_each(|conn| conn.reading = Reading::blind());
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        let at = self.conns.iter().position(|conn| conn.id == event.conn());
        let Some(at) = at else { panic!("{event:?} of a connection that is not there") };
        let conn = &mut self.conns[at];
        if let Err(what) = conn.order.on_event(event) {
            panic!("{what}");
        }
        if matches!(event, Event::Closed { .. }) {
            let conn = self.conns.remove(at);
            self.kept_of_past.extend(conn.kept);
            if self.past.len() == PAST {
                self.past.remove(0);
            }
            self.past.push(conn.id);
        }
    }

    pub(super) fn check(&self, endpoint: &Endpoint) {
        for conn in &self.conns {
            let Some(info) = endpoint.info(conn.id) else { panic!("{:?} went without a word", conn.id) };
            assert!(info.unread <= MOST_BUFFERED, "{} bytes unread", info.unread);
            assert!(info.unsent + info.in_flight <= MOST_BUFFERED, "{} bytes unsent", info.unsent);
        }
        for id in &self.past {
            // One in TIME-WAIT keeps its place until its last ACK has left, even when it is reset meanwhile.
            let state = endpoint.info(*id).map(|info| info.state);
            assert!(matches!(state, None | Some(State::TimeWait | State::Closed)), "{id:?} is over and in {state:?}");
        }
    }
}

impl Bench {
    /// One call of the application.
    pub(super) fn call(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0..2 => self.connect(input),
            2 => self.relisten(input),
            3 => self.release(input),
            4 if input.rarely(4) => self.endpoint.change_secret([input.any(); 32]),
            4 if input.rarely(32) => self.endpoint.stop(),
            4 => self.call_past(input),
            _ => {
                let count = self.app.conns.len() as u32;
                if count > 0 {
                    let at = input.below(count) as usize;
                    self.call_one(at, input);
                }
            }
        }
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        let which = input.below(3) as usize;
        let any = if which == 1 { Addr::v6([0; 16]) } else { Addr::v4([0; 4]) };
        let addr = if input.rarely(4) { any } else { OURS[usize::from(which == 1)] };
        // A port that is bound may be one that is listened on, or that another connection has.
        let local = SocketAddr::new(addr, input.pick(&[0, 0, 40_001, 80]));
        let remote = SocketAddr::new(PEERS[which], 1000 + input.below(3) as u16);
        let config = if input.rarely(2) { tcp_config(input) } else { self.tcp };
        let listener = self.listeners[usize::from(which == 1)].filter(|_| input.rarely(8));
        let opened = match listener {
            Some(listener) => self.endpoint.connect_listener(self.now, listener, remote),
            None => {
                let gateways = [PEERS[0], PEERS[2], OURS[0]];
                let by = &gateways[..input.below(4) as usize];
                let route = if input.rarely(8) { SourceRoute::new(input.rarely(2), by) } else { None };
                self.endpoint.connect_by(self.now, local, remote, route, config)
            }
        };
        let Ok(id) = opened else { return };
        if listener.is_some() {
            self.listeners[usize::from(which == 1)] = None;
        }
        let flow = self.endpoint.flow(id).expect("a new connection has two ends");
        // The peer knows nothing of this connection yet.
        let peer = self.peer_of(flow);
        self.peers[peer].expects = Seq(0);
        self.app.add(id, flow);
    }

    fn relisten(&mut self, input: &mut Input<'_>) {
        let which = input.below(2) as usize;
        match self.listeners[which].take() {
            Some(id) => self.endpoint.unlisten(id),
            None => {
                let config = tcp_config(input);
                self.listen(which, config);
            }
        }
    }

    /// Gives back what was kept.
    fn release(&mut self, input: &mut Input<'_>) {
        let Some(conn) = self.app.conns.iter_mut().find(|conn| !conn.kept.is_empty()) else {
            return self.release_past();
        };
        let buf = conn.kept.remove(0);
        if input.rarely(2) {
            self.endpoint.consumed(conn.id, usize::from(buf.len));
        }
        self.frames.free(buf.token);
    }

    fn release_past(&mut self) {
        for buf in self.app.kept_of_past.drain(..) {
            self.frames.free(buf.token);
        }
    }

    /// Calls with the name of a connection that is over do nothing.
    fn call_past(&mut self, input: &mut Input<'_>) {
        let Some(id) = self.app.past.last().copied() else { return };
        match input.below(8) {
            0 => self.endpoint.close(id),
            1 => self.endpoint.abort(id),
            6 => assert!(!self.endpoint.share(id)),
            7 => drop(self.endpoint.configure(id, self.tcp)),
            2 => self.endpoint.shutdown(id, Shutdown::Both),
            3 => assert!(self.endpoint.send_copy(&mut self.frames, id, b"x").is_err()),
            4 => assert!(self.endpoint.recv(id).is_none()),
            _ => self.endpoint.consumed(id, 5),
        }
    }

    fn call_one(&mut self, at: usize, input: &mut Input<'_>) {
        let id = self.app.conns[at].id;
        match input.below(16) {
            0..4 => self.write(at, input),
            4 => self.write_frame(at, input),
            5..9 => {
                self.read(at);
            }
            9 => self.read_and_keep(at),
            10 => self.read_and_put_back(at, input),
            11 => match input.below(4) {
                0 => drop(self.endpoint.share(id)),
                1 => {
                    let config = tcp_config(input);
                    assert!(self.endpoint.configure(id, config));
                }
                2 => {
                    let mark = self.endpoint.urgent_mark(id);
                    assert!(mark.is_none_or(|mark| mark <= MOST_BUFFERED + 65_535), "{mark:?}");
                }
                _ => self.endpoint.resume(id),
            },
            12 => self.endpoint.shutdown(id, input.pick(&[Shutdown::Read, Shutdown::Write, Shutdown::Both])),
            13 => {
                self.app.conns[at].order.leave();
                self.endpoint.close(id);
            }
            14 if input.rarely(2) => self.endpoint.abort(id),
            14 => {
                let room = self.endpoint.send_room(id);
                assert!(room <= MOST_BUFFERED as usize && self.endpoint.header_room(id) < 128);
            }
            _ => self.read_everything(at),
        }
    }

    fn stream(written: u32, len: usize) -> Vec<u8> {
        (0..len as u32).map(|i| peer_byte(Seq(written + i))).collect()
    }

    fn write(&mut self, at: usize, input: &mut Input<'_>) {
        let conn = &mut self.app.conns[at];
        let len = if input.rarely(2) { input.below(4000) as usize } else { input.below(20) as usize };
        let bytes = Self::stream(conn.written, len);
        let taken = if input.rarely(8) {
            self.endpoint.send_urgent(&mut self.frames, conn.id, &bytes)
        } else {
            self.endpoint.send_copy(&mut self.frames, conn.id, &bytes)
        };
        conn.written += taken.unwrap_or(0) as u32;
    }

    /// Without copying, where the endpoint wants it or elsewhere in the frame.
    fn write_frame(&mut self, at: usize, input: &mut Input<'_>) {
        let conn = &mut self.app.conns[at];
        let Some(token) = self.endpoint.alloc(&mut self.frames, conn.id) else { return };
        let room = self.endpoint.header_room(conn.id);
        let longest = self.endpoint.segment_len(conn.id).min(self.frames.frame_len() as u16 - room - 32);
        let len = input.below(u32::from(longest) + 1) as u16;
        let start = if input.rarely(4) { input.below(u32::from(room) + 32) as u16 } else { room };
        let bytes = Self::stream(conn.written, usize::from(len));
        self.frames.bytes_mut(&token)[usize::from(start)..][..bytes.len()].copy_from_slice(&bytes);
        match self.endpoint.send(&mut self.frames, conn.id, Buf::new(token, start, len)) {
            Ok(()) => conn.written += u32::from(len),
            Err((buf, _)) => self.frames.free(buf.token),
        }
    }

    /// The next bytes, compared with what the peer has sent.
    fn take(&mut self, at: usize) -> Option<Buf> {
        let conn = &mut self.app.conns[at];
        let buf = self.endpoint.recv(conn.id)?;
        assert!(buf.len > 0, "a buffer without bytes");
        if let Some(peer) = self.peers.iter().find(|peer| peer.flow == conn.flow) {
            conn.reading.on_bytes(buf.bytes(&self.frames), peer);
        }
        Some(buf)
    }

    fn read(&mut self, at: usize) -> bool {
        let Some(buf) = self.take(at) else { return false };
        self.endpoint.consumed(self.app.conns[at].id, usize::from(buf.len));
        self.frames.free(buf.token);
        true
    }

    fn read_everything(&mut self, at: usize) {
        while self.read(at) {}
    }

    fn read_and_keep(&mut self, at: usize) {
        if let Some(buf) = self.take(at) {
            self.app.conns[at].kept.push(buf);
        }
    }

    /// Some of it is read, the rest comes again.
    fn read_and_put_back(&mut self, at: usize, input: &mut Input<'_>) {
        let id = self.app.conns[at].id;
        let before = self.app.conns[at].reading.clone();
        let Some(mut buf) = self.take(at) else { return };
        let n = input.below(u32::from(buf.len)) as u16;
        let conn = &mut self.app.conns[at];
        conn.reading = before;
        if n > 0
            && let Some(peer) = self.peers.iter().find(|peer| peer.flow == conn.flow)
        {
            conn.reading.on_bytes(&buf.bytes(&self.frames)[..usize::from(n)], peer);
        }
        buf.trim_front(n);
        self.endpoint.consumed(id, usize::from(n));
        self.endpoint.unread(id, buf);
    }

    /// Everything is left: some connections are aborted, those that were closed may go by themselves.
    pub(super) fn leave(&mut self) {
        for at in 0..self.app.conns.len() {
            let id = self.app.conns[at].id;
            for buf in std::mem::take(&mut self.app.conns[at].kept) {
                self.endpoint.consumed(id, usize::from(buf.len));
                self.frames.free(buf.token);
            }
            if at % 2 == 0 {
                self.endpoint.abort(id);
            } else {
                self.read_everything(at);
                self.app.conns[at].order.leave();
                self.endpoint.close(id);
            }
        }
        self.release_past();
    }
}
