//! Two endpoints and a network that does what the input says: it loses, doubles, damages, delays and reorders.
//!
//! At every moment what one application has read is a prefix of what the other has written. After the input the
//! network turns good: then everything that was written arrives, both ends are told that it is over, and nothing is
//! left, neither frames nor timers. Every frame passes the oracle, and windows and ACKs on the wire are looked at.

mod host;
mod world;

use crate::Input;
use world::World;

/// Most steps of a run with the bad network.
const STEPS: u32 = 1_000;

/// One run.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.finish();
}
