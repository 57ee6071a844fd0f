//! A host of the matrix: an endpoint, its frames, and an application that writes or reads all it can.

use super::tile;
use crate::frames::Frames;
use corelane_proto::endpoint::{Cidr, CloseReason, ConnId, EndpointConfig, Event, Transmit};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::info::TcpInfo;
use corelane_proto::{Addr, Endpoint, Instant, Mac, Memory, SocketAddr};
use std::time::Duration;

/// Turns at one moment; a worker that needs more of them never sleeps.
const MOST_TURNS: usize = 10_000;
/// When an endpoint wants to be woken for what is already due and has nothing to do, as a worker would.
const AGAIN: Duration = Duration::from_micros(10);
/// Where the receiver listens.
const PORT: u16 = 80;

/// What a sender's application wants.
#[derive(Clone, Copy, Debug)]
struct Writer {
    id: ConnId,
    /// Bytes of the transfer; `u64::MAX` for one without end.
    total: u64,
    written: u64,
    open_since: Option<Instant>,
}

/// One connection as its reader has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    id: ConnId,
    /// Which sender it comes from.
    pub(super) from: usize,
    /// Bytes that were read.
    pub(super) read: u64,
    /// When the last of them came.
    pub(super) last_at: Instant,
}

/// A host.
pub(super) struct Node {
    pub(super) endpoint: Endpoint,
    frames: Frames,
    writer: Option<Writer>,
    pub(super) readers: Vec<Reader>,
    /// When it wants its next turn.
    pub(super) wake_at: Option<Instant>,
    /// The first thing that was wrong.
    pub(super) failure: Option<String>,
}

/// The address of host `index`.
fn address(index: usize) -> Addr {
    Addr::v4([10, 0, 0, index as u8 + 1])
}

fn mac(index: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, index as u8 + 1])
}

/// Whose packet this is for, by its Ethernet address.
pub(super) fn destination(frame: &[u8]) -> usize {
    usize::from(frame.get(5).copied().unwrap_or(0)).saturating_sub(1)
}

impl Node {
    /// Host `index` of `hosts` that all know each other, with room for `buffered` bytes.
    pub(super) fn new(index: usize, hosts: usize, buffered: u64, secret: [u8; 32]) -> Self {
        let config = EndpointConfig {
            mac: mac(index),
            addresses: vec![Cidr { addr: address(index), prefix_len: 24 }],
            connections: 16,
            syn_queue: 16,
            accept_queue: 16,
            time_wait: 16,
            neighbours: 64,
            low_water_frames: 64,
            // What comes off a simulated wire is whole; the frames are checked by the bytes that are read.
            verify_ip_checksum: false,
            verify_tcp_checksum: false,
            ..EndpointConfig::default()
        };
        let mut endpoint = Endpoint::new(config, secret, Instant::ZERO);
        for other in (0..hosts).filter(|other| *other != index) {
            endpoint.set_neighbour(address(other), mac(other));
        }
        // Nobody may take more than a share of the frames, and those on the way need some too.
        let count = 1024 + 4 * u32::try_from(buffered / 1448).unwrap_or(0);
        let frames = Frames::new(count, 256);
        Self { endpoint, frames, writer: None, readers: Vec::new(), wake_at: None, failure: None }
    }

    pub(super) fn listen(&mut self, config: TcpConfig) {
        let any = SocketAddr::new(Addr::v4([0; 4]), PORT);
        if let Err(error) = self.endpoint.listen(any, config) {
            self.fail(error.to_string());
        }
    }

    /// Opens a connection to host `to` on which `total` bytes go.
    pub(super) fn open(&mut self, now: Instant, own: usize, to: usize, total: u64, config: TcpConfig) {
        let (local, remote) = (SocketAddr::new(address(own), 0), SocketAddr::new(address(to), PORT));
        self.wake_at = Some(now);
        match self.endpoint.connect(now, local, remote, config) {
            Ok(id) => self.writer = Some(Writer { id, total, written: 0, open_since: None }),
            Err(error) => self.fail(error.to_string()),
        }
    }

