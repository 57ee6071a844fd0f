//! One connection, as a handler sees it.

use super::{Net, TxBuf};
use corelane_proto::endpoint::{ConnId, SendError, Shutdown};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::info::TcpInfo;
use corelane_proto::{Buf, Flow, Instant, Memory, SocketAddr};
use std::fmt;

/// One connection, for the time of a call.
///
/// A connection that has ended meanwhile takes no bytes and ignores the rest; its [`App::on_closed`] comes.
///
/// [`App::on_closed`]: super::App::on_closed
pub struct Conn<'a> {
    net: &'a mut Net,
    now: Instant,
    id: ConnId,
}

impl<'a> Conn<'a> {
    pub(crate) fn new(net: &'a mut Net, now: Instant, id: ConnId) -> Self {
        Self { net, now, id }
    }

    /// The connection's name, which is never given to another one.
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// When this turn began.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The peer's end; `None` when the connection has ended.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.flow().map(|flow| flow.remote)
    }

    /// Our end; `None` when the connection has ended.
    pub fn local(&self) -> Option<SocketAddr> {
        self.flow().map(|flow| flow.local)
    }

    /// Both ends; `None` when the connection has ended.
    pub fn flow(&self) -> Option<Flow> {
        self.net.endpoint.flow(self.id)
    }

    /// Queues a copy of as much of `bytes` as there is room for; says how much. When that is less than all,
    /// [`App::on_writable`](super::App::on_writable) comes as soon as there is room again. 0 for a connection that
    /// has ended or was shut down for writing.
    pub fn send_copy(&mut self, bytes: &[u8]) -> usize {
        let Net { endpoint, store, .. } = &mut *self.net;
        endpoint.send_copy(store, self.id, bytes).unwrap_or(0)
    }

    /// A frame to write one segment's payload into; `None` when frames are short, and then
    /// [`App::on_writable`](super::App::on_writable) comes when there are more, or when the connection has ended or was
    /// shut down for writing.
    pub fn alloc(&mut self) -> Option<TxBuf> {
        let Net { endpoint, store, .. } = &mut *self.net;
        let token = endpoint.alloc(store, self.id)?;
        let frame = store.take(token).ok()?;
        Some(TxBuf::new(frame, endpoint.header_room(self.id), endpoint.segment_len(self.id).into()))
    }

    /// Queues a payload without copying it. A payload that is not taken comes back with the reason: after
    /// [`SendError::Full`], [`App::on_writable`](super::App::on_writable) comes as soon as there is room.
    pub fn send(&mut self, payload: TxBuf) -> Result<(), (TxBuf, SendError)> {
        let Net { endpoint, store, .. } = &mut *self.net;
        let (frame, room, len, capacity) = payload.into_parts();
        // Both are within a frame, which is shorter than 64 KiB.
        let (start, wire_len) = (u16::try_from(room).unwrap_or(u16::MAX), u16::try_from(len).unwrap_or(u16::MAX));
        let buf = Buf::new(store.insert(frame), start, wire_len);
        let Err((buf, error)) = endpoint.send(store, self.id, buf) else { return Ok(()) };
        match store.take(buf.token) {
            Ok(frame) => Err((TxBuf::from_parts((frame, room, len, capacity)), error)),
            Err(token) => {
                // The endpoint gave back a frame that it also gave to the device. The bytes are lost, so the
                // connection must not go on as if they had been sent.
                debug_assert!(false, "the device has a frame that was not sent");
                store.free(token);
                endpoint.abort(self.id);
                Ok(())
            }
        }
    }

    /// How many bytes [`send_copy`](Self::send_copy) would take now.
    pub fn send_room(&self) -> usize {
        self.net.endpoint.send_room(self.id)
    }

    /// Delivers again what [`Rx::consume`](super::Rx::consume) left, in this turn or the next. For handlers that
    /// waited for something else than this connection; to call it from `on_recv` itself is to ask over and over.
    pub fn resume(&mut self) {
        self.net.endpoint.resume(self.id);
    }

    /// Queues a copy of as much of `bytes` as there is room for and marks the last byte taken as the end of urgent data
    /// (RFC 9293 3.8.5, RFC 6093); says how much. The bytes stay in the stream. It is there for old protocols; new ones
    /// should not use it.
    pub fn send_urgent(&mut self, bytes: &[u8]) -> usize {
        let Net { endpoint, store, .. } = &mut *self.net;
        endpoint.send_urgent(store, self.id, bytes).unwrap_or(0)
    }

    /// How many bytes there are from the next unread one to the end of the urgent data; `None` when there is none.
    pub fn urgent_mark(&self) -> Option<u32> {
        self.net.endpoint.urgent_mark(self.id)
    }

    /// The connection's settings; `None` when it has ended.
    pub fn tcp_config(&self) -> Option<TcpConfig> {
        self.net.endpoint.tcp_config(self.id)
    }

    /// Gives the connection other settings from now on: Nagle, cork, keepalive, time-outs, DSCP and the like. What was
    /// agreed on in the handshake stays. False when the connection has ended.
    ///
    /// ```
    /// # fn handler(conn: &mut corelane::Conn<'_>) {
    /// // Hold back small writes until the answer is complete.
    /// if let Some(tcp) = conn.tcp_config() {
    ///     conn.configure(corelane::TcpConfig { cork: true, ..tcp });
    /// }
    /// # }
    /// ```
    pub fn configure(&mut self, tcp: TcpConfig) -> bool {
        self.net.endpoint.configure(self.id, tcp)
    }

    /// Shuts one direction or both.
    pub fn shutdown(&mut self, how: Shutdown) {
        self.net.endpoint.shutdown(self.id, how);
    }

    /// One more part of the application holds the connection: [`close`](Self::close) has to be called once more before
    /// it closes. False when the connection has ended or is closed already.
    pub fn share(&mut self) -> bool {
        self.net.endpoint.share(self.id)
    }

    /// Closes the connection, or the last of those who [share](Self::share) it does: what is queued is still sent, for
    /// as long as the setting `linger` allows, then a FIN; nothing more is read. With bytes unread the peer gets an RST.
    pub fn close(&mut self) {
        self.net.endpoint.close(self.id);
    }

    /// Ends the connection at once with an RST; what is queued is thrown away.
    pub fn abort(&mut self) {
        self.net.endpoint.abort(self.id);
    }

    /// The connection's state in numbers; `None` when it has ended.
    pub fn info(&self) -> Option<TcpInfo> {
        self.net.endpoint.info(self.id)
    }

    /// Another connection of this core, for applications that pass bytes on; `None` when it has ended.
    pub fn other(&mut self, id: ConnId) -> Option<Conn<'_>> {
        self.net.endpoint.flow(id)?;
        Some(Conn { net: self.net, now: self.now, id })
    }
}

impl fmt::Debug for Conn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("id", &self.id).field("flow", &self.flow()).finish_non_exhaustive()
    }
}
