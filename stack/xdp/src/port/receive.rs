//! From the RX rings, and from other cores.

use super::*;

impl<R: Rings> Port<R> {
    /// Appends up to `max` received frames to `out`; says how many. Those that other cores handed to this one are among
    /// them, half of `max` at most while there are sockets to be read. The frames of one socket are in the order of
    /// their arrival, and so are those from one other core.
    pub fn rx_burst(&mut self, out: &mut Vec<Frame>, max: usize) -> usize {
        let sockets = self.sockets.len();
        let share = if sockets == 0 { max } else { max.div_ceil(2) };
        let mut taken = if self.inboxes.is_empty() { 0 } else { self.take_hand_offs(out, share) };
        for turn in 0..sockets {
            let at = self.first + turn;
            taken += self.receive(if at < sockets { at } else { at - sockets }, out, max - taken);
        }
        // Each socket comes first in its turn, so that a flood on one does not silence the others.
        self.first = if self.first + 1 < sockets { self.first + 1 } else { 0 };
        self.pool.shared().debug_check();
        taken
    }

    /// Takes up to `max` frames from one socket.
    fn receive(&mut self, at: usize, out: &mut Vec<Frame>, max: usize) -> usize {
        let mut taken = 0;
        while taken < max {
            let want = (max - taken).min(BATCH);
            let got = self.sockets[at].rings.receive(&mut self.rx_scratch[..want]);
            let Socket { lane, is_owner, .. } = self.sockets[at];
            // What another core filled was never here.
            let from = if is_owner { State::Fill } else { State::Away };
            for i in 0..got {
                taken += usize::from(self.accept(lane, from, self.rx_scratch[i], out));
            }
            if got < want {
                break;
            }
        }
        if taken == 0 && matches!(self.sockets[at].busy_poll, BusyPollInForce::On(_)) {
            // Nobody else polls the driver then. What this brings is received in the next turn.
            if let Err(error) = self.sockets[at].rings.wake_fill() {
                self.counters.note(&error);
            }
        }
        taken
    }

    /// Turns one descriptor into a frame. What the ring says is not trusted: a frame is made only from an index that
    /// can have been in the fill ring, and only of bytes inside of it.
    fn accept(&mut self, lane: u16, from: State, descriptor: RxDescriptor, out: &mut Vec<Frame>) -> bool {
        let shared = self.pool.shared();
        let Some((name, start)) = shared.locate(lane, descriptor.addr) else {
            self.counters.rx_foreign += 1;
            return false;
        };
        if !shared.shift(name.index, from, State::Held) {
            self.counters.rx_foreign += 1;
            return false;
        }
        // Packets begin at byte 0 of a frame: our XDP program never moves their start.
        let fits = start == 0 && descriptor.len as usize <= shared.frame_len() && !descriptor.continues;
        let len = u16::try_from(descriptor.len).ok().filter(|_| fits);
        let Some(len) = len else {
            self.counters.rx_malformed += 1;
            shared.drop_frame(name);
            return false;
        };
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += u64::from(len);
        out.push(Frame::held(Rc::clone(shared), name, len));
        true
    }
}