    /// When its connection was open and the first byte written.
    pub(super) fn open_since(&self) -> Option<Instant> {
        self.writer?.open_since
    }

    /// What its connection says of itself.
    pub(super) fn info(&self) -> Option<TcpInfo> {
        self.endpoint.info(self.writer?.id)
    }

    /// A frame arrives.
    pub(super) fn receive(&mut self, now: Instant, frame: &[u8]) {
        self.wake_at = Some(now);
        match self.frames.receive(frame) {
            Some(buf) => self.endpoint.receive(now, &mut self.frames, buf),
            None => self.fail("it has no frame left to receive into".to_owned()),
        }
    }

    /// Turns until there is nothing more to do now; hands every frame to `send`.
    pub(super) fn turns(&mut self, now: Instant, mut send: impl FnMut(Vec<u8>)) {
        for _ in 0..MOST_TURNS {
            self.endpoint.on_time(now, &mut self.frames);
            let mut busy = false;
            while let Some(event) = self.endpoint.poll_event() {
                busy = true;
                self.on_event(now, &event);
            }
            while let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.frames) {
                busy = true;
                let (index, keep, len) = match transmit {
                    Transmit::Owned { token, len } => (token.index(), false, len),
                    Transmit::Lent { index, len } => (index, true, len),
                };
                send(self.frames.post(index, keep, len));
                self.frames.completed(index);
            }
            if !busy || self.failure.is_some() {
                let deadline = self.endpoint.poll_deadline();
                self.wake_at = deadline.map(|at| if at <= now { now + AGAIN } else { at });
                if let Some(misuse) = self.frames.misuse.take() {
                    self.fail(misuse);
                }
                return;
            }
        }
        self.fail("it does not come to rest".to_owned());
    }

    fn on_event(&mut self, now: Instant, event: &Event) {
        match event {
            Event::Accepted { conn, flow, .. } => {
                let [.., last] = flow.remote.addr.octets();
                let from = usize::from(last).saturating_sub(1);
                self.readers.push(Reader { id: *conn, from, read: 0, last_at: now });
                self.read(now, *conn);
            }
            Event::Connected(_) => {
                if let Some(writer) = &mut self.writer {
                    writer.open_since = Some(now);
                }
                self.write();
            }
            Event::Writable(_) => self.write(),
            Event::Readable(id) => self.read(now, *id),
            Event::Closed { reason, .. } => self.closed(*reason),
            Event::Urgent(_) | Event::PeerClosed(_) | Event::Trouble { .. } => {}
        }
    }

    fn closed(&mut self, reason: CloseReason) {
        self.fail(format!("a connection ended in the middle of its transfer: {}", reason.name()));
    }

    /// Gives the endpoint what it takes.
    fn write(&mut self) {
        let Self { endpoint, frames, writer: Some(writer), .. } = self else { return };
        while writer.written < writer.total {
            let len = (writer.total - writer.written).min(tile::MOST as u64) as usize;
            let taken = endpoint.send_copy(frames, writer.id, tile::bytes(writer.written, len)).unwrap_or(0);
            writer.written += taken as u64;
            if taken < len {
                return;
            }
        }
    }

    /// Reads all there is.
    fn read(&mut self, now: Instant, id: ConnId) {
        let Self { endpoint, frames, readers, failure, .. } = self;
        let Some(reader) = readers.iter_mut().find(|reader| reader.id == id) else { return };
        while let Some(buf) = endpoint.recv(id) {
            let len = usize::from(buf.len);
            if buf.bytes(frames) != tile::bytes(reader.read, len) {
                let what = || format!("a byte of the {len} from {} on is not the one that was sent", reader.read);
                failure.get_or_insert_with(what);
            }
            frames.free(buf.token);
            endpoint.consumed(id, len);
            reader.read += len as u64;
            reader.last_at = now;
        }
    }

    fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }
}
