//! Millions of frames that nobody should send: no panic, no frame lost, no table that grows, no storm of answers.
//!
//! A third is random bytes, a third valid frames for what is live with something changed and the checksums put right,
//! a third structured random segments close to the edges of the windows. `GARBAGE_FRAMES` says how many; without it
//! they are 10,000,000 when compiled with optimisation for release and 300,000 when not. `GARBAGE_SEED` says which.

mod frames;
mod generate;
mod target;

use generate::Generator;
use target::Target;

/// Frames when the environment does not say.
const FRAMES: u64 = if cfg!(debug_assertions) { 300_000 } else { 10_000_000 };

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")),
        Err(_) => default,
    }
}

#[test]
fn garbage_neither_breaks_nor_fills_an_endpoint() {
    let (count, seed) = (setting("GARBAGE_FRAMES", FRAMES), setting("GARBAGE_SEED", 1));
    let mut generator = Generator::new(seed);
    let mut target = Target::new(seed);
    for i in 0..count {
        if i % 256 == 0 {
            target.live_a_little(&mut generator);
        }
        let frame = generator.frame(&target);
        target.receive(&frame, &mut generator);
        if i % 64 == 0 {
            target.check();
        }
    }
    target.finish();
    let seen = target.seen();
    assert!(seen.accepted > 0 && seen.readable > 0 && seen.closed > 0, "garbage must reach TCP: {seen:?}");
    let counters = target.endpoint.counters();
    for (name, n) in counters.iter().filter(|(_, n)| *n > 0) {
        println!("{name} {n}");
    }
    // Each kind of frame has to have got where it was meant to go.
    assert!(counters.segments_in > count / 4, "{} of {count} frames reached TCP", counters.segments_in);
    assert!(counters.dropped_unacceptable > 0 && counters.dropped_bad_ack > 0 && counters.challenge_acks > 0);
    assert!(counters.dropped_no_listener > 0 && counters.arp_in > 0 && counters.echo_replies > 0);
    assert!(counters.dropped_icmp_forged > 0 && counters.replies_limited > 0 && counters.dropped_duplicate > 0);
}
