//! The stack's end.

use super::protocol::{Answer, LONGEST, Load, Request, VERSION};
use crate::Error;
use crate::config::Config;
use crate::control::takeover::Talk;
use corelane_bpf::{AttachMode, Change, Keeper, Setup, SocketsPerQueue, Steering};
use corelane_proto::Addr;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Why the helper does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// Nobody is there, or it may not be asked.
    #[error(
        "the helper of privileges.helper = \"{}\" cannot be reached ({error}): start `corelane setup-helper --socket {} --user USER`, where USER is the one that runs this process",
        path.display(), path.display()
    )]
    Unreachable {
        /// Its socket.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
    /// It said no, or something else.
    #[error("the helper at {} does not help: {reason}", path.display())]
    Refused {
        /// Its socket.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
    /// It serves another interface, or in another mode.
    #[error("the helper at {} is for something else: {difference}; give both the same configuration", path.display())]
    Different {
        /// Its socket.
        path: PathBuf,
        /// What is different.
        difference: String,
    },
    /// Its socket cannot be given to the user.
    #[error("the socket {} cannot be given to user {user} ({error}): run the helper as root, with CAP_CHOWN", path.display())]
    Owner {
        /// The socket.
        path: PathBuf,
        /// The user.
        user: u32,
        /// What the kernel says.
        error: io::Error,
    },
}

/// The way to the helper. One thread at a time asks; nothing that it is asked for takes it long.
pub(crate) struct Helper {
    path: PathBuf,
    /// None once it is known to have gone, or said what it should not.
    talk: Mutex<Option<Talk>>,
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helper").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Helper {
    /// Meets the helper that the configuration names, if it names one, and has it settle with the kernel.
    ///
    /// # Errors
    /// There is none, or it refuses.
    pub(crate) fn meet(config: &Config) -> Result<Option<Arc<Self>>, Error> {
        let path = PathBuf::from(config.privileges().helper());
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let unreachable = |error| HelperError::Unreachable { path: path.clone(), error };
        let talk = UnixStream::connect(&path).and_then(Talk::new).map_err(unreachable)?;
        let helper = Self { path: path.clone(), talk: Mutex::new(Some(talk)) };
        match helper.ask(&Request::Hello { version: VERSION }, &[]) {
            Ok((Answer::Welcome, _)) => Ok(Some(Arc::new(helper))),
            answer => Err(helper.refused(answer).into()),
        }
    }

    /// Has the program loaded and attached.
    ///
    /// # Errors
    /// It refuses, or is for another interface or mode.
    pub(crate) fn load(self: &Arc<Self>, ifindex: u32, mode: AttachMode, setup: &Setup) -> Result<Steering, Error> {
        let load = Load {
            base_queue: setup.layout.base_queue,
            queues: setup.layout.queues,
            cores: setup.layout.cores,
            all_sockets: setup.layout.sockets_per_queue == SocketsPerQueue::All,
            key: setup.hash.key(),
            buckets: setup.buckets,
            max_pinned: setup.max_pinned,
        };
        let (its, native, fds) = match self.ask(&Request::Load(load), &[]) {
            Ok((Answer::Loaded { ifindex, native }, fds)) => (ifindex, native, fds),
            answer => return Err(self.refused(answer).into()),
        };
        let different = |difference| HelperError::Different { path: self.path.clone(), difference };
        if its != ifindex {
            let difference = format!("its interface has the index {its}, and this one's {ifindex}");
            return Err(different(difference).into());
        }
        if native != (mode == AttachMode::Native) {
            return Err(different("one of the two has interface.mode = \"skb\"".into()).into());
        }
        let link = fds.into_iter().next().ok_or_else(|| different("its answer has no bpf_link".into()))?;
        Ok(Steering::kept(ifindex, setup, link, Arc::clone(self) as Arc<dyn Keeper>)?)
    }

    /// A socket for a queue.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        match self.ask(&Request::Socket, &[])? {
            (Answer::Socket, fds) => fds.into_iter().next().ok_or_else(|| unexpected(&Answer::Socket)),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    /// Has the kernel look for a neighbour.
    pub(crate) fn neighbour(&self, addr: Addr) -> io::Result<()> {
        self.done(&Request::Neighbour(IpAddr::from(addr)), &[]).map(drop)
    }

    fn done(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
        match self.ask(request, fds)? {
            (Answer::Done(done), _) => Ok(done),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    fn ask(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<(Answer, Vec<OwnedFd>)> {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |error: io::Error| {
            let text =
                format!("the helper at {} has gone ({error}): start it and this process again", self.path.display());
            io::Error::new(error.kind(), text)
        };
        let Some(open) = talk.as_mut() else { return Err(gone(io::ErrorKind::NotConnected.into())) };
        let answer = open.say_other(request, fds).and_then(|()| open.hear_up_to(LONGEST));
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                // A late answer would be taken for that of another question.
                *talk = None;
                Err(gone(error))
            }
        }
    }

    fn refused(&self, answer: io::Result<(Answer, Vec<OwnedFd>)>) -> HelperError {
        let reason = answer.map_or_else(|error| error.to_string(), |(answer, _)| unexpected(&answer).to_string());
        HelperError::Refused { path: self.path.clone(), reason }
    }
}

fn unexpected(answer: &Answer) -> io::Error {
    match answer {
        Answer::Refused(sentence) => io::Error::new(io::ErrorKind::PermissionDenied, sentence.clone()),
        answer => io::Error::new(io::ErrorKind::InvalidData, format!("it said {answer:?}, which is no answer to that")),
    }
}

impl Keeper for Helper {
    fn change(&self, change: &Change) -> io::Result<bool> {
        self.done(&Request::Change(change.clone()), &[])
    }

    fn register(&self, queue: u32, core: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.done(&Request::Register { queue, core }, &[socket]).map(drop)
    }

    fn counters(&self) -> io::Result<Vec<u64>> {
        match self.ask(&Request::Counters, &[])? {
            (Answer::Counters(values), _) => Ok(values),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    fn end(&self) {
        // Without a helper it was this process's link alone that kept the program.
        let _ = self.ask(&Request::End, &[]);
    }
}
