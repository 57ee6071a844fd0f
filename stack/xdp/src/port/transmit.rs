//! Into the TX rings and out of the completion rings, one's own or those of other cores.

use std::collections::VecDeque;

use super::*;
use crate::mail::{Name, Notice, Packet};

impl<R: Rings> Port<R> {
    /// Puts frames from the front of `frames` into the TX ring of the queue whose UMEM they lie in, as many as fit; says
    /// how many went in. Where this core has no socket on that queue, the queue's owner does it in its own turn.
    ///
    /// Frames that can never be sent (without a byte, or longer than the interface sends) are counted as refused and come
    /// back with the next [`Port::reclaim`]; one from another pool returns there at once. The kernel may need a
    /// [`Port::kick`] to send them. What other cores want sent goes first, but leaves half of the ring's room.
    pub fn tx_burst(&mut self, frames: &mut VecDeque<Frame>) -> usize {
        if !self.inboxes.is_empty() {
            self.send_for_others(frames.is_empty());
        }
        let mut sent = 0;
        let mut counted = (self.counters.tx_frames, self.counters.tx_bytes);
        while let Some(front) = frames.front() {
            let shared = self.pool.shared();
            let lane = if front.is_of(shared) { front.name().lane } else { shared.transmit_lane() };
            let went = match self.routes[usize::from(lane)] {
                Route::Socket(at) => self.post(at, frames),
                Route::Through(owner) => self.send_through(owner, lane, frames),
                Route::Left => None,
            };
            // The frames keep their order, so one whose ring is full holds up the others.
            let Some(went) = went else { break };
            sent += went;
            counted = self.count_on(lane, counted);
        }
        self.pool.shared().debug_check();
        sent
    }

    /// Counts for the interface of `lane` what was sent since `before` was counted, frames and bytes.
    fn count_on(&mut self, lane: u16, before: (u64, u64)) -> (u64, u64) {
        let now = (self.counters.tx_frames, self.counters.tx_bytes);
        let interface = self.pool.shared().lane(lane).interface();
        if let Some(traffic) = self.traffic.get_mut(usize::from(interface)) {
            traffic.tx_frames += now.0 - before.0;
            traffic.tx_bytes += now.1 - before.1;
        }
        now
    }

    /// Puts the frames of one lane, from the front, into the TX ring; none without room.
    fn post(&mut self, at: usize, frames: &mut VecDeque<Frame>) -> Option<usize> {
        let room = self.sockets[at].rings.transmit_room(frames.len().min(BATCH)).min(BATCH);
        if room == 0 {
            return None;
        }
        let Socket { lane, is_owner, .. } = self.sockets[at];
        let first = self.pool.shared().lane(lane).first();
        self.tx_scratch.clear();
        while self.tx_scratch.len() < room
            && let Some(frame) = self.next_of(lane, frames)
        {
            if let Some((name, len)) = self.hand_over(frame) {
                self.tx_scratch.push(TxDescriptor { index: name.index - first, len: len.into() });
                if !is_owner {
                    self.tell_owner(Notice::Posted(name));
                }
            }
        }
        if !is_owner && let Some(outbox) = self.pool.shared().outbox(self.pool.shared().owner(lane)) {
            // Before the kernel can complete one: the owner looks here when it gets a completion that is not its own.
            outbox.publish_notices();
        }
        let socket = &mut self.sockets[at];
        socket.rings.transmit(&self.tx_scratch);
        socket.is_pending = true;
        Some(self.tx_scratch.len())
    }

    /// Asks `owner` to send the frames of one lane, from the front; none when it has as many to send as it may have.
    fn send_through(&mut self, owner: u16, lane: u16, frames: &mut VecDeque<Frame>) -> Option<usize> {
        let room = self.pool.shared().outbox(owner)?.send_room();
        if room == 0 {
            return None;
        }
        let mut sent = 0;
        while sent < room
            && let Some(frame) = self.next_of(lane, frames)
        {
            if let Some((name, len)) = self.hand_over(frame)
                && let Some(outbox) = self.pool.shared().outbox(owner)
            {
                outbox.send(Packet { name, len });
                self.counters.tx_through_owner += 1;
                sent += 1;
            }
        }
        Some(sent)
    }

