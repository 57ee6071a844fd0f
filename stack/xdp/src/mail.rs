//! What one core tells another: three bounded queues for each ordered pair of cores.

use std::cell::Cell;

use crate::bell::Bell;
use crate::spsc::{Consumer, Producer, spsc};
use crate::sync::Arc;

/// How many handed-off packets may wait for one core from one other.
pub(crate) const HAND_OFFS: usize = 1024;

/// A frame by its queue and its index in the space of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    pub(crate) lane: u16,
    pub(crate) index: u32,
}

impl Name {
    fn pack(self, upper: u16) -> u64 {
        u64::from(upper) << 48 | u64::from(self.lane) << 32 | u64::from(self.index)
    }

    /// The name and what stood above it.
    fn unpack(value: u64) -> (Self, u16) {
        let [u0, u1, l0, l1, i0, i1, i2, i3] = value.to_be_bytes();
        let (upper, lane) = (u16::from_be_bytes([u0, u1]), u16::from_be_bytes([l0, l1]));
        (Self { lane, index: u32::from_be_bytes([i0, i1, i2, i3]) }, upper)
    }
}

/// What is said about a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    /// To the owner of its fill ring: nobody needs it any more.
    Return(Name),
    /// To who posted it: it came out of the completion ring of ours.
    Completed(Name),
    /// To the owner of its completion ring: it will come out there, and is ours.
    Posted(Name),
}

impl Notice {
    fn pack(self) -> u64 {
        match self {
            Self::Return(name) => name.pack(0),
            Self::Completed(name) => name.pack(1),
            Self::Posted(name) => name.pack(2),
        }
    }

    fn unpack(value: u64) -> Self {
        match Name::unpack(value) {
            (name, 0) => Self::Return(name),
            (name, 1) => Self::Completed(name),
            (name, _) => Self::Posted(name),
        }
    }
}

/// A frame with the length of the packet in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Packet {
    pub(crate) name: Name,
    pub(crate) len: u16,
}

impl Packet {
    fn unpack(value: u64) -> Self {
        let (name, len) = Name::unpack(value);
        Self { name, len }
    }
}

/// How many of each there is room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Never full: a frame is in at most one notice from one core to another. So this is the number of frames that they
    /// can have notices about.
    pub(crate) notices: usize,
    pub(crate) hand_offs: usize,
    pub(crate) sends: usize,
    /// How many notices may wait until a sleeping receiver is woken for returns alone.
    pub(crate) lazy: usize,
}

/// The sending end towards one core.
pub(crate) struct Outbox {
    notices: Producer,
    hand_offs: Producer,
    sends: Producer,
    bell: Arc<Bell>,
    lazy: usize,
    /// A notice was written that the receiver should not sleep over.
    urgent: Cell<bool>,
}

/// The receiving end from one core.
pub(crate) struct Inbox {
    /// Who sends.
    pub(crate) from: u16,
    notices: Consumer,
    hand_offs: Consumer,
    sends: Consumer,
}

/// The queues from core `from` to the core that `bell` wakes.
pub(crate) fn mail(from: u16, bell: Arc<Bell>, room: Room) -> (Outbox, Inbox) {
    let (notices, noticed) = spsc(room.notices);
    let (hand_offs, handed) = spsc(room.hand_offs);
    let (sends, sent) = spsc(room.sends);
    let outbox = Outbox { notices, hand_offs, sends, bell, lazy: room.lazy, urgent: Cell::new(false) };
    (outbox, Inbox { from, notices: noticed, hand_offs: handed, sends: sent })
}

impl Outbox {
    pub(crate) fn notify(&self, notice: Notice) {
        let pushed = self.notices.push(notice.pack());
        debug_assert!(pushed.is_ok(), "{notice:?} is one more than there are frames");
        if !matches!(notice, Notice::Return(_)) {
            self.urgent.set(true);
        }
    }

    /// Makes the notices visible without waking anybody.
    pub(crate) fn publish_notices(&self) {
        self.notices.publish();
    }

    /// False when the receiver has as many as it may have.
    pub(crate) fn hand_off(&self, packet: Packet) -> bool {
        self.hand_offs.push(packet.name.pack(packet.len)).is_ok()
    }

    /// How many packets the receiver would take to send them.
    pub(crate) fn send_room(&self) -> usize {
        self.sends.room()
    }

    /// Asks the receiver to send a packet. There is [`Outbox::send_room`].
    pub(crate) fn send(&self, packet: Packet) {
        let pushed = self.sends.push(packet.name.pack(packet.len));
        debug_assert!(pushed.is_ok(), "{packet:?} is more than there was room for");
    }

