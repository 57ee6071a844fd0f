//! The sending machines: window, queue, and how much may go.

pub mod decide;
pub mod persist;
pub mod progress;
pub mod queue;
pub mod urgent;
pub mod window;