    /// The front frame if it goes the way of `lane`. One of another pool may go any way: it is refused.
    #[inline]
    fn next_of(&self, lane: u16, frames: &mut VecDeque<Frame>) -> Option<Frame> {
        let front = frames.front()?;
        if front.name().lane == lane || !front.is_of(self.pool.shared()) { frames.pop_front() } else { None }
    }

    /// Moves one frame to the kernel's side. It is no more on this one, unless it is refused.
    #[inline]
    fn hand_over(&mut self, frame: Frame) -> Option<(Name, u16)> {
        let shared = self.pool.shared();
        let is_ours = frame.is_of(shared);
        let fits = is_ours && (1..=shared.lane(frame.name().lane).max_len()).contains(&frame.len());
        if !fits || !shared.shift(frame.index(), State::Held, State::Tx) {
            self.refuse(frame, is_ours);
            return None;
        }
        let (name, len) = (frame.name(), frame.wire_len());
        frame.leave();
        self.counters.tx_frames += 1;
        self.counters.tx_bytes += u64::from(len);
        Some((name, len))
    }

    #[cold]
    fn refuse(&mut self, frame: Frame, is_ours: bool) {
        self.counters.tx_refused += 1;
        if is_ours {
            self.back.push(frame);
        }
    }

    /// Tells the owner of a frame's queue about it.
    fn tell_owner(&self, notice: Notice) {
        let (Notice::Return(name) | Notice::Completed(name) | Notice::Posted(name)) = notice;
        let shared = self.pool.shared();
        if let Some(outbox) = shared.outbox(shared.owner(name.lane)) {
            outbox.notify(notice);
        }
    }

    /// Puts what other cores asked to have sent into this core's TX rings, in their order; with half of the room unless
    /// this core is `idle` itself.
    fn send_for_others(&mut self, idle: bool) {
        for at in 0..self.inboxes.len() {
            while let Some(first) = self.inboxes[at].send_front() {
                let Some(Route::Socket(socket)) = self.routes.get(usize::from(first.name.lane)).copied() else {
                    debug_assert!(false, "{first:?} is for a queue without a socket here");
                    self.counters.mail_foreign += 1;
                    self.inboxes[at].send_pop();
                    continue;
                };
                let room = self.sockets[socket].rings.transmit_room(BATCH).min(BATCH);
                let room = if idle { room } else { room.div_ceil(2) };
                if room == 0 {
                    break;
                }
                self.send_batch_for(at, socket, first.name.lane, room);
                if !idle {
                    break;
                }
            }
            self.inboxes[at].release();
        }
    }

    /// Sends up to `room` packets that inbox `at` asks for, as long as they are of `lane`.
    fn send_batch_for(&mut self, at: usize, socket: usize, lane: u16, room: usize) {
        let first = self.pool.shared().lane(lane).first();
        let inbox = &mut self.inboxes[at];
        self.tx_scratch.clear();
        while self.tx_scratch.len() < room
            && let Some(packet) = inbox.send_front().filter(|packet| packet.name.lane == lane)
        {
            inbox.send_pop();
            let index = packet.name.index - first;
            self.tx_scratch.push(TxDescriptor { index, len: packet.len.into() });
            self.lent.posted(packet.name, inbox.from);
        }
        let socket = &mut self.sockets[socket];
        socket.rings.transmit(&self.tx_scratch);
        socket.is_pending = true;
        self.counters.tx_for_others += self.tx_scratch.len() as u64;
    }