    /// Makes everything visible, and wakes the receiver if it sleeps over something that it should not; says whether it
    /// had to be woken. Returns alone wait until there are many: a sleeping owner has most of its fill ring left.
    pub(crate) fn flush(&self) -> bool {
        let noticed = self.notices.publish();
        let packets = self.hand_offs.publish() | self.sends.publish();
        if self.urgent.take() || packets || (noticed && self.notices.len() >= self.lazy) {
            return self.bell.ring();
        }
        false
    }
}

impl Inbox {
    /// The next notice.
    pub(crate) fn notice(&mut self) -> Option<Notice> {
        self.notices.pop().map(Notice::unpack)
    }

    /// The next packet that was handed to this core.
    pub(crate) fn handed_off(&mut self) -> Option<Packet> {
        self.hand_offs.pop().map(Packet::unpack)
    }

    /// The next packet that this core shall send; it stays.
    pub(crate) fn send_front(&mut self) -> Option<Packet> {
        self.sends.front().map(Packet::unpack)
    }

    /// Takes what [`Inbox::send_front`] showed.
    pub(crate) fn send_pop(&mut self) {
        self.sends.pop();
    }

    /// Gives the room of what was taken back to the sender.
    pub(crate) fn release(&mut self) {
        self.notices.release();
        self.hand_offs.release();
        self.sends.release();
    }

    /// Whether nothing is there, by a fresh look.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.notices.is_empty() && self.hand_offs.is_empty() && self.sends.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(room: Room) -> (Outbox, Inbox, Arc<Bell>) {
        let bell = Arc::new(Bell::new().unwrap());
        let (outbox, inbox) = mail(3, Arc::clone(&bell), room);
        (outbox, inbox, bell)
    }

    const ROOM: Room = Room { notices: 8, hand_offs: 2, sends: 1, lazy: 3 };
    const NAME: Name = Name { lane: u16::MAX, index: u32::MAX - 1 };

    #[test]
    fn what_is_said_is_heard() {
        let (outbox, mut inbox, _) = pair(ROOM);
        let notices = [Notice::Return(NAME), Notice::Completed(NAME), Notice::Posted(NAME)];
        notices.iter().for_each(|notice| outbox.notify(*notice));
        let packet = Packet { name: NAME, len: 65535 };
        assert!(outbox.hand_off(packet));
        outbox.send(packet);
        assert!(inbox.is_empty());
        outbox.flush();
        assert!(!inbox.is_empty());
        assert!(std::iter::from_fn(|| inbox.notice()).eq(notices));
        assert_eq!((inbox.handed_off(), inbox.handed_off()), (Some(packet), None));
        assert_eq!((inbox.send_front(), inbox.send_front()), (Some(packet), Some(packet)));
        inbox.send_pop();
        assert!(inbox.send_front().is_none() && inbox.is_empty());
    }

    #[test]
    fn packets_are_bounded_until_they_are_taken() {
        let (outbox, mut inbox, _) = pair(ROOM);
        let packet = Packet { name: NAME, len: 60 };
        assert!(outbox.hand_off(packet) && outbox.hand_off(packet) && !outbox.hand_off(packet));
        assert_eq!(outbox.send_room(), 1);
        outbox.send(packet);
        outbox.flush();
        inbox.handed_off();
        inbox.send_front();
        inbox.send_pop();
        assert!(!outbox.hand_off(packet) && outbox.send_room() == 0);
        inbox.release();
        assert!(outbox.hand_off(packet) && outbox.send_room() == 1);
    }

    #[test]
    fn a_sleeper_is_woken_for_what_cannot_wait() {
        let (outbox, _inbox, bell) = pair(ROOM);
        outbox.notify(Notice::Posted(NAME));
        assert!(!outbox.flush(), "it is awake");
        bell.doorbell.lie_down();
        assert!(!outbox.flush(), "nothing new");
        outbox.notify(Notice::Return(NAME));
        assert!(!outbox.flush(), "two notices are few");
        outbox.notify(Notice::Return(NAME));
        assert!(outbox.flush(), "three are many");
        assert!(!outbox.flush());
        bell.doorbell.lie_down();
        outbox.notify(Notice::Completed(NAME));
        outbox.publish_notices();
        assert!(outbox.flush());
        bell.doorbell.lie_down();
        outbox.hand_off(Packet { name: NAME, len: 1 });
        assert!(outbox.flush());
        bell.hush();
    }
}
