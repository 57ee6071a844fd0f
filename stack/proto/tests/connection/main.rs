//! One connection from the outside, event by event: the test is the peer, or there are two endpoints and a wire that
//! does what the test says.

mod bench;
mod closing;
mod timers;
mod urgent;
mod windows;
