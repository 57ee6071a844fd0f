//! A host's frames: each is free, with somebody, or with the device, and nothing is forgiven.

use corelane_proto::{Buf, Memory, Token};

/// Bytes of a frame, as a 2048-byte chunk leaves them.
const FRAME_LEN: usize = 1792;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// Nobody.
    Free,
    /// The endpoint, or the application.
    Held,
    /// The device alone: it is free when it has been sent.
    Device,
}

struct Slot {
    owner: Owner,
    /// The device still has to send it.
    posted: bool,
}

/// The frames of one host.
pub struct Frames {
    slots: Vec<Slot>,
    bytes: Vec<u8>,
    free: Vec<u32>,
    /// Frames that only the device may take, as those of a fill ring.
    reserve: usize,
    with_device: usize,
    /// What was done that must not be.
    pub misuse: Option<String>,
    /// Forget the next frame that is freed: to see whether somebody notices.
    pub leak_one: bool,
}

impl Frames {
    /// `count` free frames, of which only the device may take the last `reserve`.
    pub fn new(count: u32, reserve: usize) -> Self {
        Self {
            slots: (0..count).map(|_| Slot { owner: Owner::Free, posted: false }).collect(),
            bytes: vec![0; count as usize * FRAME_LEN],
            free: (0..count).rev().collect(),
            reserve,
            with_device: 0,
            misuse: None,
            leak_one: false,
        }
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.slots.len()
    }

    /// How many are free.
    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Frames that belong to the device alone.
    pub fn with_device(&self) -> usize {
        self.with_device
    }

    /// What the device receives goes into a frame of its reserve.
    pub fn receive(&mut self, bytes: &[u8]) -> Option<Buf> {
        let token = self.take()?;
        let len = bytes.len().min(FRAME_LEN);
        self.at_mut(token.index())[..len].copy_from_slice(&bytes[..len]);
        Some(Buf::new(token, 0, len as u16))
    }

    /// The device gets frame `index` to send: with the endpoint keeping it, or alone.
    pub fn post(&mut self, index: u32, keep: bool, len: u16) -> Vec<u8> {
        let slot = &mut self.slots[index as usize];
        if slot.posted {
            self.misuse.get_or_insert_with(|| format!("frame {index} is sent while the device still has it"));
        }
        if slot.owner != Owner::Held {
            self.misuse.get_or_insert_with(|| format!("frame {index} is sent by somebody who does not hold it"));
        }
        slot.posted = true;
        if !keep {
            slot.owner = Owner::Device;
            self.with_device += 1;
        }
        self.at(index)[..usize::from(len)].to_vec()
    }

    /// The device has sent frame `index`.
    pub fn completed(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.posted = false;
        if slot.owner == Owner::Device {
            slot.owner = Owner::Free;
            self.with_device -= 1;
            self.free.push(index);
        }
    }

    fn take(&mut self) -> Option<Token> {
        let index = self.free.pop()?;
        self.slots[index as usize].owner = Owner::Held;
        Some(Token::new(index))
    }

    fn at(&self, index: u32) -> &[u8] {
        &self.bytes[index as usize * FRAME_LEN..][..FRAME_LEN]
    }

    fn at_mut(&mut self, index: u32) -> &mut [u8] {
        &mut self.bytes[index as usize * FRAME_LEN..][..FRAME_LEN]
    }
}

impl Memory for Frames {
    fn alloc(&mut self) -> Option<Token> {
        if self.free.len() <= self.reserve {
            return None;
        }
        self.take()
    }

    fn free(&mut self, token: Token) {
        if std::mem::take(&mut self.leak_one) {
            return;
        }
        let index = token.index();
        let slot = &mut self.slots[index as usize];
        if slot.owner != Owner::Held {
            self.misuse.get_or_insert_with(|| format!("frame {index} is freed by somebody who does not hold it"));
            return;
        }
        if slot.posted {
            slot.owner = Owner::Device;
            self.with_device += 1;
        } else {
            slot.owner = Owner::Free;
            self.free.push(index);
        }
    }

    fn bytes(&self, token: &Token) -> &[u8] {
        self.at(token.index())
    }

    fn bytes_mut(&mut self, token: &Token) -> &mut [u8] {
        let index = token.index();
        let slot = &self.slots[index as usize];
        if slot.posted || slot.owner != Owner::Held {
            self.misuse.get_or_insert_with(|| format!("frame {index} is written to while the device may read it"));
        }
        self.at_mut(index)
    }

    fn is_posted(&self, token: &Token) -> bool {
        self.slots[token.index() as usize].posted
    }

    fn available(&self) -> usize {
        self.free.len().saturating_sub(self.reserve)
    }

    fn frame_len(&self) -> usize {
        FRAME_LEN
    }
}
