//! What handling an event leaves behind for the endpoint.

use super::segment::{FastOpen, Segment};
use crate::memory::Token;
use alloc::vec::Vec;

/// What the answer to our SYN says of Fast Open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Learned {
    /// A new cookie.
    pub cookie: Option<FastOpen>,
    /// The peer's MSS, bytes.
    pub mss: u16,
    /// The SYN with the cookie got lost, or the data in it was not taken and no other cookie came: better not to be
    /// tried again for a while.
    pub refused: bool,
}

/// Frames to free, a reply, and the reason if something was dropped. The endpoint keeps one and empties it each time.
#[derive(Debug, Default)]
pub struct Effects {
    /// Frames that are no longer needed.
    pub freed: Vec<Token>,
    /// A segment that leaves at once, without a place in the connection's send queue: RST or challenge ACK.
    pub reply: Option<Segment>,
    /// Why (part of) the segment was dropped.
    pub dropped: Option<Dropped>,
    /// The reply is a challenge ACK (RFC 5961 7): it is limited.
    pub challenge: bool,
    /// Payload bytes taken for the first time.
    pub taken: u32,
    /// What the answer to our SYN says of Fast Open.
    pub learned: Option<Learned>,
    /// Fast recovery began.
    pub fast_retransmit: bool,
    /// A recovery proved needless.
    pub undone: bool,
    /// The tail is probed.
    pub tail_probe: bool,
    /// Segments that the peer received twice.
    pub duplicates: u32,
}

/// Why a segment, or what was in it, was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    /// Outside of the window.
    Unacceptable,
    /// An old timestamp.
    Paws,
    /// No timestamp where one must be.
    NoTimestamp,
    /// An ACK of something never sent, or too old.
    BadAck,
    /// No ACK where one must be.
    NoAck,
    /// Data that was received before.
    Duplicate,
    /// Data after the application had closed.
    AfterClose,
    /// Out-of-order data without room.
    OutOfOrderFull,
    /// Data beyond the receive buffer, or without a frame to spare.
    NoBuffer,
    /// The state does not take it.
    ByState,
}
