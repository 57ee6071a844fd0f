//! The queues between cores and the waking of a sleeping core, in every order that the memory model allows.
//!
//! The files under test are compiled here a second time, with loom's atomics in place of the standard library's.

#[path = "../src/doorbell.rs"]
mod doorbell;
#[path = "../src/spsc.rs"]
mod spsc;

/// What `src/sync.rs` is to the crate.
mod sync {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
}

use doorbell::Doorbell;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use spsc::{Consumer, spsc};
use sync::Arc;

/// Explores with at most `preemptions` forced switches, which keeps it to seconds.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Takes `n` numbers, letting the other thread run where there is none.
fn take(consumer: &mut Consumer, n: usize, batch: usize) -> Vec<u64> {
    let mut taken = Vec::new();
    while taken.len() < n {
        match consumer.pop() {
            Some(value) => taken.push(value),
            None => thread::yield_now(),
        }
        if taken.len().is_multiple_of(batch) {
            consumer.release();
        }
    }
    consumer.release();
    taken
}

#[test]
fn numbers_arrive_once_and_in_order_also_around_the_end() {
    explore(3, || {
        let (producer, mut consumer) = spsc(2);
        let pushing = thread::spawn(move || {
            for value in 1..=5 {
                while producer.push(value).is_err() {
                    thread::yield_now();
                }
                producer.publish();
            }
        });
        assert_eq!(take(&mut consumer, 5, 1), [1, 2, 3, 4, 5]);
        assert!(consumer.front().is_none());
        pushing.join().unwrap();
    });
}

#[test]
fn batches_are_seen_whole_and_room_comes_back() {
    explore(3, || {
        let (producer, mut consumer) = spsc(4);
        let pushing = thread::spawn(move || {
            for batch in 0..3 {
                for value in [2 * batch, 2 * batch + 1] {
                    while producer.push(value).is_err() {
                        thread::yield_now();
                    }
                }
                assert!(producer.publish());
                assert!(!producer.publish());
                assert!(producer.len() <= 4 && producer.room() <= 4);
            }
        });
        let mut expected = 0;
        while expected < 6 {
            if consumer.is_empty() {
                thread::yield_now();
                continue;
            }
            // An even one never shows without its odd neighbour.
            assert_eq!((consumer.pop(), consumer.pop()), (Some(expected), Some(expected + 1)));
            consumer.release();
            expected += 2;
        }
        pushing.join().unwrap();
    });
}

/// Stands for the eventfd: it stays readable until it is read.
struct Event(Mutex<bool>, Condvar);

impl Event {
    fn write(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }

    fn sleep(&self) {
        let mut readable = self.0.lock().unwrap();
        while !*readable {
            readable = self.1.wait(readable).unwrap();
        }
        *readable = false;
    }
}

fn shared() -> (Arc<Doorbell>, Arc<Event>) {
    (Arc::new(Doorbell::new()), Arc::new(Event(Mutex::new(false), Condvar::new())))
}

/// Takes one number from each consumer, sleeping where there is none, as `Port::wait` does. A lost wake-up is a deadlock,
/// which loom reports.
fn sleep_for(consumers: &mut [Consumer], doorbell: &Doorbell, event: &Event) -> u64 {
    let (mut left, mut sum) = (consumers.len(), 0);
    while left > 0 {
        for consumer in consumers.iter_mut() {
            if let Some(value) = consumer.pop() {
                sum += value;
                left -= 1;
            }
        }
        if left == 0 {
            break;
        }
        doorbell.lie_down();
        if consumers.iter_mut().all(Consumer::is_empty) {
            event.sleep();
        }
        doorbell.get_up();
    }
    sum
}

#[test]
fn a_sleeper_is_woken_by_what_was_pushed() {
    explore(4, || {
        let (producer, consumer) = spsc(2);
        let (doorbell, event) = shared();
        let (rung, written) = (Arc::clone(&doorbell), Arc::clone(&event));
        let pushing = thread::spawn(move || {
            producer.push(7).unwrap();
            producer.publish();
            if rung.must_ring() {
                written.write();
            }
        });
        assert_eq!(sleep_for(&mut [consumer], &doorbell, &event), 7);
        pushing.join().unwrap();
    });
}

#[test]
fn two_producers_wake_one_sleeper() {
    explore(2, || {
        let (doorbell, event) = shared();
        let mut consumers = Vec::new();
        let pushing: Vec<_> = [1, 2]
            .into_iter()
            .map(|value| {
                let (producer, consumer) = spsc(1);
                consumers.push(consumer);
                let (doorbell, event) = (Arc::clone(&doorbell), Arc::clone(&event));
                thread::spawn(move || {
                    producer.push(value).unwrap();
                    producer.publish();
                    if doorbell.must_ring() {
                        event.write();
                    }
                })
            })
            .collect();
        assert_eq!(sleep_for(&mut consumers, &doorbell, &event), 3);
        pushing.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
