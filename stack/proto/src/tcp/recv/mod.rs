//! The receiving machines: window, reassembly, ACK policy.

pub mod ack;
pub mod reassembly;
pub mod urgent;
pub mod window;
