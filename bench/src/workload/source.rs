//! Source: sends the stream of [`SERVED_SEED`] for as long as the peer takes it.

use super::pattern::SERVED_SEED;
use super::{Output, echo};

/// The server's side: how far into the stream it is.
#[derive(Clone, Debug, Default)]
pub struct Server {
    position: u64,
}

impl Server {
    /// Ignores what the peer says.
    pub fn on_bytes(&mut self, input: &[u8], out: &mut dyn Output) -> usize {
        self.on_writable(out);
        input.len()
    }

    /// Fills the room there is.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        self.position += echo::pattern_to(SERVED_SEED, self.position..u64::MAX, out);
    }
}
