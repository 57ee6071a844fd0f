//! Sink: takes every byte and answers nothing.

/// The server's side. The bytes are counted by the transport.
#[derive(Clone, Debug, Default)]
pub struct Server;

impl Server {
    /// Consumes all of `input`.
    pub fn on_bytes(&mut self, input: &[u8]) -> usize {
        input.len()
    }
}
