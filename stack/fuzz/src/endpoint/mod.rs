//! One endpoint under anything that peers, routers and its own application may do to it.
//!
//! Peers know what the endpoint has said, so that most of what they send comes close: sequence numbers near the edges,
//! ACKs near what was sent. After each step the frames are counted, the tables and the answers are bounded, every
//! connection is consistent, every emitted frame passes the oracle, and the bytes that the application reads are the
//! peer's stream. In the end everything comes to rest.

mod bench;
mod calls;
mod peer;
mod segments;

use crate::Input;
use bench::Bench;

/// Most steps of a run.
const STEPS: u32 = 600;

/// One run.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut bench = Bench::new(&mut input);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        bench.step(&mut input);
    }
    bench.finish();
}
