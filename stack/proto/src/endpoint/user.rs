//! The application's calls on one connection.

use super::receive::is_fair;
use super::{ConnId, Endpoint, EndpointConfig, InterfaceId, SendError, Shutdown};
use crate::addr::Flow;
use crate::memory::{Buf, Memory, Token};
use crate::tcp::close::CloseReason;
use crate::tcp::config::TcpConfig;
use crate::tcp::info::TcpInfo;
use crate::wire;
use core::time::Duration;

impl Endpoint {
    /// Both ends of a connection.
    pub fn flow(&self, id: ConnId) -> Option<Flow> {
        self.conns.flow(id).copied()
    }

    /// A snapshot of a connection.
    pub fn info(&self, id: ConnId) -> Option<TcpInfo> {
        self.conns.get(id).map(|conn| conn.tcb.info())
    }

    /// The settings of a connection.
    pub fn tcp_config(&self, id: ConnId) -> Option<TcpConfig> {
        self.conns.get(id).map(|conn| *conn.tcb.config())
    }

    /// Changes the settings of a connection, at once in force; false when it is gone. A setting out of its range counts
    /// as the nearest inside it. What the handshake agrees on stays: see [`Tcb::configure`](crate::tcp::Tcb::configure).
    //= spec/rfc9293.txt#section-3.9.1.9
    //# It is not required, but the application SHOULD be able to change the Differentiated Services field during the
    //# connection lifetime (SHLD-21).
    pub fn configure(&mut self, id: ConnId, config: TcpConfig) -> bool {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else { return false };
        conn.tcb.configure(now, &config);
        self.after(id);
        true
    }

    /// Where the payload of a buffer for [`send`](Self::send) has to begin, bytes from the frame's start.
    pub fn header_room(&self, id: ConnId) -> u16 {
        let Some((flow, conn)) = self.conns.flow(id).zip(self.conns.get(id)) else { return 0 };
        let tagged = self.interfaces.get(conn.via).vlan.is_some();
        let link = wire::tcp_header_len(flow.local.addr.is_v4(), tagged, &crate::tcp::segment::Options::NONE);
        let route = self.source_routes.of(flow).map_or(0, |route| route.wire_len());
        u16::try_from(link + route).unwrap_or(0) - 20 + conn.tcb.data_header_len()
    }

    /// Bytes that [`send_copy`](Self::send_copy) would take now if there are frames enough.
    pub fn send_room(&self, id: ConnId) -> usize {
        self.conns.get(id).map_or(0, |conn| conn.tcb.send_room() as usize)
    }

    /// Payload bytes of a full segment: the longest buffer that [`send`](Self::send) takes.
    pub fn segment_len(&self, id: ConnId) -> u16 {
        self.conns.get(id).map_or(0, |conn| conn.tcb.mss())
    }

    /// A frame for a payload of this connection; `None` when the connection is gone or closed for sending, or when only
    /// the last frames are left, which are for ACKs: then an [`Event::Writable`](super::Event::Writable) follows.
    pub fn alloc<M: Memory>(&mut self, memory: &mut M, id: ConnId) -> Option<Token> {
        if !self.conns.get(id)?.tcb.may_send() {
            return None;
        }
        let (held, on) = (self.conns.get(id)?.tcb.unacked_frames(), self.interface_of(id));
        let token = may_take(held, memory, on, &self.config).then(|| memory.alloc_on(on)).flatten();
        self.refused_if(id, token.is_none(), token.is_none());
        token
    }

    /// Copies as much of `bytes` as there is room for into the send queue; says how many bytes that were. After it has
    /// taken less than it was offered, an [`Event::Writable`](super::Event::Writable) follows when there is room.
    ///
    /// # Errors
    /// [`SendError::Gone`] or [`SendError::Closed`].
    pub fn send_copy<M: Memory>(&mut self, memory: &mut M, id: ConnId, bytes: &[u8]) -> Result<usize, SendError> {
        let room_for_headers = self.header_room(id);
        let conn = self.conns.get_mut(id).ok_or(SendError::Gone)?;
        if !conn.tcb.may_send() {
            return Err(SendError::Closed);
        }
        let mss = conn.tcb.mss().min(u16::try_from(memory.frame_len()).unwrap_or(u16::MAX) - room_for_headers);
        let wanted = bytes.len().min(conn.tcb.send_room() as usize);
        let mut left = &bytes[..wanted];
        let mut starved = false;
        while !left.is_empty() {
            if let Some(n) = append(memory, conn, left, mss) {
                left = &left[n..];
                continue;
            }
            let Some(token) = may_take(conn.tcb.unacked_frames(), memory, conn.via, &self.config)
                .then(|| memory.alloc_on(conn.via))
                .flatten()
            else {
                starved = true;
                break;
            };
            //= spec/rfc9293.txt#section-3.9.1.2
            //# a TCP implementation SHOULD send a maximum-sized segment whenever possible (SHLD-28)
            let (now, later) = left.split_at(left.len().min(usize::from(mss)));
            memory.bytes_mut(&token)[usize::from(room_for_headers)..][..now.len()].copy_from_slice(now);
            conn.tcb.push(Buf::new(token, room_for_headers, u16::try_from(now.len()).unwrap_or(mss)));
            left = later;
        }
        let taken = wanted - left.len();
        //= spec/rfc9293.txt#section-3.9.1.2
        //# If PUSH flags are not implemented, then the sending TCP peer: (1) MUST NOT buffer data indefinitely
        //# (MUST-60)
        self.refused_if(id, taken < bytes.len(), starved);
        self.ready.push(id.slot() as u32);
        Ok(taken)
    }

