//! Whether a connection may go to another core.

use super::Tcb;
use super::state::State;

/// Frames with unread bytes that a connection at rest has at most. Their bytes are copied when it moves.
const UNREAD: usize = 8;

impl Tcb {
    /// Whether the connection is open and its frames hold nothing but a few bytes in order that the application has not
    /// been given: nothing is to be sent or acknowledged, nothing waits for a gap, and the application has no bytes out.
    /// What is left are values, which mean the same on any core that has the same clock.
    pub fn is_at_rest(&self) -> bool {
        let (ready, held) = self.unread_frames();
        self.state == State::Established
            && self.ended.is_none()
            && self.fin_at.is_none()
            && !self.snd.is_finished()
            && self.snd.frames() == 0
            && self.snd.outstanding() == 0
            && ready == held
            && ready <= UNREAD
            && self.reassembly.ready_bytes() == self.rcv.held()
            && !self.blocked
            && !self.wants_room
            && !self.deaf
    }
}
