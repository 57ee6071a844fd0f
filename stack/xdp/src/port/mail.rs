//! Between cores.

use super::*;
use crate::mail::{Notice, Packet};

impl<R: Rings> Port<R> {
    /// Gives a frame to core `to`, which gets it from its own [`Port::rx_burst`] with the same bytes and length. When it
    /// is dropped there it goes home to the owner of its fill ring. It leaves this core with the next [`Port::kick`] or
    /// [`Port::refill`].
    ///
    /// # Errors
    ///
    /// The frame comes back, and is counted, when the other core has not taken 1024 earlier ones yet; when there is no
    /// such core, or it is this one; and when the frame is not one to receive into (one that [`Pool::alloc`] gave to a
    /// core that has not the fill ring of its queue) or is of another pool.
    pub fn hand_off(&mut self, to: usize, frame: Frame) -> Result<(), Frame> {
        let shared = self.pool.shared();
        let name = frame.name();
        let outbox = u16::try_from(to).ok().and_then(|core| shared.outbox(core));
        let taken = outbox.is_some_and(|outbox| {
            frame.is_of(shared)
                && shared.is_for_receiving(name)
                && outbox.hand_off(Packet { name, len: frame.wire_len() })
        });
        if !taken {
            self.counters.hand_off_refused += 1;
            return Err(frame);
        }
        // The other core sees it when this one flushes, and not before.
        let moved = shared.shift(name.index, State::Held, State::Away);
        debug_assert!(moved, "{frame:?} was handed off and not held");
        frame.leave();
        self.counters.handed_off += 1;
        Ok(())
    }

    /// Appends up to `max` frames that other cores handed to this one.
    pub(super) fn take_hand_offs(&mut self, out: &mut Vec<Frame>, max: usize) -> usize {
        let shared = self.pool.shared();
        let mut taken = 0;
        for inbox in &mut self.inboxes {
            while taken < max
                && let Some(packet) = inbox.handed_off()
            {
                if usize::from(packet.len) > shared.frame_len() || !shared.arrive(packet.name) {
                    debug_assert!(false, "{packet:?} was handed here and cannot be");
                    self.counters.mail_foreign += 1;
                    continue;
                }
                out.push(Frame::held(Rc::clone(shared), packet.name, packet.len));
                taken += 1;
            }
            inbox.release();
        }
        self.counters.handed_in += taken as u64;
        taken
    }

    /// Learns what other cores say about frames.
    #[inline]
    pub(super) fn take_notices(&mut self) {
        if !self.inboxes.is_empty() {
            self.take_all_notices();
        }
    }

    #[inline(never)]
    fn take_all_notices(&mut self) {
        let shared = self.pool.shared();
        for inbox in &mut self.inboxes {
            while let Some(notice) = inbox.notice() {
                let makes_sense = match notice {
                    Notice::Return(name) => {
                        self.counters.returns += 1;
                        shared.come_home(name)
                    }
                    Notice::Completed(name) => {
                        let ours = shared.shift(name.index, State::Tx, State::Held);
                        if ours {
                            self.counters.completions += 1;
                            self.back.push(Frame::held(Rc::clone(shared), name, 0));
                        }
                        ours
                    }
                    Notice::Posted(name) => {
                        self.lent.posted(name, inbox.from);
                        true
                    }
                };
                debug_assert!(makes_sense, "{notice:?} from core {}", inbox.from);
                self.counters.mail_foreign += u64::from(!makes_sense);
            }
            inbox.release();
        }
    }

    /// Lets other cores see what this one has for them.
    #[inline]
    pub(super) fn flush(&mut self) {
        if !self.inboxes.is_empty() {
            self.flush_all();
        }
    }

    #[inline(never)]
    fn flush_all(&mut self) {
        self.counters.wakes += self.pool.shared().flush();
    }
}
