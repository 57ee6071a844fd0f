//! Which states met which events: what a simulator or a fuzzer has reached, all endpoints of the process together. Without
//! the feature `coverage`, which is for such tools only, nothing is counted and nothing is left of it in the code.
//!
//! What header prediction takes (in-order data and its ACKs in ESTABLISHED) is not counted: that path stays as it is.

use super::segment::{Flags, Segment};
use super::state::{Event, State};
#[cfg(feature = "coverage")]
use core::sync::atomic::{AtomicU64, Ordering};

/// What a segment is, by the first of these that fits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// It has RST.
    Rst,
    /// It has SYN and ACK.
    SynAck,
    /// It has SYN.
    Syn,
    /// It has FIN.
    Fin,
    /// It has a payload.
    Data,
    /// It has ACK and nothing else.
    Ack,
    /// It has none of all that.
    Bare,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [Self::Rst, Self::SynAck, Self::Syn, Self::Fin, Self::Data, Self::Ack, Self::Bare];

    /// What `segment` is.
    pub const fn of(segment: &Segment) -> Self {
        let flags = segment.flags;
        if flags.has(Flags::RST) {
            Self::Rst
        } else if flags.has(Flags::SYN) {
            if flags.has(Flags::ACK) { Self::SynAck } else { Self::Syn }
        } else if flags.has(Flags::FIN) {
            Self::Fin
        } else if segment.len > 0 {
            Self::Data
        } else if flags.has(Flags::ACK) {
            Self::Ack
        } else {
            Self::Bare
        }
    }
}

/// How often each state met each event of the table of states, and each kind of segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coverage {
    /// By [`State::ALL`] and [`Event::ALL`].
    pub events: [[u64; Event::ALL.len()]; State::ALL.len()],
    /// By [`State::ALL`] and [`Kind::ALL`].
    pub segments: [[u64; Kind::ALL.len()]; State::ALL.len()],
}

impl Coverage {
    /// Nothing was met.
    pub const NONE: Self =
        Self { events: [[0; Event::ALL.len()]; State::ALL.len()], segments: [[0; Kind::ALL.len()]; State::ALL.len()] };
}

#[cfg(feature = "coverage")]
static EVENTS: [[AtomicU64; Event::ALL.len()]; State::ALL.len()] =
    [const { [const { AtomicU64::new(0) }; Event::ALL.len()] }; State::ALL.len()];
#[cfg(feature = "coverage")]
static SEGMENTS: [[AtomicU64; Kind::ALL.len()]; State::ALL.len()] =
    [const { [const { AtomicU64::new(0) }; Kind::ALL.len()] }; State::ALL.len()];

/// `state` meets `event`.
#[inline]
pub(crate) fn event(state: State, event: Event) {
    #[cfg(feature = "coverage")]
    EVENTS[state as usize][event as usize].fetch_add(1, Ordering::Relaxed);
    #[cfg(not(feature = "coverage"))]
    let _ = (state, event);
}

/// A segment comes in `state`.
#[inline]
pub(crate) fn segment(state: State, segment: &Segment) {
    #[cfg(feature = "coverage")]
    SEGMENTS[state as usize][Kind::of(segment) as usize].fetch_add(1, Ordering::Relaxed);
    #[cfg(not(feature = "coverage"))]
    let _ = (state, segment);
}

/// What the endpoints of this process have met since the last call.
#[cfg(feature = "coverage")]
pub fn take() -> Coverage {
    Coverage {
        events: EVENTS.each_ref().map(|row| row.each_ref().map(|count| count.swap(0, Ordering::Relaxed))),
        segments: SEGMENTS.each_ref().map(|row| row.each_ref().map(|count| count.swap(0, Ordering::Relaxed))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_by_the_strongest_flag() {
        let of = |flags, len| Kind::of(&Segment { flags, len, ..Segment::default() });
        assert_eq!(of(Flags::RST | Flags::SYN | Flags::ACK, 0), Kind::Rst);
        assert_eq!((of(Flags::SYN | Flags::ACK, 0), of(Flags::SYN, 5)), (Kind::SynAck, Kind::Syn));
        assert_eq!((of(Flags::FIN | Flags::ACK, 5), of(Flags::ACK, 5)), (Kind::Fin, Kind::Data));
        assert_eq!((of(Flags::ACK, 0), of(Flags::default(), 0)), (Kind::Ack, Kind::Bare));
    }

    #[test]
    fn the_tables_are_in_the_order_of_the_names() {
        assert!(State::ALL.iter().enumerate().all(|(at, state)| *state as usize == at));
        assert!(Event::ALL.iter().enumerate().all(|(at, event)| *event as usize == at));
        assert!(Kind::ALL.iter().enumerate().all(|(at, kind)| *kind as usize == at));
    }
}
