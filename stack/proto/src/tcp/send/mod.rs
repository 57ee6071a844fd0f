//! The sending half.

pub mod decide;
pub mod pacer;
pub mod persist;
pub mod progress;
pub mod queue;
pub mod rate;
pub mod urgent;
pub mod window;
