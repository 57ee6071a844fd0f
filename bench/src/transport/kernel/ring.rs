//! An `io_uring` behind an owned type: the one place here that is unsafe, since the kernel reads and writes buffers between
//! two calls, and the crate `io-uring` leaves it to its user that they are there.
//!
//! A buffer is moved in with its operation and comes out with the completion, so that nobody can reach it in between.
#![expect(unsafe_code, reason = "the crate io-uring has no safe way to submit an operation; see above")]

use crate::failure::Failure;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::rc::Rc;

/// Operations that are handed to the kernel at once, at most.
const ENTRIES: u32 = 1024;
/// The name of operations whose end interests nobody.
const NOBODY: u64 = u64::MAX;
/// Where the kernel says whether anybody may have a ring.
const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";

/// What is to be done with a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Say once when it is ready for these.
    Poll(EventFlags),
    /// Receive into the buffer's capacity.
    Receive,
    /// Send the buffer from this byte on.
    Send(usize),
}

/// One operation that the kernel has.
struct Op {
    tag: usize,
    kind: Kind,
    bytes: Vec<u8>,
    // Its number must not become another's before the kernel has seen the operation.
    socket: Rc<OwnedFd>,
}

/// One operation that has ended.
pub(super) struct Done {
    /// What its caller calls it.
    pub(super) tag: usize,
    /// What it was.
    pub(super) kind: Kind,
    /// Its buffer, with what was received.
    pub(super) bytes: Vec<u8>,
    /// Bytes, or the events of a poll.
    pub(super) result: Result<u32, Errno>,
}

/// A ring, and what is under way in it.
pub(super) struct Ring {
    ring: IoUring,
    ops: Vec<Option<Op>>,
    free: Vec<usize>,
    done: VecDeque<Done>,
}