    /// As [`send_copy`](Self::send_copy), and marks what was taken, and everything queued before it, as urgent
    /// (RFC 6093): the peer is told at once, even when its window is closed. New applications should not need it
    /// (RFC 9293 SHLD-13).
    ///
    /// # Errors
    /// [`SendError::Gone`] or [`SendError::Closed`].
    pub fn send_urgent<M: Memory>(&mut self, memory: &mut M, id: ConnId, bytes: &[u8]) -> Result<usize, SendError> {
        let taken = self.send_copy(memory, id, bytes)?;
        if let Some(conn) = self.conns.get_mut(id).filter(|_| taken > 0) {
            conn.tcb.mark_urgent();
        }
        Ok(taken)
    }

    /// How many bytes lie between the next unread one and the end of the urgent data; they may not all have come yet.
    /// `None` when nothing unread is urgent.
    pub fn urgent_mark(&self, id: ConnId) -> Option<u32> {
        self.conns.get(id)?.tcb.urgent_mark()
    }

    /// The application was refused room: it hears of it when there is some.
    fn refused_if(&mut self, id: ConnId, refused: bool, starved: bool) {
        let Some(conn) = self.conns.get_mut(id).filter(|_| refused) else { return };
        conn.tcb.want_room();
        if starved {
            self.counters.no_frame += 1;
            self.starved.push(id.slot() as u32);
        }
    }

    /// Queues a buffer without copying. Its payload has to begin at [`header_room`](Self::header_room) and be no
    /// longer than [`segment_len`](Self::segment_len); elsewhere it is moved before it is sent.
    ///
    /// # Errors
    /// The buffer comes back with the reason.
    pub fn send<M: Memory>(&mut self, memory: &mut M, id: ConnId, buf: Buf) -> Result<(), (Buf, SendError)> {
        let Some(conn) = self.conns.get_mut(id) else { return Err((buf, SendError::Gone)) };
        if !conn.tcb.may_send() {
            return Err((buf, SendError::Closed));
        }
        let end = usize::from(buf.start) + usize::from(buf.len);
        if buf.len == 0 || buf.len > conn.tcb.mss() || end > memory.frame_len() {
            return Err((buf, SendError::Misplaced));
        }
        if conn.tcb.send_room() < u32::from(buf.len) {
            conn.tcb.want_room();
            return Err((buf, SendError::Full));
        }
        conn.tcb.push(buf);
        self.ready.push(id.slot() as u32);
        Ok(())
    }

    /// The next bytes in order, where they lie; the frame is the caller's. They count against the window until
    /// [`consumed`](Self::consumed).
    pub fn recv(&mut self, id: ConnId) -> Option<Buf> {
        let conn = self.conns.get_mut(id)?;
        let buf = conn.tcb.recv();
        if conn.tcb.is_drained() {
            // The peer's FIN, or TIME-WAIT, may have waited for this.
            self.news.push(id.slot() as u32);
        }
        buf
    }

    /// Puts bytes that were not read back in front. They come again when the connection is next readable.
    ///
    /// A connection that has gone in the meantime frees the frame.
    pub fn unread(&mut self, id: ConnId, buf: Buf) {
        match self.conns.get_mut(id) {
            Some(conn) => conn.tcb.unread(buf),
            None => self.fx.freed.push(buf.token),
        }
    }

