//! From the protocol's events to the application's handlers.

use super::Worker;
use crate::app::{App, Conn, Core, Entry, Net, Rest, Returns, Rx};
use crate::device::Device;
use corelane_proto::endpoint::{CloseReason, ConnId, Event};
use corelane_proto::{Buf, Instant, Memory};
use std::rc::Rc;

impl<A: App, D: Device> Worker<A, D> {
    /// Gives what has happened to the application, up to the turn's bound; says how much that was.
    pub(super) fn dispatch(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while count < self.events_per_turn {
            let Some(event) = self.net.endpoint.poll_event() else { break };
            count += 1;
            self.handle(now, event);
        }
        self.counters.events += count as u64;
        count
    }

    fn handle(&mut self, now: Instant, event: Event) {
        // The best moment: all has been acknowledged, and nothing is answered yet.
        if let Event::Readable(id) = event
            && self.moves_now(now)
            && self.is_moved(now, id)
        {
            return;
        }
        let Self { app, net, states, returns, post, .. } = self;
        match event {
            Event::Accepted { conn, .. } if self.stopping => net.endpoint.abort(conn),
            Event::Accepted { conn, .. } => {
                if let Some((post, flow)) = post.as_mut().zip(net.endpoint.flow(conn)) {
                    post.on_accepted(flow);
                }
                let state = app.on_accept(&mut Conn::new(net, now, conn));
                states.insert(conn, state);
            }
            Event::Connected(id) => {
                if let Some(entry) = states.get_mut(id) {
                    app.on_connect(&mut Conn::new(net, now, id), &mut entry.state);
                }
            }
            Event::Readable(id) => {
                if let Some(entry) = states.get_mut(id) {
                    deliver(app, net, entry, returns, now);
                }
            }
            Event::Writable(id) => {
                if let Some(entry) = states.get_mut(id) {
                    app.on_writable(&mut Conn::new(net, now, id), &mut entry.state);
                    // What the application could not take for want of room to answer.
                    deliver(app, net, entry, returns, now);
                }
            }
            Event::PeerClosed(id) => {
                if let Some(entry) = states.get_mut(id) {
                    app.on_peer_closed(&mut Conn::new(net, now, id), &mut entry.state);
                }
            }
            Event::Urgent(id) => {
                if let Some(entry) = states.get_mut(id) {
                    app.on_urgent(&mut Conn::new(net, now, id), &mut entry.state);
                }
            }
            Event::Trouble { conn, trouble } => {
                if let Some(entry) = states.get_mut(conn) {
                    app.on_trouble(&mut Conn::new(net, now, conn), &mut entry.state, trouble);
                }
            }
            Event::Closed { conn, reason } => self.closed(now, conn, reason),
        }
    }

    fn closed(&mut self, now: Instant, id: ConnId, reason: CloseReason) {
        // A connection that came in while the stack was stopping never had a state.
        let Some(state) = self.states.remove(id) else { return };
        self.endings.count(reason);
        self.app.on_closed(&mut Core::new(&mut self.net, &mut self.states, now), state, reason);
    }
}

/// Gives the connection's bytes to the application, frame by frame, until there are no more or it leaves some.
fn deliver<A: App>(app: &mut A, net: &mut Net, entry: &mut Entry<A::State>, returns: &Rc<Returns>, now: Instant) {
    let id = entry.id;
    while let Some(buf) = net.endpoint.recv(id) {
        let Buf { token, start, len } = buf;
        // The frame leaves the store for the time of the call, so that the handler can send while it reads.
        let frame = match net.store.take(token) {
            Ok(frame) => frame,
            Err(token) => {
                debug_assert!(false, "the device has a frame that was received");
                net.store.free(token);
                continue;
            }
        };
        let mut rx = Rx::new(frame, start, len, id, returns);
        app.on_recv(&mut Conn::new(net, now, id), &mut entry.state, &mut rx);
        match rx.finish() {
            Rest::Nothing(consumed) => net.endpoint.consumed(id, consumed),
            Rest::Detached => {}
            Rest::Bytes { frame, consumed } => {
                let mut rest = Buf::new(net.store.insert(frame), start, len);
                // No more than the run was long, which fits.
                rest.trim_front(u16::try_from(consumed).unwrap_or(u16::MAX));
                net.endpoint.unread(id, rest);
                net.endpoint.consumed(id, consumed);
                return;
            }
        }
    }
}