impl Ring {
    /// A ring for the calling thread alone.
    pub(super) fn new() -> Result<Self, Errno> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_coop_taskrun();
        // Kernels before 6.0 know neither of the two.
        let ring = builder.build(ENTRIES).or_else(|_| IoUring::new(ENTRIES)).map_err(|error| errno(&error))?;
        if !ring.params().is_feature_ext_arg() {
            // Before 5.11: there is no waiting with a time-out.
            return Err(Errno::NOSYS);
        }
        Ok(Self { ring, ops: Vec::new(), free: Vec::new(), done: VecDeque::new() })
    }

    /// Begins an operation; its name is for [`cancel`](Self::cancel).
    pub(super) fn start(
        &mut self,
        tag: usize,
        socket: &Rc<OwnedFd>,
        kind: Kind,
        bytes: Vec<u8>,
    ) -> Result<usize, Errno> {
        let id = self.free.pop().unwrap_or_else(|| {
            self.ops.push(None);
            self.ops.len() - 1
        });
        let op = self.ops[id].insert(Op { tag, kind, bytes, socket: Rc::clone(socket) });
        let fd = Fd(op.socket.as_raw_fd());
        let len = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let entry = match kind {
            Kind::Poll(flags) => opcode::PollAdd::new(fd, flags.bits()).build(),
            Kind::Receive => {
                op.bytes.clear();
                let room = op.bytes.spare_capacity_mut();
                opcode::Recv::new(fd, room.as_mut_ptr().cast(), len(room.len())).build()
            }
            Kind::Send(from) => {
                let rest = op.bytes.get(from..).unwrap_or_default();
                let flags = SendFlags::NOSIGNAL.bits().cast_signed();
                opcode::Send::new(fd, rest.as_ptr(), len(rest.len())).flags(flags).build()
            }
        };
        self.push(&entry.user_data(id as u64))?;
        Ok(id)
    }

    /// Has an operation end soon, with what it has done or as cancelled; it still completes.
    pub(super) fn cancel(&mut self, id: usize) -> Result<(), Errno> {
        self.push(&opcode::AsyncCancel::new(id as u64).build().user_data(NOBODY))
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<(), Errno> {
        loop {
            // SAFETY: what the entry points to is the heap memory of a `Vec` in `self.ops`. Nobody touches that `Vec` before
            // the kernel says that the operation has ended (`reap`), and it is leaked if the ring goes before (`drop`).
            // The descriptor is open for as long. Entries of `cancel` point to nothing.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.submit(0)?;
        }
    }

    /// Hands the kernel what was begun, and waits for at most `timeout_ns` until something ends; a signal ends it early.
    pub(super) fn wait(&mut self, timeout_ns: u64) -> Result<(), Errno> {
        self.reap();
        self.submit(if self.done.is_empty() { timeout_ns } else { 0 })?;
        self.reap();
        Ok(())
    }

    fn submit(&mut self, timeout_ns: u64) -> Result<(), Errno> {
        let submitted = if timeout_ns == 0 {
            self.ring.submit()
        } else {
            let nanos = u32::try_from(timeout_ns % 1_000_000_000).unwrap_or(0);
            let timeout = Timespec::new().sec(timeout_ns / 1_000_000_000).nsec(nanos);
            self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
        };
        match submitted.map_err(|error| errno(&error)) {
            Ok(_) | Err(Errno::TIME | Errno::INTR) => Ok(()),
            // Too much has ended that nobody has looked at.
            Err(Errno::BUSY | Errno::AGAIN) => {
                self.reap();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn reap(&mut self) {
        let Self { ring, ops, free, done } = self;
        done.extend(ring.completion().filter_map(|entry| finish(&entry, ops, free)));
    }

    /// The next operation that has ended.
    pub(super) fn next(&mut self) -> Option<Done> {
        self.done.pop_front()
    }
}

fn finish(entry: &cqueue::Entry, ops: &mut [Option<Op>], free: &mut Vec<usize>) -> Option<Done> {
    let id = usize::try_from(entry.user_data()).ok()?;
    let Op { tag, kind, mut bytes, socket: _ } = ops.get_mut(id)?.take()?;
    free.push(id);
    let result = u32::try_from(entry.result()).map_err(|_| Errno::from_raw_os_error(-entry.result()));
    if let (Kind::Receive, Ok(count)) = (kind, result) {
        let count = (count as usize).min(bytes.capacity());
        // SAFETY: the kernel has written so many bytes to the buffer, which was cleared before, from its start on.
        unsafe { bytes.set_len(count) };
    }
    Some(Done { tag, kind, bytes, result })
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel ends what is under way when the ring is closed, but not at once: until then it may write.
        self.ops.drain(..).flatten().for_each(|op| std::mem::forget(op.bytes));
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Whether a ring is to be had.
pub(super) fn check() -> Result<(), Failure> {
    let refused = |error| Failure::Machine(refusal(error, std::fs::read_to_string(SWITCH).ok().as_deref()));
    Ring::new().map(drop).map_err(refused)
}

fn refusal(error: Errno, switch: Option<&str>) -> String {
    let switch = switch.map(str::trim).filter(|value| *value != "0");
    match (error, switch) {
        (Errno::PERM | Errno::ACCESS, Some(value)) => format!(
            "io_uring is switched off here (kernel.io_uring_disabled is {value}); `sysctl -w kernel.io_uring_disabled=0` \
             allows it, and --transport kernel does without"
        ),
        (Errno::PERM | Errno::ACCESS, None) => {
            "io_uring is forbidden here, by a seccomp filter as containers have; run \
             without the filter, or use --transport kernel"
                .to_owned()
        }
        (Errno::NOSYS, _) => {
            "there is no io_uring here: it needs Linux 5.11, and no seccomp filter that hides it; use \
             --transport kernel"
                .to_owned()
        }
        (Errno::NOMEM, _) => {
            "there is no memory for an io_uring; raise `ulimit -l`, or use --transport kernel".to_owned()
        }
        (other, _) => format!("an io_uring cannot be made: {other}; use --transport kernel"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    const SECOND: u64 = 1_000_000_000;

    fn pair() -> (Rc<OwnedFd>, UnixStream) {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        (Rc::new(ours), theirs.into())
    }

    fn next(ring: &mut Ring) -> Done {
        (0..20).find_map(|_| ring.next().or_else(|| ring.wait(SECOND).ok().and_then(|()| ring.next()))).unwrap()
    }

    #[test]
    fn bytes_go_and_come() {
        let (ours, mut theirs) = pair();
        let mut ring = Ring::new().unwrap();
        ring.start(7, &ours, Kind::Send(2), b"..hello".to_vec()).unwrap();
        let sent = next(&mut ring);
        assert_eq!((sent.tag, sent.kind, sent.result, &sent.bytes[..]), (7, Kind::Send(2), Ok(5), &b"..hello"[..]));
        let mut read = [0; 5];
        theirs.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"hello");

        ring.start(8, &ours, Kind::Poll(EventFlags::IN), Vec::new()).unwrap();
        ring.start(9, &ours, Kind::Receive, Vec::with_capacity(100)).unwrap();
        ring.wait(1).unwrap();
        assert!(ring.next().is_none());
        theirs.write_all(b"back").unwrap();
        let mut ended = [next(&mut ring), next(&mut ring)];
        ended.sort_by_key(|done| done.tag);
        let [polled, received] = ended;
        assert!(EventFlags::from_bits_retain(polled.result.unwrap()).contains(EventFlags::IN));
        assert_eq!((received.tag, received.result, &received.bytes[..]), (9, Ok(4), &b"back"[..]));
    }

    #[test]
    fn what_is_cancelled_ends_and_gives_its_buffer_back() {
        let (ours, _theirs) = pair();
        let mut ring = Ring::new().unwrap();
        let id = ring.start(1, &ours, Kind::Receive, Vec::with_capacity(64)).unwrap();
        ring.wait(1).unwrap();
        ring.cancel(id).unwrap();
        let done = next(&mut ring);
        assert_eq!((done.tag, done.result, done.bytes.capacity()), (1, Err(Errno::CANCELED), 64));
    }

    #[test]
    fn more_may_be_begun_than_the_ring_holds() {
        let (ours, mut theirs) = pair();
        let mut ring = Ring::new().unwrap();
        for tag in 0..3 * ENTRIES as usize {
            ring.start(tag, &ours, Kind::Poll(EventFlags::IN), Vec::new()).unwrap();
        }
        theirs.write_all(b"x").unwrap();
        let mut seen: Vec<usize> = (0..3 * ENTRIES).map(|_| next(&mut ring).tag).collect();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..3 * ENTRIES as usize));
    }

    #[test]
    fn who_may_not_is_told_why() {
        assert!(refusal(Errno::PERM, Some("2\n")).contains("kernel.io_uring_disabled is 2"));
        assert!(refusal(Errno::PERM, Some("0\n")).contains("seccomp"));
        assert!(refusal(Errno::PERM, None).contains("seccomp"));
        assert!(refusal(Errno::NOSYS, Some("0")).contains("Linux 5.11"));
    }
}