    /// `n` of the bytes that [`recv`](Self::recv) gave have been read for good: the window opens.
    pub fn consumed(&mut self, id: ConnId, n: usize) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.tcb.consumed(now, u32::try_from(n).unwrap_or(u32::MAX));
        self.ready.push(id.slot() as u32);
    }

    /// Makes an [`Event::Readable`](super::Event::Readable) follow if there are unread bytes.
    pub fn resume(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if !conn.tcb.is_drained() {
            conn.news.readable = true;
            self.news.push(id.slot() as u32);
        }
    }

    /// Shuts one direction or both; the connection stays until it is closed, or both sides are done.
    pub fn shutdown(&mut self, id: ConnId, how: Shutdown) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else { return };
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            conn.tcb.shutdown_read(now, &mut self.fx);
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            conn.tcb.shutdown_write(now);
        }
        self.after(id);
    }

    /// One handle more to the same connection: [`close`](Self::close) has to be called once more before it closes.
    /// False when it is gone.
    pub fn share(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| !conn.retired) else { return false };
        conn.handles = conn.handles.saturating_add(1);
        true
    }

    /// The application, or the last of those that [share](Self::share) the connection, is done: queued data and a FIN
    /// still go out, for as long as `linger` allows. With data unread the peer gets an RST. Nothing but
    /// [`Event::Closed`](super::Event::Closed) follows, which says how it ended.
    pub fn close(&mut self, id: ConnId) {
        let (now, flow) = (self.now, self.flow(id));
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.handles = conn.handles.saturating_sub(1);
        if conn.handles > 0 {
            return;
        }
        conn.tcb.close(now, &mut self.fx);
        if let Some(flow) = flow {
            self.settle(flow);
        }
        self.after(id);
    }

    /// Ends the connection with an RST, whoever else shares it.
    pub fn abort(&mut self, id: ConnId) {
        let flow = self.flow(id);
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.tcb.abort(self.now, &mut self.fx);
        if let Some(flow) = flow {
            self.settle(flow);
        }
        self.after(id);
    }

    /// The stack stops: every connection ends, those that are open with an RST that the next
    /// [`poll_transmit`](Self::poll_transmit) calls give.
    pub fn stop(&mut self) {
        let open: alloc::vec::Vec<_> = self.iter().map(|(id, flow)| (id, *flow)).collect();
        for (id, flow) in open {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            conn.tcb.abort_for(self.now, CloseReason::Stopped, &mut self.fx);
            self.settle(flow);
            self.after(id);
        }
    }

    /// Frames are scarce: of the peers that have taken nothing to speak of for [`EndpointConfig::hoarding_after`], the one
    /// that holds most frames is given up, one a second. A peer that only answers probes may otherwise stay for ever
    /// (RFC 9293 MUST-37), and many of them would take all (RFC 6429 4: the operating system may end connections to
    /// free resources; "Sockstress").
    pub(super) fn drop_hoarder(&mut self) {
        if self.now < self.hoarders_at {
            return;
        }
        let Self { now, conns, config, .. } = self;
        self.hoarders_at = *now + Duration::from_secs(1);
        let hoarders = conns.iter_mut().filter_map(|(id, flow, conn)| {
            conn.tcb.watch_progress(*now);
            (conn.tcb.hoards_for(*now) >= config.hoarding_after).then(|| (conn.tcb.frames(), id, *flow))
        });
        let Some((_, id, flow)) = hoarders.max_by_key(|(frames, ..)| *frames) else { return };
        if let Some(conn) = self.conns.get_mut(id) {
            conn.tcb.abort_for(self.now, CloseReason::TimedOut, &mut self.fx);
            self.counters.hoarders_closed += 1;
        }
        self.settle(flow);
        self.after(id);
    }

    /// Frames are free again: those who wait for one look again. One is enough for an ACK or a probe; data waits until
    /// there are more than are kept for these.
    pub(super) fn feed_starved<M: Memory>(&mut self, memory: &M) {
        if self.starved.is_empty() || self.interfaces.ids().all(|on| memory.available_on(on) == 0) {
            return;
        }
        for _ in 0..self.starved.len().min(64) {
            let Some(slot) = self.starved.pop() else { break };
            let Some(id) = self.conns.by_slot(slot) else { continue };
            let Some(conn) = self.conns.get_mut(id) else { continue };
            if memory.available_on(conn.via) == 0 {
                self.starved.push(slot);
                continue;
            }
            if may_take(conn.tcb.unacked_frames(), memory, conn.via, &self.config) {
                conn.tcb.offer_room();
            } else if conn.tcb.wants_room() {
                self.starved.push(slot);
            }
            self.after(id);
        }
    }
}

/// Whether the payloads of a connection that holds `held` frames may have another. Some are kept: what is queued waits for
/// ACKs, and so does the peer.
fn may_take<M: Memory>(held: usize, memory: &M, on: InterfaceId, config: &EndpointConfig) -> bool {
    is_fair(held, memory.available_on(on).saturating_sub(config.kept_frames()))
}

/// Adds to the last chunk what fits in; `None` when there is no chunk to add to.
//= spec/rfc9293.txt#section-3.9.1.2
//# The transmitter SHOULD collapse successive bits when it packetizes data, to send the largest possible segment
//# (SHLD-27).
//= spec/rfc9293.txt#section-3.9.1.2
//# the TCP implementation MAY aggregate the data internally without sending it (MAY-16).
fn append<M: Memory>(memory: &mut M, conn: &mut super::Conn, bytes: &[u8], mss: u16) -> Option<usize> {
    let tail = conn.tcb.open_tail()?;
    let room = usize::from(mss.saturating_sub(tail.len));
    let at = usize::from(tail.start + tail.len);
    let frame = memory.bytes_mut(&tail.token);
    let n = bytes.len().min(room).min(frame.len().saturating_sub(at));
    if n == 0 {
        return None;
    }
    frame[at..at + n].copy_from_slice(&bytes[..n]);
    tail.len += n as u16;
    conn.tcb.grew(n as u16);
    Some(n)
}
