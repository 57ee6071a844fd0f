//! The receiving machines: window, reassembly, ACK policy.

pub mod ack;
pub mod reassembly;
pub mod tune;
pub mod urgent;
pub mod window;
