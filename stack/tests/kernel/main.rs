//! TCP against the kernel's TCP, packet by packet. Needs root; `--features veth` turns it on.
//!
//! Each test has a world of its own: our stack in one network namespace, the kernel's sockets in another, and between
//! them a wire that records every frame and holds, drops or repeats those that the test names. So a test asserts what
//! both applications saw and what was on the wire, and makes two segments cross without any luck.

mod ours;
mod segment;
mod wire;
mod world;

mod attacks;
mod bulk;
mod closing;
mod ecn;
mod fast_open;
mod flood;
mod giving_up;
mod loss;
mod opening;
mod resets;
mod silence;
mod time_wait;
mod trouble;
mod urgent;
mod windows;
