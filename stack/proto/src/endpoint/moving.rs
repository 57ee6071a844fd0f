//! Connections that go from one core's endpoint to another's.
//!
//! A connection moves at rest, as values and without frames: the bytes that its application has not read are copied. The
//! endpoints need the same interfaces, addresses and clock. Who gives one up keeps its slot until it hears that the
//! connection has arrived, so that there is always room for one that comes back.

use super::beside::way_to;
use super::table::InsertError;
use super::{Conn, ConnId, Endpoint, News, Way};
use crate::addr::{Addr, Flow};
use crate::memory::{Buf, InterfaceId, Memory};
use crate::tcp::Tcb;
use crate::tcp::close::CloseReason;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A connection on its way from one endpoint to another: all that TCP knows of it. It holds no frame.
#[derive(Debug)]
#[must_use = "a connection that is dropped is lost, and its peer is not told"]
pub struct Moving {
    flow: Flow,
    tcb: Tcb,
    next_hop: Option<Addr>,
    via: InterfaceId,
    handles: u32,
    /// It came in by a listener.
    passive: bool,
    /// What the application has not read.
    unread: Vec<u8>,
    /// When it left.
    at: Instant,
}

impl Moving {
    /// Its two ends.
    pub const fn flow(&self) -> &Flow {
        &self.flow
    }
}

/// Why an endpoint does not take a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MoveError {
    /// Every slot is taken.
    #[error("the connection table is full")]
    Full,
    /// There is a connection with the same ends.
    #[error("a connection with these two ends exists")]
    Exists,
    /// Its address is none of ours.
    #[error("its address is none of ours")]
    NotOurs,
    /// There are no frames for the bytes that it brings.
    #[error("there are no frames for its unread bytes")]
    NoFrames,
}

impl Endpoint {
    /// Whether the connection can move now: it is open, the application knows of it and has been told all but that there
    /// are bytes to read, and it is [at rest](Tcb::is_at_rest). One whose packets carry a source route stays.
    pub fn may_move(&self, id: ConnId) -> bool {
        let Some((flow, conn)) = self.conns.flow(id).zip(self.conns.get(id)) else { return false };
        conn.told
            && !conn.retired
            && !conn.pending
            && News { readable: false, ..conn.news } == News::default()
            && conn.next_hop.is_some()
            && self.source_routes.of(flow).is_none()
            && conn.tcb.is_at_rest()
    }

    /// Gives a connection up, if it [may move](Self::may_move). Its name means nothing any more; its slot is kept until
    /// [`moved`](Self::moved) or [`move_back`](Self::move_back).
    pub fn move_out<M: Memory>(&mut self, memory: &mut M, id: ConnId) -> Option<Box<Moving>> {
        if !self.may_move(id) {
            return None;
        }
        let flow = self.flow(id)?;
        let Conn { mut tcb, next_hop, via, listener, handles, .. } = self.conns.remove(id)?;
        self.conns.reserve();
        let slot = id.slot() as u32;
        self.wheel.cancel(slot);
        self.sending = self.sending.filter(|(sending, _)| *sending != slot);
        let mut unread = Vec::new();
        while let Some(buf) = tcb.recv() {
            unread.extend_from_slice(buf.bytes(memory));
            memory.free(buf.token);
        }
        debug_assert_eq!(tcb.frames(), 0, "{flow:?} leaves frames behind");
        Some(Box::new(Moving { flow, tcb, next_hop, via, handles, passive: listener.is_some(), unread, at: self.now }))
    }

    /// A connection that was [given up](Self::move_out) has arrived elsewhere.
    pub fn moved(&mut self) {
        self.conns.release();
    }

