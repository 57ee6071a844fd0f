//! How one process takes over from another: what the two say to each other over the control socket.
//!
//! The new one asks by the line `takeover VERSION`. From there on each message is a line of JSON, a [`Word`], some with
//! descriptors beside it (`SCM_RIGHTS`), in this order:
//!
//! ```text
//! old  offer        what it has, with its bpf_link and the maps of its flows
//! new  prepared     its program is loaded, with the socket through which the old one shall send
//! old  registered   the flows that stay are in the maps
//! new  switched     its program has taken the place of the old one's
//! old  released     the queues are free; from here on there is no way back
//! ```
//!
//! Either may say `refused` with a sentence instead. Until `released` the old one goes on as if nothing had happened when
//! the other ends. After it the stream says only by its end that a process has ended.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version of this conversation. Another one is refused.
pub(crate) const VERSION: u32 = 1;

/// The longest message, bytes: 65,536 listeners fit.
const LONGEST: usize = 8 << 20;

/// Descriptors in one message, at most.
const MOST_FDS: usize = 4;

/// How long the other may take for a step: longer than a core may be busy with one turn of its application.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Why a process could not be taken over from. It goes on, if it still runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeOverError {
    /// There is no way to it.
    #[error("taking over needs a control socket: set control.socket to that of the process that runs")]
    NoSocket,
    /// It does not know how, or knows another way.
    #[error(
        "the process that has {} does not hand over to this one, which speaks version {VERSION} of doing so ({answer}): stop it first, then start this one",
        path.display()
    )]
    Version {
        /// Its control socket.
        path: PathBuf,
        /// What it says.
        answer: String,
    },
    /// It said no.
    #[error("the process that has {} does not hand over: {sentence}", path.display())]
    Refused {
        /// Its control socket.
        path: PathBuf,
        /// Why.
        sentence: String,
    },
    /// It serves something else.
    #[error(
        "the process that has {} cannot be taken over from: {difference}; stop it first, then start this one",
        path.display()
    )]
    Different {
        /// Its control socket.
        path: PathBuf,
        /// What is different.
        difference: String,
    },
    /// It has gone, or does not answer.
    #[error("the process that has {} broke off ({error}) while it handed over: see its log, and start this one again", path.display())]
    Broken {
        /// Its control socket.
        path: PathBuf,
        /// What was seen of it.
        error: io::Error,
    },
}

/// What the old process has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// The index of its interface.
    pub(crate) ifindex: u32,
    /// Whether the kernel has its addresses too.
    pub(crate) shared: bool,
    /// Whether its program runs in the driver.
    pub(crate) native: bool,
    /// Where its packets come from: its own addresses, or with a port its listeners.
    pub(crate) ends: Vec<(IpAddr, Option<u16>)>,
    /// The ports that it has reserved with the kernel, as a list; the new one sets them free at its end.
    pub(crate) reserved: String,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Word {
    Offer(Offer),
    Prepared,
    Registered,
    Switched,
    Released,
    Refused(String),
    /// What whoever does not know the request answers, in the words of the control socket.
    Error(String),
}

