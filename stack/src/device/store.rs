//! The frames that the protocol has tokens for.

use corelane_proto::endpoint::InterfaceId;
use corelane_proto::{Memory, Token};
use corelane_xdp::{Frame, Pool};

/// What a posted or missing frame reads as, should anyone ask against the rules: zeroes, instead of a panic.
static NOTHING: [u8; 1 << 16] = [0; 1 << 16];

/// Where the frame of a token is.
enum Slot {
    /// Nobody has a token.
    Empty,
    /// Here.
    Held(Frame),
    /// With the device. When it comes back it is put here again if `keep`, and freed otherwise.
    Posted { keep: bool },
}

/// Frames that were to go by another interface than they lie at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Copies {
    /// Copied.
    pub made: u64,
    /// Lost, because there was no frame to copy into.
    pub lost: u64,
}

/// The frames of one device's pool that the protocol has, by their index: its [`Memory`].
///
/// A token exists for each slot that is not empty, save those that were posted without `keep`. Everything is constant
/// time, and nothing is allocated after [`Store::new`].
pub struct Store {
    pool: Pool,
    slots: Box<[Slot]>,
    posted: usize,
    copies: Copies,
    /// What is written to a frame that is not here goes here.
    scratch: Box<[u8]>,
}

impl Store {
    /// A store for the frames of `pool`, without any.
    pub fn new(pool: Pool) -> Self {
        let slots = (0..pool.total()).map(|_| Slot::Empty).collect();
        let scratch = vec![0; pool.frame_len()].into();
        Self { pool, slots, posted: 0, copies: Copies::default(), scratch }
    }

    /// Keeps a frame, which must be of this store's pool, and makes the token for it.
    pub fn insert(&mut self, frame: Frame) -> Token {
        debug_assert!(self.pool.owns(&frame), "{frame:?} is of another pool");
        let index = frame.index();
        let slot = &mut self.slots[index as usize];
        debug_assert!(matches!(slot, Slot::Empty), "frame {index} has a token already");
        *slot = Slot::Held(frame);
        Token::new(index)
    }

    /// Gives the frame for its token.
    ///
    /// # Errors
    ///
    /// The token, when the device has the frame.
    pub fn take(&mut self, token: Token) -> Result<Frame, Token> {
        let Some(slot) = self.slots.get_mut(token.index() as usize) else { return Err(token) };
        match std::mem::replace(slot, Slot::Empty) {
            Slot::Held(frame) => Ok(frame),
            other => {
                *slot = other;
                Err(token)
            }
        }
    }

    /// Takes frame `index` out for the device to send its first `len` bytes. With `keep` the token stays valid and the
    /// frame comes back to it; without, the frame is freed when it has been sent. None when the frame is not here, as
    /// when it is posted already: a frame is never posted twice.
    pub fn post(&mut self, index: u32, len: usize, keep: bool) -> Option<Frame> {
        let slot = self.slots.get_mut(index as usize)?;
        match std::mem::replace(slot, Slot::Posted { keep }) {
            Slot::Held(mut frame) => {
                frame.set_len(len);
                self.posted += 1;
                Some(frame)
            }
            other => {
                *slot = other;
                None
            }
        }
    }

    /// As [`Store::post`], to be sent by the interface `on`. A frame that cannot go by it, because its connection has
    /// changed its way, is copied into one that can; the copy is freed when it has been sent, and the frame is not posted.
    /// None also when there is no frame for the copy: it is lost like any packet, and counted.
    #[inline]
    pub fn post_on(&mut self, on: InterfaceId, index: u32, len: usize, keep: bool) -> Option<Frame> {
        match self.slots.get(index as usize) {
            Some(Slot::Held(frame)) if frame.interface() != on.0 => self.post_copy(on, index, len, keep),
            _ => self.post(index, len, keep),
        }
    }

