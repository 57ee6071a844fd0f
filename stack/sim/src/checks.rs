//! What must hold for every connection, whatever the network does: the bytes, the events, the end.

use corelane_proto::endpoint::{CloseReason, Event};

/// A stream of bytes that its key and a position tell: both ends can make any part of it.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: u64,
}

impl Stream {
    /// The stream of `key`.
    pub const fn new(key: u64) -> Self {
        Self { key }
    }

    fn word(self, index: u64) -> [u8; 8] {
        // SplitMix64 (Steele, Lea and Flood 2014).
        let mut z = self.key.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }

    /// Writes the bytes from position `at` on.
    pub fn fill(self, at: u64, out: &mut [u8]) {
        let mut word = [0; 8];
        for (i, byte) in out.iter_mut().enumerate() {
            let position = at + i as u64;
            if i == 0 || position.is_multiple_of(8) {
                word = self.word(position / 8);
            }
            *byte = word[(position % 8) as usize];
        }
    }

    /// Compares `bytes` with what stands at position `at`.
    ///
    /// # Errors
    /// The position of the first byte that is another.
    pub fn verify(self, at: u64, bytes: &[u8]) -> Result<(), u64> {
        let mut expected = [0; 2048];
        for (i, piece) in bytes.chunks(expected.len()).enumerate() {
            let from = at + (i * expected.len()) as u64;
            let expected = &mut expected[..piece.len()];
            self.fill(from, expected);
            if let Some(wrong) = piece.iter().zip(expected.iter()).position(|(a, b)| a != b) {
                return Err(from + wrong as u64);
            }
        }
        Ok(())
    }
}

/// The order in which an application may be told of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventOrder {
    opened: bool,
    left: bool,
    peer_closed: bool,
    closed: Option<CloseReason>,
}

impl EventOrder {
    /// Takes the next event.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn on_event(&mut self, event: &Event) -> Result<(), String> {
        if let Some(reason) = self.closed {
            return Err(format!("{event:?} after the connection was closed ({})", reason.name()));
        }
        match event {
            Event::Accepted { .. } | Event::Connected(_) if self.opened => {
                return Err(format!("{event:?}, but it was open before"));
            }
            Event::Accepted { .. } | Event::Connected(_) => self.opened = true,
            Event::Closed { reason, .. } => {
                if !(self.opened || self.left) && *reason == CloseReason::Finished {
                    return Err("it finished without having been open".to_owned());
                }
                self.closed = Some(*reason);
            }
            // Even a SYN may have to go again.
            Event::Trouble { .. } => {}
            _ if !self.opened => return Err(format!("{event:?} before it was open")),
            Event::Readable(_) if self.peer_closed => return Err("readable after the peer had closed".to_owned()),
            Event::PeerClosed(_) if self.peer_closed => return Err("the peer closed twice".to_owned()),
            Event::PeerClosed(_) => self.peer_closed = true,
            Event::Readable(_) | Event::Writable(_) | Event::Urgent(_) => {}
        }
        Ok(())
    }

    /// The application has closed: it need not be told that the connection opened.
    pub const fn leave(&mut self) {
        self.left = true;
    }

    /// Whether the application has been told that the connection is open.
    pub const fn is_open(&self) -> bool {
        self.opened
    }

    /// How the connection ended, once it has.
    pub const fn closed(&self) -> Option<CloseReason> {
        self.closed
    }
}

/// Where a host's frames are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Census {
    /// In the pool.
    pub free: usize,
    /// With the endpoint.
    pub endpoint: usize,
    /// With the device alone.
    pub device: usize,
    /// With the application.
    pub application: usize,
    /// All there are.
    pub total: usize,
}

impl Census {
    /// # Errors
    /// When the sum is not the whole.
    pub fn check(&self) -> Result<(), String> {
        let sum = self.free + self.endpoint + self.device + self.application;
        if sum == self.total { Ok(()) } else { Err(format!("{sum} of {} frames are anywhere: {self:?}", self.total)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_in_whatever_pieces() {
        let stream = Stream::new(7);
        let mut whole = vec![0; 5000];
        stream.fill(3, &mut whole);
        let mut pieces = vec![0; 5000];
        for (i, piece) in pieces.chunks_mut(77).enumerate() {
            stream.fill(3 + 77 * i as u64, piece);
        }
        assert_eq!(whole, pieces);
        assert_eq!(stream.verify(3, &whole), Ok(()));
        whole[4321] ^= 1;
        assert_eq!(stream.verify(3, &whole), Err(4324));
        assert!(stream.verify(4, &pieces).is_err(), "a byte too many or too few is seen");
        assert!(Stream::new(8).verify(3, &pieces).is_err());
    }

    #[test]
    fn the_sum_of_frames_has_to_be_right() {
        let census = Census { free: 3, endpoint: 2, device: 1, application: 4, total: 10 };
        assert!(census.check().is_ok());
        assert!(Census { free: 2, ..census }.check().is_err());
        assert!(Census { device: 2, ..census }.check().is_err());
    }
}
