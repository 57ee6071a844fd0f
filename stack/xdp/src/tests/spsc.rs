//! The queue between two cores, on one thread; `tests/loom.rs` has the rest.

use std::mem::offset_of;

use crate::doorbell::Doorbell;
use crate::spsc::{Ring, spsc};

/// A cache line, and the one beside it that is fetched along with it.
const LINES: usize = 128;

#[test]
fn what_two_cores_write_lies_on_lines_of_its_own() {
    let (head, tail) = (offset_of!(Ring, head), offset_of!(Ring, tail));
    assert!(head.abs_diff(tail) >= LINES, "head at {head}, tail at {tail}");
    assert!(align_of::<Ring>() >= LINES && size_of::<Ring>() >= 2 * LINES + size_of::<Box<[u64]>>());
    // What lies behind one announcement in an array of bells, or beside it in its own, is not on its lines.
    assert!(align_of::<Doorbell>() >= LINES && size_of::<Doorbell>() >= LINES);
}

#[test]
fn nothing_shows_before_it_is_published() {
    let (producer, mut consumer) = spsc(4);
    assert!(!producer.publish());
    producer.push(5).unwrap();
    assert!(consumer.is_empty() && consumer.pop().is_none());
    assert!(producer.publish());
    assert_eq!((consumer.front(), consumer.pop(), consumer.pop()), (Some(5), Some(5), None));
}

#[test]
fn a_full_queue_refuses_until_room_is_released() {
    let (producer, mut consumer) = spsc(3);
    for value in 0..4 {
        producer.push(value).unwrap();
    }
    assert_eq!((producer.push(4), producer.len(), producer.room()), (Err(4), 4, 0));
    producer.publish();
    assert_eq!((consumer.pop(), consumer.pop()), (Some(0), Some(1)));
    assert_eq!(producer.push(4), Err(4));
    consumer.release();
    assert_eq!((producer.len(), producer.room()), (2, 2));
    producer.push(4).unwrap();
    producer.push(5).unwrap();
    assert_eq!(producer.push(6), Err(6));
    producer.publish();
    assert!(std::iter::from_fn(|| consumer.pop()).eq([2, 3, 4, 5]));
}

#[test]
fn one_slot_is_a_queue_too() {
    let (producer, mut consumer) = spsc(0);
    for value in 0..10 {
        producer.push(value).unwrap();
        assert_eq!(producer.push(99), Err(99));
        producer.publish();
        assert_eq!(consumer.pop(), Some(value));
        consumer.release();
    }
}
