//! The urgent mark of what is received (RFC 9293 3.8.5, RFC 6093). The bytes themselves stay in the stream.

use crate::tcp::seq::Seq;

/// RCV.UP: the number after the last urgent byte.
#[derive(Clone, Copy, Debug, Default)]
//= spec/rfc9293.txt#section-3.8.5
//# TCP implementations MUST still include support for the urgent mechanism (MUST-30).
pub struct Urgent {
    mark: Option<Seq>,
}

impl Urgent {
    /// A segment that begins at `seq` has URG with `pointer`, when everything before `read` has been read; says whether
    /// the mark has moved on. A pointer into what has been read marks nothing.
    //= spec/rfc9293.txt#section-3.10.7.4
    //# If the URG bit is set, RCV.UP <- max(RCV.UP,SEG.UP)
    //= spec/rfc6093.txt#section-4
    //# "the urgent pointer points to the sequence number of the octet following the urgent data"
    pub fn on_segment(&mut self, seq: Seq, pointer: u16, read: Seq) -> bool {
        //= spec/rfc9293.txt#section-3.8.5
        //# A TCP implementation MUST support a sequence of urgent data of any length (MUST-31)
        //= spec/rfc9293.txt#section-3.8.5
        //# The urgent pointer MUST point to the sequence number of the octet following the urgent data (MUST-62).
        let mark = seq + u32::from(pointer);
        //= spec/rfc9293.txt#section-3.8.5
        //# A TCP implementation MUST (MUST-32) inform the application layer
        //# asynchronously whenever it receives an urgent pointer and there was
        //# previously no pending urgent data, or whenever the urgent pointer
        //# advances in the data stream.
        let moved = mark.after(self.mark.map_or(read, |old| old.max(read)));
        if moved {
            self.mark = Some(mark);
        }
        moved
    }

    /// The mark, until the application has read past it.
    pub fn mark(&self) -> Option<Seq> {
        self.mark
    }

    /// Everything before `read` has been read.
    pub fn on_read(&mut self, read: Seq) {
        self.mark = self.mark.filter(|mark| mark.after(read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_moves_forward_and_ends_when_it_is_read() {
        let mut urgent = Urgent::default();
        assert!(urgent.on_segment(Seq(10), 5, Seq(10)));
        assert!(!urgent.on_segment(Seq(9), 5, Seq(10)));
        assert_eq!(urgent.mark(), Some(Seq(15)));
        urgent.on_read(Seq(14));
        assert_eq!(urgent.mark(), Some(Seq(15)));
        urgent.on_read(Seq(15));
        assert_eq!(urgent.mark(), None);
        assert!(!urgent.on_segment(Seq(10), 5, Seq(15)), "what has been read is not urgent any more");
        assert!(urgent.on_segment(Seq(10), 6, Seq(15)));
    }
}
