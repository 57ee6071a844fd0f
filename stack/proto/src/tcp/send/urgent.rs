//! The urgent mark of what is sent (RFC 9293 3.8.5, RFC 6093). The bytes themselves are in the stream.

use crate::tcp::seq::Seq;

/// SND.UP: the number after the last urgent byte, until that is acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Urgent {
    up: Option<Seq>,
}

impl Urgent {
    /// Everything before `end` is urgent. The mark only moves on.
    pub fn mark(&mut self, end: Seq) {
        self.up = Some(self.up.map_or(end, |up| up.max(end)));
    }

    /// Whether something urgent is not acknowledged.
    pub fn is_pending(&self) -> bool {
        self.up.is_some()
    }

    /// The urgent pointer of a segment that begins at `seq`, if it has one. A mark farther away than the field can say
    /// is told as far as it goes: the pointer moves on with the segments that follow.
    pub fn pointer(&self, seq: Seq) -> Option<u16> {
        //= spec/rfc9293.txt#section-3.8.5
        //# The urgent pointer MUST point to
        //# the sequence number of the octet following the urgent data (MUST-62).
        let up = self.up.filter(|up| up.after(seq))?;
        //= spec/rfc9293.txt#section-3.8.5
        //# A TCP implementation MUST support a sequence of urgent data of any
        //# length (MUST-31) [19].
        Some(u16::try_from(up.since(seq)).unwrap_or(u16::MAX))
    }

    /// Everything before `una` has been acknowledged.
    pub fn on_ack(&mut self, una: Seq) {
        self.up = self.up.filter(|up| up.after(una));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= spec/rfc9293.txt#section-3.8.5
    //= type=test
    //# The urgent pointer MUST point to
    //# the sequence number of the octet following the urgent data (MUST-62).
    #[test]
    fn the_pointer_is_behind_the_urgent_bytes_until_they_are_acknowledged() {
        let mut urgent = Urgent::default();
        assert_eq!(urgent.pointer(Seq(0)), None);
        urgent.mark(Seq(u32::MAX) + 11);
        assert_eq!(urgent.pointer(Seq(u32::MAX)), Some(11));
        assert_eq!(urgent.pointer(Seq(9)), Some(1));
        assert_eq!(urgent.pointer(Seq(10)), None, "what comes behind is not urgent");
        urgent.mark(Seq(5));
        assert_eq!(urgent.pointer(Seq(9)), Some(1), "the mark does not go back");
        urgent.on_ack(Seq(9));
        assert!(urgent.is_pending());
        urgent.on_ack(Seq(10));
        assert!(!urgent.is_pending());
    }

    //= spec/rfc9293.txt#section-3.8.5
    //= type=test
    //# A TCP implementation MUST support a sequence of urgent data of any
    //# length (MUST-31) [19].
    #[test]
    fn a_mark_beyond_the_field_is_told_piece_by_piece() {
        let mut urgent = Urgent::default();
        urgent.mark(Seq(200_000));
        assert_eq!(urgent.pointer(Seq(0)), Some(u16::MAX));
        assert_eq!(urgent.pointer(Seq(134_464)), Some(u16::MAX));
        assert_eq!(urgent.pointer(Seq(134_466)), Some(65_534));
    }
}