impl Word {
    fn to_line(&self) -> Vec<u8> {
        // Numbers, addresses and strings always go into JSON.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// One end of the conversation.
#[derive(Debug)]
pub(crate) struct Talk {
    stream: UnixStream,
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Talk {
    /// Over a stream on which the request has been made.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, bytes: Vec::new(), fds: Vec::new() })
    }

    /// Asks the process at `path`; none when there is no such process.
    pub(crate) fn ask(path: &Path) -> io::Result<Option<Self>> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut talk = Self::new(stream)?;
        talk.send_all(format!("takeover {VERSION}\n").as_bytes(), &[])?;
        Ok(Some(talk))
    }

    /// Another handle to the stream, to end it.
    pub(crate) fn stream(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// Says something, with these descriptors beside it.
    pub(crate) fn say(&mut self, word: &Word, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_all(&word.to_line(), fds)
    }

    /// Says something of another conversation.
    pub(crate) fn say_other(&mut self, what: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut line = serde_json::to_vec(what).map_err(io::Error::other)?;
        line.push(b'\n');
        self.send_all(&line, fds)
    }

    /// Waits for the other's next words as long as it takes.
    pub(crate) fn wait_for_ever(&self) -> io::Result<()> {
        self.stream.set_read_timeout(None)
    }

    fn send_all(&mut self, mut bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut fds = Some(fds).filter(|fds| !fds.is_empty());
        while !bytes.is_empty() {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if let Some(fds) = fds.take() {
                control.push(SendAncillaryMessage::ScmRights(fds));
            }
            let sent = sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Hears what is said next, and the descriptors that came until then.
    pub(crate) fn hear(&mut self) -> io::Result<(Word, Vec<OwnedFd>)> {
        self.hear_up_to(LONGEST)
    }

    /// As [`hear`](Self::hear), for words of any conversation, of at most about `longest` bytes.
    pub(crate) fn hear_up_to<T: DeserializeOwned>(&mut self, longest: usize) -> io::Result<(T, Vec<OwnedFd>)> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                let word = serde_json::from_slice(&line);
                let word = word.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                return Ok((word, std::mem::take(&mut self.fds)));
            }
            if self.bytes.len() > longest {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a message without an end"));
            }
            if self.receive()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(&self.stream, &mut [IoSliceMut::new(&mut piece)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if self.fds.len() > MOST_FDS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many descriptors"));
        }
        self.bytes.extend_from_slice(&piece[..got.bytes]);
        Ok(got.bytes)
    }

    /// Whether the other has ended, as far as is known.
    pub(crate) fn has_ended(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(&self.stream, &mut [0_u8; 1][..], flags), Ok((0, _)))
    }

    /// Waits until the other has ended, however long that takes.
    pub(crate) fn outlast(mut self) {
        if self.stream.set_read_timeout(None).is_err() {
            return;
        }
        // Nothing more is said; whoever says something all the same is not waited for longer than its bytes.
        while matches!(self.receive(), Ok(1..)) {
            self.bytes.clear();
            self.fds.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    fn pair() -> (Talk, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Talk::new(ours).unwrap(), theirs)
    }

    fn offer() -> Word {
        let ends = vec![("10.0.0.2".parse().unwrap(), Some(80)), ("2001:db8::1".parse().unwrap(), None)];
        Word::Offer(Offer { ifindex: 7, shared: true, native: false, ends, reserved: "1-5,9".into() })
    }

    #[test]
    fn words_and_descriptors_arrive_as_they_were_sent() {
        let (mut a, b) = pair();
        let mut b = Talk::new(b).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        a.say(&offer(), &[file.as_fd(), file.as_fd()]).unwrap();
        a.say(&Word::Prepared, &[]).unwrap();
        let (word, fds) = b.hear().unwrap();
        assert_eq!((word, fds.len()), (offer(), 2));
        let (word, fds) = b.hear().unwrap();
        assert_eq!((word, fds.len()), (Word::Prepared, 0));
        drop(a);
        assert_eq!(b.hear().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_long_offer_comes_in_pieces() {
        let (mut a, b) = pair();
        let mut b = Talk::new(b).unwrap();
        let ends: Vec<_> = (0..=u16::MAX).map(|port| ("10.0.0.2".parse().unwrap(), Some(port))).collect();
        let word = Word::Offer(Offer { ifindex: 7, shared: true, native: true, ends, reserved: String::new() });
        let sent = word.clone();
        let sender = std::thread::spawn(move || a.say(&sent, &[]).unwrap());
        assert_eq!(b.hear().unwrap().0, word);
        sender.join().unwrap();
    }

    #[test]
    fn what_is_no_word_is_an_error_and_never_a_panic() {
        let lines: [&[u8]; 9] = [
            b"\n",
            b"{}\n",
            b"\xff\xfe\n",
            b"\"Released\"\n",
            b"{\"offer\":{}}\n",
            b"{\"offer\":{\"ifindex\":-1,\"shared\":true,\"native\":true,\"ends\":[],\"reserved\":\"\"}}\n",
            b"{\"offer\":{\"ifindex\":1,\"shared\":true,\"native\":true,\"ends\":[[\"x\",1]],\"reserved\":\"\"}}\n",
            b"{\"offer\":{\"ifindex\":1,\"shared\":true,\"native\":true,\"ends\":[[\"10.0.0.1\",65536]],\"reserved\":\"\"}}\n",
            b"[[[[[[[[[[[[[[[[\n",
        ];
        for line in lines {
            let (mut talk, mut other) = pair();
            other.write_all(line).unwrap();
            assert_eq!(talk.hear().unwrap_err().kind(), io::ErrorKind::InvalidData, "{line:?}");
        }
        let (mut talk, mut other) = pair();
        other.write_all(b"\"released\"").unwrap();
        drop(other);
        assert_eq!(talk.hear().unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "it has no end");
    }

    #[test]
    fn a_message_without_end_and_a_flood_of_descriptors_are_refused() {
        let (mut talk, mut other) = pair();
        let writer = std::thread::spawn(move || {
            let piece = [b'x'; 1 << 16];
            while other.write_all(&piece).is_ok() {}
        });
        assert_eq!(talk.hear().unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(talk);
        writer.join().unwrap();

        let (mut a, b) = pair();
        let mut b = Talk::new(b).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for _ in 0..2 {
            a.send_all(b"x", &[file.as_fd(); 3]).unwrap();
        }
        assert_eq!(b.hear().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_an_older_process_answers_is_understood() {
        let (mut talk, mut other) = pair();
        other.write_all(b"{\"error\":\"\\\"takeover 1\\\" is no request\"}\n").unwrap();
        assert_eq!(talk.hear().unwrap().0, Word::Error("\"takeover 1\" is no request".into()));
    }
}
