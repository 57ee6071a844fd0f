//! From the RX rings, and from other cores.

use super::*;
use crate::mail::Name;

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
        let Self { sockets, pool, counters, traffic, rx_scratch, .. } = self;
        let bytes_before = counters.rx_bytes;
        let (socket, shared) = (&mut sockets[at], pool.shared());
        let lane = shared.lane(socket.lane);
        // What another core filled was never here.
        let from = if socket.is_owner { State::Fill } else { State::Away };
        let mut taken = 0;
        while taken < max {
            let want = (max - taken).min(BATCH);
            let got = socket.rings.receive(&mut rx_scratch[..want]);
            for descriptor in &rx_scratch[..got] {
                if let Some(frame) = accept(shared, lane, from, socket.lane, *descriptor, counters) {
                    frame.prefetch();
                    out.push(frame);
                    taken += 1;
                }
            }
            if got < want {
                break;
            }
        }
        if taken > 0
            && let Some(traffic) = traffic.get_mut(usize::from(socket.interface))
        {
            traffic.rx_frames += taken as u64;
            traffic.rx_bytes += counters.rx_bytes - bytes_before;
        }
        if taken == 0 && max > 0 && matches!(socket.busy_poll, BusyPollInForce::On(_)) {
            // Nobody else polls the driver then. What this brings is received in the next turn.
            if let Err(error) = socket.rings.wake_fill() {
                counters.note(&error);
            }
        }
        taken
    }
}

/// Turns one descriptor into a frame. What the ring says is not trusted: a frame is made only from an index that can have
/// been in the fill ring, and only of bytes inside of it.
#[inline]
fn accept(
    shared: &Rc<Shared>,
    lane: &Lane,
    from: State,
    number: u16,
    descriptor: RxDescriptor,
    counters: &mut Counters,
) -> Option<Frame> {
    let located = lane.locate(descriptor.addr).filter(|(index, _)| shared.shift(*index, from, State::Held));
    let Some((index, start)) = located else {
        counters.rx_foreign += 1;
        return None;
    };
    // Packets begin at byte 0 of a frame: our XDP program never moves their start. A frame is less than 64 KiB long.
    let (name, len) = (Name { lane: number, index }, u16::try_from(descriptor.len).unwrap_or(u16::MAX));
    if start != 0 || descriptor.len as usize > shared.frame_len() || descriptor.continues {
        counters.rx_malformed += 1;
        shared.drop_frame(name);
        return None;
    }
    counters.rx_frames += 1;
    counters.rx_bytes += u64::from(len);
    Some(Frame::held(Rc::clone(shared), name, len))
}