    #[cold]
    fn post_copy(&mut self, on: InterfaceId, index: u32, len: usize, keep: bool) -> Option<Frame> {
        let copy = self.pool.alloc_on(on.0);
        let (slot, counted) = (self.slots.get_mut(index as usize)?, &mut self.copies);
        let Slot::Held(frame) = slot else { return None };
        let copied = copy.map(|mut copy| {
            copy.buffer_mut()[..len].copy_from_slice(&frame.buffer()[..len]);
            copy
        });
        match &copied {
            Some(_) => counted.made += 1,
            None => counted.lost += 1,
        }
        if !keep {
            *slot = Slot::Empty;
        }
        let copied = self.insert(copied?);
        self.post(copied.index(), len, false)
    }

    /// Frames that were copied, or lost, because they were to go by another interface than they lie at.
    pub fn copies(&self) -> Copies {
        self.copies
    }

    /// Takes a frame back that the device is done with. One that was not posted from here is freed.
    pub fn completed(&mut self, frame: Frame) {
        debug_assert!(self.pool.owns(&frame), "{frame:?} is of another pool");
        let Some(slot) = self.slots.get_mut(frame.index() as usize) else { return };
        if let Slot::Posted { keep } = *slot {
            self.posted -= 1;
            *slot = if keep { Slot::Held(frame) } else { Slot::Empty };
        }
    }

    /// How many frames the device has.
    pub fn posted(&self) -> usize {
        self.posted
    }

    /// How many frames are here.
    pub fn held(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Held(_))).count()
    }

    /// The pool that the frames are of.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Counts everything one by one: slow, for debug builds and tests.
    ///
    /// # Errors
    ///
    /// A sentence that says what does not add up.
    pub fn check(&self) -> Result<(), String> {
        self.pool.audit()?;
        let mut posted = 0;
        for (index, slot) in self.slots.iter().enumerate() {
            match slot {
                Slot::Empty => {}
                Slot::Held(frame) if frame.index() as usize == index => {}
                Slot::Held(frame) => return Err(format!("slot {index} has frame {}", frame.index())),
                Slot::Posted { .. } => posted += 1,
            }
        }
        if posted != self.posted {
            return Err(format!("{posted} slots are posted, {} were counted", self.posted));
        }
        let (census, held) = (self.pool.census(), self.held());
        let outside = (census.held + census.tx) as usize;
        if held > census.held as usize || held + posted > outside {
            return Err(format!("{held} frames held and {posted} posted do not fit {census:?}"));
        }
        Ok(())
    }

    fn frame(&self, token: &Token) -> Option<&Frame> {
        match self.slots.get(token.index() as usize) {
            Some(Slot::Held(frame)) => Some(frame),
            _ => None,
        }
    }
}

impl Memory for Store {
    fn alloc(&mut self) -> Option<Token> {
        let frame = self.pool.alloc()?;
        Some(self.insert(frame))
    }

    fn alloc_on(&mut self, on: InterfaceId) -> Option<Token> {
        let frame = self.pool.alloc_on(on.0)?;
        Some(self.insert(frame))
    }

