//! What the queues between cores are made of, in one place: the model checker puts its own here (`tests/loom.rs`).

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
