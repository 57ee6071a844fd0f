//! One connection from the outside, event by event: the test is the peer, or there are two endpoints and a wire that
//! does what the test says.

mod attacks;
mod bench;
mod blind;
mod closing;
mod ecn;
mod recovery;
mod retransmission;
mod scaling;
mod selective;
mod timers;
mod timestamps;
mod urgent;
mod windows;