    fn free(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token.index() as usize) else { return };
        match slot {
            Slot::Held(_) => *slot = Slot::Empty,
            Slot::Posted { keep } => {
                debug_assert!(*keep, "frame {} was given away with its token", token.index());
                *keep = false;
            }
            Slot::Empty => debug_assert!(false, "frame {} is not here to be freed", token.index()),
        }
    }

    fn bytes(&self, token: &Token) -> &[u8] {
        match self.frame(token) {
            Some(frame) => frame.buffer(),
            None => {
                debug_assert!(false, "frame {} is not here to be read", token.index());
                &NOTHING[..self.pool.frame_len()]
            }
        }
    }

    fn bytes_mut(&mut self, token: &Token) -> &mut [u8] {
        match self.slots.get_mut(token.index() as usize) {
            Some(Slot::Held(frame)) => frame.buffer_mut(),
            _ => {
                debug_assert!(false, "frame {} is not here to be written", token.index());
                &mut self.scratch
            }
        }
    }

    fn is_posted(&self, token: &Token) -> bool {
        matches!(self.slots.get(token.index() as usize), Some(Slot::Posted { .. }))
    }

    fn available(&self) -> usize {
        self.pool.available()
    }

    fn available_on(&self, on: InterfaceId) -> usize {
        self.pool.available_on(on.0)
    }

    fn frame_len(&self) -> usize {
        self.pool.frame_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store::new(Pool::heap(4, 128).unwrap())
    }

    fn free(store: &Store) -> u32 {
        store.check().unwrap();
        store.pool.census().free
    }

    #[test]
    fn what_is_written_through_a_token_is_in_the_frame() {
        let mut store = store();
        let token = store.alloc().unwrap();
        store.bytes_mut(&token)[127] = 9;
        assert_eq!(store.bytes(&token)[127], 9);
        let frame = store.take(token).unwrap();
        assert_eq!(frame.buffer()[127], 9);
        assert_eq!(free(&store), 3);
        drop(frame);
        assert_eq!(free(&store), 4);
    }

    #[test]
    fn a_frame_given_to_the_device_is_freed_on_completion() {
        let mut store = store();
        let token = store.alloc().unwrap();
        let frame = store.post(token.index(), 60, false).unwrap();
        assert_eq!((frame.len(), store.posted()), (60, 1));
        store.completed(frame);
        assert_eq!((free(&store), store.posted()), (4, 0));
    }

    #[test]
    fn a_kept_frame_comes_back_and_is_not_posted_twice() {
        let mut store = store();
        let token = store.alloc().unwrap();
        let frame = store.post(token.index(), 60, true).unwrap();
        assert!(store.is_posted(&token));
        assert!(store.post(token.index(), 60, true).is_none());
        let token = store.take(token).unwrap_err();
        store.completed(frame);
        assert!(!store.is_posted(&token));
        let again = store.post(token.index(), 70, true).unwrap();
        assert_eq!(again.len(), 70);
        store.completed(again);
        store.free(token);
        assert_eq!(free(&store), 4);
    }

    #[test]
    fn a_kept_frame_freed_while_posted_is_freed_on_completion() {
        let mut store = store();
        let token = store.alloc().unwrap();
        let frame = store.post(token.index(), 60, true).unwrap();
        store.free(token);
        assert_eq!(free(&store), 3);
        store.completed(frame);
        assert_eq!(free(&store), 4);
    }

    #[test]
    fn a_completion_of_a_frame_that_was_not_posted_frees_it() {
        let mut store = store();
        let frame = store.pool.alloc().unwrap();
        store.completed(frame);
        assert_eq!(free(&store), 4);
    }

    #[test]
    fn what_goes_by_another_interface_is_copied_and_counted() {
        let (one, two) = (InterfaceId(0), InterfaceId(1));
        let mut store = Store::new(Pool::heap_for_interfaces(2, 2, 128).unwrap());
        let token = store.alloc_on(one).unwrap();
        store.bytes_mut(&token)[..3].copy_from_slice(b"abc");
        // One that is lent stays, and can go again at once.
        let copy = store.post_on(two, token.index(), 3, true).unwrap();
        assert_eq!((copy.interface(), copy.bytes(), store.is_posted(&token)), (1, &b"abc"[..], false));
        assert_eq!((store.posted(), store.available_on(two)), (1, 1));
        // One that is given away is free.
        let other = store.post_on(two, token.index(), 3, false).unwrap();
        assert_eq!((other.interface(), store.available_on(one), store.available_on(two)), (1, 2, 0));
        let lost = store.alloc_on(one).unwrap();
        assert!(store.post_on(two, lost.index(), 3, false).is_none());
        assert_eq!((store.copies(), store.available_on(one)), (Copies { made: 2, lost: 1 }, 2));
        store.completed(copy);
        store.completed(other);
        store.check().unwrap();
        assert_eq!((store.posted(), store.available_on(two)), (0, 2));
        let stays = store.alloc_on(two).unwrap();
        let posted = store.post_on(two, stays.index(), 3, false).unwrap();
        assert_eq!(posted.index(), stays.index(), "nothing is copied on its own way");
        store.completed(posted);
    }

    #[test]
    fn an_empty_pool_gives_no_token() {
        let mut store = store();
        let tokens: Vec<_> = std::iter::from_fn(|| store.alloc()).collect();
        assert_eq!((tokens.len(), store.available(), store.held()), (4, 0, 4));
        for token in tokens {
            store.free(token);
        }
        assert_eq!((free(&store), store.frame_len()), (4, 128));
    }
}
