//! One core's protocol state.

/// Placeholder.
#[derive(Debug)]
pub struct Endpoint;
