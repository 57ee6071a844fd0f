//! The machines that find out what was lost, and when.

pub mod recovery;
pub mod rto;
pub mod rtt;
