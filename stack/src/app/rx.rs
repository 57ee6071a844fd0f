//! Received bytes: lent for the time of a call, or owned.

use corelane_proto::endpoint::ConnId;
use corelane_xdp::Frame;
use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

/// Where dropped [`RxBuf`]s leave a note, so that the worker opens their connections' windows.
pub(crate) struct Returns(RefCell<Vec<(ConnId, usize)>>);

impl Returns {
    /// Room for `frames` notes: no more frames can be held, so it never grows.
    pub(crate) fn new(frames: usize) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Vec::with_capacity(frames))))
    }

    pub(crate) fn pop(&self) -> Option<(ConnId, usize)> {
        self.0.borrow_mut().pop()
    }

    fn push(&self, id: ConnId, bytes: usize) {
        self.0.borrow_mut().push((id, bytes));
    }
}

/// A run of received bytes, where the network put them.
///
/// When the handler returns, all of them count as consumed, and the frame is free again.
pub struct Rx<'a> {
    frame: Option<Frame>,
    start: usize,
    len: usize,
    consumed: usize,
    id: ConnId,
    returns: &'a Rc<Returns>,
}

/// What the handler left of an [`Rx`].
pub(crate) enum Rest {
    /// Nothing: so many bytes were consumed.
    Nothing(usize),
    /// The frame with what begins after the consumed bytes.
    Bytes { frame: Frame, consumed: usize },
    /// The handler has the frame.
    Detached,
}

impl<'a> Rx<'a> {
    pub(crate) fn new(frame: Frame, start: u16, len: u16, id: ConnId, returns: &'a Rc<Returns>) -> Self {
        let len = usize::from(len);
        Self { frame: Some(frame), start: start.into(), len, consumed: len, id, returns }
    }

    /// The bytes; none after [`detach`](Self::detach).
    pub fn bytes(&self) -> &[u8] {
        self.frame.as_ref().map_or(&[], |frame| &frame.buffer()[self.start..self.start + self.len])
    }

    /// Says that only the first `n` bytes are consumed. The rest stays, shrinks the window, and comes again; see
    /// [`App`](super::App) for when. The last call counts.
    pub fn consume(&mut self, n: usize) {
        self.consumed = n.min(self.len);
    }

    /// Takes the bytes out, to keep them as long as needed: all of them are consumed when the [`RxBuf`] is dropped.
    /// `None` when they were taken already.
    pub fn detach(&mut self) -> Option<RxBuf> {
        let frame = self.frame.take()?;
        Some(RxBuf { frame, start: self.start, len: self.len, id: self.id, returns: Rc::clone(self.returns) })
    }

    pub(crate) fn finish(self) -> Rest {
        match self.frame {
            None => Rest::Detached,
            Some(frame) if self.consumed < self.len => Rest::Bytes { frame, consumed: self.consumed },
            Some(_) => Rest::Nothing(self.consumed),
        }
    }
}

impl fmt::Debug for Rx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rx").field("id", &self.id).field("len", &self.len).finish_non_exhaustive()
    }
}

/// Received bytes that the application owns, still where the network put them. They stay on their core.
///
/// A held frame shrinks the window of its connection and is one less to receive into; dropping it gives both back.
pub struct RxBuf {
    frame: Frame,
    start: usize,
    len: usize,
    id: ConnId,
    returns: Rc<Returns>,
}

impl RxBuf {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.frame.buffer()[self.start..self.start + self.len]
    }
}

impl Deref for RxBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl AsRef<[u8]> for RxBuf {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for RxBuf {
    fn drop(&mut self) {
        self.returns.push(self.id, self.len);
    }
}

impl fmt::Debug for RxBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxBuf").field("id", &self.id).field("len", &self.len).finish_non_exhaustive()
    }
}