    /// Takes a connection over that another endpoint has given up. An [`Event::Readable`](super::Event::Readable) follows
    /// when it brings unread bytes.
    ///
    /// # Errors
    /// It comes back with the reason, for the one that gave it up.
    pub fn move_in<M: Memory>(
        &mut self,
        now: Instant,
        memory: &mut M,
        moving: Box<Moving>,
    ) -> Result<ConnId, (Box<Moving>, MoveError)> {
        let kept = self.config.kept_frames();
        if !self.is_ours(moving.flow.local.addr) {
            return Err((moving, MoveError::NotOurs));
        }
        self.settle_here(now, memory, moving, kept)
    }

    /// Takes a connection back that nobody else has taken. If its address has gone meanwhile, it ends as all have that were
    /// there.
    ///
    /// # Errors
    /// It has more unread bytes than there are frames for: it may be tried again.
    pub fn move_back<M: Memory>(
        &mut self,
        now: Instant,
        memory: &mut M,
        moving: Box<Moving>,
    ) -> Result<ConnId, (Box<Moving>, MoveError)> {
        let addr = moving.flow.local.addr;
        self.conns.release();
        let id = match self.settle_here(now, memory, moving, 0) {
            Ok(id) => id,
            Err((moving, error)) => {
                self.conns.reserve();
                return Err((moving, error));
            }
        };
        if !self.is_ours(addr)
            && let Some(conn) = self.conns.get_mut(id)
        {
            conn.tcb.kill(CloseReason::AddressRemoved);
            self.after(id);
        }
        Ok(id)
    }

    /// Puts a connection into the tables, if there is room for it and for its bytes beside `kept` frames.
    fn settle_here<M: Memory>(
        &mut self,
        now: Instant,
        memory: &mut M,
        moving: Box<Moving>,
        kept: usize,
    ) -> Result<ConnId, (Box<Moving>, MoveError)> {
        // The clocks of two cores may differ by a little: nothing may seem to come from the future.
        self.now = self.now.max(now).max(moving.at);
        let piece = memory.frame_len().clamp(1, usize::from(u16::MAX));
        if self.conns.find(&moving.flow).is_some() {
            return Err((moving, MoveError::Exists));
        }
        if self.conns.is_full() {
            return Err((moving, MoveError::Full));
        }
        let pieces = moving.unread.len().div_ceil(piece);
        if pieces > 0 && memory.available_on(moving.via) < pieces + kept {
            return Err((moving, MoveError::NoFrames));
        }
        let tokens: Vec<_> = (0..pieces).map_while(|_| memory.alloc_on(moving.via)).collect();
        if tokens.len() < pieces {
            tokens.into_iter().for_each(|token| memory.free(token));
            return Err((moving, MoveError::NoFrames));
        }
        let Moving { flow, mut tcb, next_hop, via, handles, passive, unread, at: _ } = *moving;
        for (bytes, token) in unread.chunks(piece).rev().zip(tokens) {
            memory.bytes_mut(&token)[..bytes.len()].copy_from_slice(bytes);
            tcb.unread(Buf::new(token, 0, u16::try_from(bytes.len()).unwrap_or(u16::MAX)));
        }
        // What was there of the same ends is older than the connection.
        self.half_open.remove(&flow);
        self.time_wait.remove(&flow);
        let way = way_to(flow.remote.addr, via, &self.routing, &self.interfaces);
        let listener = self.listeners.find(flow.local).filter(|_| passive);
        let way_before = Way { via, hop: next_hop.unwrap_or(flow.remote.addr) };
        let mut conn = Conn { told: true, handles, ..Conn::new(tcb, way_before, listener) };
        conn.set_way(way);
        conn.news.readable = !unread.is_empty();
        let id = match self.conns.insert(flow, conn) {
            Ok(id) => id,
            Err(InsertError::Full | InsertError::Exists) => unreachable!("both were looked at"),
        };
        let mss = self.conns.get(id).map(|conn| *conn.tcb.config()).map(|config| self.link(&flow, &config).mss);
        if let Some((conn, mss)) = self.conns.get_mut(id).zip(mss) {
            conn.tcb.set_link_mss(mss);
        }
        self.after(id);
        Ok(id)
    }
}
