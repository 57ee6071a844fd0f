//! Arithmetic modulo 2^32, beside the same in 64 bits.

use corelane_proto::Instant;
use corelane_proto::tcp::acceptable::{is_acceptable, is_ack_plausible};
use corelane_proto::tcp::options::TimestampClock;
use corelane_proto::tcp::recv::urgent::Urgent;
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use proptest::prelude::*;
use std::time::Duration;

/// Half of half of the space: what is compared lies closer together than half of it.
const NEAR: i64 = 1 << 30;

fn seq(at: i64) -> Seq {
    Seq(at as u32)
}

/// A place in the stream and how far another one is from it, both also close to the edges.
fn near() -> impl Strategy<Value = i64> {
    prop_oneof![-3_i64..=3, -70_000_i64..=70_000, -NEAR..=NEAR]
}

fn flags() -> impl Strategy<Value = Flags> {
    prop_oneof![Just(Flags::ACK), Just(Flags::ACK | Flags::FIN), Just(Flags::SYN), Just(Flags::SYN | Flags::FIN)]
}

proptest! {
    #[test]
    fn sequence_numbers_compare_as_numbers_do(a: u32, d in near(), len in 0_u32..1 << 30) {
        let (a, b) = (i64::from(a), i64::from(a) + d);
        prop_assert_eq!(seq(a).before(seq(b)), a < b);
        prop_assert_eq!(seq(a).after(seq(b)), a > b);
        prop_assert_eq!(seq(a).at_or_before(seq(b)), a <= b);
        prop_assert_eq!(seq(a).at_or_after(seq(b)), a >= b);
        prop_assert_eq!(seq(a).max(seq(b)), seq(a.max(b)));
        prop_assert_eq!(seq(a).min(seq(b)), seq(a.min(b)));
        prop_assert_eq!(seq(b).in_window(seq(a), len), (a..a + i64::from(len)).contains(&b));
        prop_assert_eq!(seq(a.max(b)).since(seq(a.min(b))), d.unsigned_abs() as u32);
    }

    /// The table of RFC 9293 3.10.7.4. Where it takes nothing, with text and a window of zero, ours lets the segment at
    /// RCV.NXT through, so that its ACK, URG and RST count.
    #[test]
    fn a_segment_is_acceptable_as_the_table_has_it(
        next: u32, d in near(), len in prop_oneof![Just(0_u16), 1_u16..20, 1_u16..], window in prop_oneof![Just(0_u32), 0_u32..30, 0_u32..1 << 30],
        flags in flags(),
    ) {
        let (next, at) = (i64::from(next), i64::from(next) + d);
        let segment = Segment { seq: seq(at), len, flags, ..Segment::default() };
        let len = i64::from(segment.seq_len());
        let in_window = |at: i64| (next..next + i64::from(window)).contains(&at);
        let expected = match (len, window) {
            (_, 0) => at == next,
            (0, _) => in_window(at),
            _ => in_window(at) || in_window(at + len - 1),
        };
        prop_assert_eq!(is_acceptable(&segment, seq(next), window), expected);
    }

    #[test]
    fn an_ack_is_plausible_within_the_range_of_rfc_5961(
        una: u32, sent in 0_i64..NEAR, d in near(), window in 0_u32..1 << 30,
    ) {
        let una = i64::from(una);
        let expected = (una - i64::from(window)..=una + sent).contains(&(una + d));
        prop_assert_eq!(is_ack_plausible(seq(una + d), seq(una), seq(una + sent), window), expected);
    }

    /// The peer's clock goes on at one tick a millisecond at most, and wraps. What is new is never old; what is old is,
    /// until 24 days have gone by without a word.
    #[test]
    fn paws_tells_old_from_new(
        start: u32, rate in 1_u64..=1000,
        steps in prop::collection::vec((0_u64..30 * 24 * 3_600_000, 0_u64..1 << 31, any::<bool>()), 1..40),
    ) {
        let mut now = Instant::ZERO;
        let mut recent = u64::from(start) + (1 << 32);
        let mut heard = now;
        let mut clock = TimestampClock::new(0, recent as u32, now);
        let mut last_ack = Seq(1);
        for (pause_ms, behind, in_order) in steps {
            now = now + Duration::from_millis(pause_ms);
            let idle = now.saturating_since(heard);
            let trusted = idle <= Duration::from_secs(24 * 24 * 3600);
            let old = recent - behind;
            prop_assert_eq!(clock.is_old(old as u32, now), behind > 0 && trusted, "{} behind after {:?}", behind, idle);
            let value = recent + idle.as_millis() as u64 * rate / 1000;
            if trusted {
                prop_assert!(!clock.is_old(value as u32, now), "{} ahead after {:?}", value - recent, idle);
            }
            // A segment ahead of a gap does not move the clock.
            let at = if in_order { last_ack } else { last_ack + 1 };
            clock.on_segment(value as u32, at, last_ack, now);
            if in_order && (trusted || clock.recent() == value as u32) {
                prop_assert_eq!(clock.recent(), value as u32);
                (recent, heard) = (value, now);
                last_ack += 1;
            }
        }
    }

    /// The mark is the furthest of those that were announced, until it has been read.
    #[test]
    fn the_urgent_mark_is_the_furthest(
        start: u32, steps in prop::collection::vec((0_i64..3000, 0_i64..4000, any::<u16>()), 1..60),
    ) {
        let mut urgent = Urgent::default();
        let (mut read, mut received) = (i64::from(start), i64::from(start));
        let mut mark = None;
        for (more, reads, pointer) in steps {
            // The segment lies between what has been read and what may come.
            let at = (received - 1000).max(read - 500) + more;
            received = received.max(at);
            let announced = at + i64::from(pointer);
            let moved = announced > mark.unwrap_or(read).max(read);
            prop_assert_eq!(urgent.on_segment(seq(at), pointer, seq(read)), moved);
            if moved {
                mark = Some(announced);
            }
            read = (read + reads).min(received);
            urgent.on_read(seq(read));
            mark = mark.filter(|mark| *mark > read);
            prop_assert_eq!(urgent.mark(), mark.map(seq));
        }
    }
}