    /// Has the kernel send what is in the TX rings, if it needs to be told. In copy mode one call sends no more than a
    /// kernel's batch and answers EAGAIN when more is left, so it is called again for as long as that gets anywhere.
    /// EAGAIN, EBUSY, ENOBUFS and ENETDOWN are counted, not reported: the frames stay in the ring for the next kick.
    /// What this core has for others becomes visible to them, and they are woken for it.
    ///
    /// # Errors
    ///
    /// Anything else that `sendto(2)` answers, such as ENXIO after the interface went away.
    pub fn kick(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for socket in self.sockets.iter_mut().filter(|socket| socket.is_pending) {
            result = result.and(kick(socket, &mut self.counters));
        }
        self.flush();
        result
    }

    /// Appends the frames that the kernel has sent to `out`, with the bytes that were in them and length 0, after those
    /// that were refused; says how many. Each frame that [`Port::tx_burst`] took comes back once.
    pub fn reclaim(&mut self, out: &mut Vec<Frame>) -> usize {
        self.take_notices();
        let mut reclaimed = self.back.len();
        out.append(&mut self.back);
        for at in 0..self.sockets.len() {
            while self.sockets[at].is_owner {
                let got = self.sockets[at].rings.completed(&mut self.address_scratch);
                let lane = self.sockets[at].lane;
                for i in 0..got {
                    let shared = self.pool.shared();
                    let located = shared.lane(lane).locate(self.address_scratch[i]);
                    match located.map(|(index, _)| Name { lane, index }) {
                        Some(name) if shared.shift(name.index, State::Tx, State::Held) => {
                            out.push(Frame::held(Rc::clone(shared), name, 0));
                            self.counters.completions += 1;
                            reclaimed += 1;
                        }
                        Some(name) => self.pass_on_completion(name),
                        None => self.counters.completion_foreign += 1,
                    }
                }
                if got < BATCH {
                    break;
                }
            }
        }
        self.pool.shared().debug_check();
        reclaimed
    }

    /// A frame completed that this core did not post: tells the core that did.
    #[inline(never)]
    fn pass_on_completion(&mut self, name: Name) {
        let mut poster = self.lent.completed(name);
        if poster.is_none() && !self.inboxes.is_empty() {
            // It said so before it posted it; that may have come after our last look.
            self.take_notices();
            poster = self.lent.completed(name);
        }
        match poster.and_then(|core| self.pool.shared().outbox(core)) {
            Some(outbox) => {
                outbox.notify(Notice::Completed(name));
                self.counters.completions_for_others += 1;
            }
            None => self.counters.completion_foreign += 1,
        }
    }
}

/// Has the kernel send what is in one TX ring.
fn kick<R: Rings>(socket: &mut Socket<R>, counters: &mut Counters) -> io::Result<()> {
    let mut pending = socket.rings.transmit_pending();
    while pending > 0 && socket.rings.transmit_needs_wakeup() {
        counters.tx_kicks += 1;
        let Err(error) = socket.rings.wake_transmit() else { break };
        if !counters.note(&error) {
            return Err(error);
        }
        let left = socket.rings.transmit_pending();
        if error.raw_os_error() != Some(libc::EAGAIN) || left >= pending {
            break;
        }
        pending = left;
    }
    // One look more next time is cheaper than another one now.
    socket.is_pending = pending > 0;
    Ok(())
}

impl Lent {
    pub(super) fn posted(&mut self, name: Name, core: u16) {
        if let Some(poster) = self.posters.get_mut(name.index as usize) {
            debug_assert_eq!(*poster, NOBODY, "{name:?} is posted twice");
            *poster = core;
            self.outstanding += 1;
        }
    }

    fn completed(&mut self, name: Name) -> Option<u16> {
        let poster = self.posters.get_mut(name.index as usize).filter(|poster| **poster != NOBODY)?;
        self.outstanding -= 1;
        Some(std::mem::replace(poster, NOBODY))
    }
}
