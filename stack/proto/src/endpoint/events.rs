//! What the application is told, in the order in which it makes sense: opened, urgent, readable, writable, peer
//! closed, closed. Trouble is told whenever there is some.

use super::{Conn, ConnId, Endpoint, Event};
use crate::addr::Flow;
use crate::tcp::close::CloseReason;
use crate::tcp::state::State;

impl Endpoint {
    /// The next event. A connection's events come in this order: accepted or connected, readable and writable as it
    /// happens, peer closed when everything has been read, closed.
    pub fn poll_event(&mut self) -> Option<Event> {
        while let Some(slot) = self.news.pop() {
            let Some(id) = self.conns.by_slot(slot) else { continue };
            let Some(event) = self.next_news(id) else { continue };
            if !matches!(event, Event::Closed { .. }) {
                // There may be more to tell of this connection.
                self.news.push(slot);
            }
            return Some(event);
        }
        None
    }

    /// Whether [`poll_event`](Self::poll_event) may have something to tell.
    pub fn has_events(&self) -> bool {
        !self.news.is_empty()
    }

    fn next_news(&mut self, id: ConnId) -> Option<Event> {
        let flow = *self.conns.flow(id)?;
        let conn = self.conns.get_mut(id)?;
        if !conn.told && conn.news.opened {
            return self.tell_accepted(id, flow);
        }
        if conn.told
            && !conn.tcb.is_deaf()
            && let Some(event) = conn.next_event(id)
        {
            self.count_open(event);
            return Some(event);
        }
        let conn = self.conns.get_mut(id)?;
        let reason = conn.over()?;
        let told = conn.told;
        if conn.tcb.state() == State::TimeWait {
            // It stays until its last ACK has left, then TIME-WAIT remembers it without a slot.
            conn.retired = true;
            self.ready.push(id.slot() as u32);
        } else {
            self.bury(id);
        }
        self.count_end(reason);
        told.then_some(Event::Closed { conn: id, reason })
    }

    fn tell_accepted(&mut self, id: ConnId, flow: Flow) -> Option<Event> {
        let conn = self.conns.get_mut(id)?;
        conn.told = true;
        conn.news.opened = false;
        let listener = conn.listener?;
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.untold = listener.untold.saturating_sub(1);
        }
        self.counters.opened_passive += 1;
        Some(Event::Accepted { conn: id, listener, flow })
    }

    fn count_open(&mut self, event: Event) {
        if matches!(event, Event::Connected(_)) {
            self.counters.opened_active += 1;
        }
    }

    fn count_end(&mut self, reason: CloseReason) {
        self.counters.closed += 1;
        match reason {
            CloseReason::Reset | CloseReason::Refused => self.counters.closed_by_reset += 1,
            CloseReason::TimedOut => self.counters.closed_by_timeout += 1,
            CloseReason::AddressRemoved => self.counters.closed_by_address_removed += 1,
            _ => {}
        }
    }

    /// Takes a connection out of every table; its frames are freed with the next call that has memory.
    pub(super) fn bury(&mut self, id: ConnId) {
        let Some(mut conn) = self.conns.remove(id) else { return };
        if let (false, Some(listener)) = (conn.told, conn.listener)
            && let Some(listener) = self.listeners.get_mut(listener)
        {
            listener.untold = listener.untold.saturating_sub(1);
        }
        if conn.pending {
            self.fast_open.end();
        }
        conn.tcb.release(&mut self.fx);
        self.wheel.cancel(id.slot() as u32);
        if self.sending.is_some_and(|(slot, _)| slot == id.slot() as u32) {
            self.sending = None;
        }
    }
}

impl Conn {
    /// The next event of a connection that the application knows and has not closed.
    fn next_event(&mut self, id: ConnId) -> Option<Event> {
        let news = &mut self.news;
        if core::mem::take(&mut news.opened) {
            return Some(Event::Connected(id));
        }
        if let Some(trouble) = news.trouble.take() {
            return Some(Event::Trouble { conn: id, trouble });
        }
        if core::mem::take(&mut news.urgent) && self.tcb.urgent_mark().is_some() {
            return Some(Event::Urgent(id));
        }
        if core::mem::take(&mut news.readable) && !self.tcb.is_drained() {
            return Some(Event::Readable(id));
        }
        if core::mem::take(&mut news.writable) {
            return Some(Event::Writable(id));
        }
        // Bytes that are still unread come first; reading them brings this connection back here.
        if news.peer_closed && self.tcb.is_drained() {
            news.peer_closed = false;
            return Some(Event::PeerClosed(id));
        }
        None
    }

    /// Whether there is nothing left but to tell that it is over, and how it ended.
    fn over(&self) -> Option<CloseReason> {
        if self.retired {
            return None;
        }
        if let Some(reason) = self.tcb.ended() {
            // The peer's last bytes, and its FIN, may wait for the application longer than the peer for our ACK.
            let untold = !self.tcb.is_drained() || self.news.peer_closed;
            let waits = reason == CloseReason::Finished && untold && self.told && !self.tcb.is_deaf();
            return (!waits).then_some(reason);
        }
        let done = self.tcb.state() == State::TimeWait
            && self.tcb.is_drained()
            && (self.tcb.is_deaf() || !self.news.peer_closed);
        done.then_some(CloseReason::Finished)
    }
}
