//! This process takes over from another one that runs.

use crate::Error;
use crate::config::Config;
use crate::control::takeover::{Offer, TakeOverError, Talk, VERSION, Word};
use crate::control::{Held, Report};
use crate::steer::Sharing;
use corelane_bpf::{RelayFds, Setup, Steering};
use corelane_xdp::PacketSocket;
use crossbeam::channel::Sender;
use std::io;
use std::net::{IpAddr, Shutdown};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

/// The process that runs.
#[derive(Debug)]
pub(super) struct Predecessor {
    path: PathBuf,
    talk: Talk,
    pub(super) offer: Offer,
    link: Option<OwnedFd>,
    maps: RelayFds,
}

/// Follows it until its end.
#[derive(Debug)]
pub(super) struct Watch {
    thread: JoinHandle<()>,
    stream: UnixStream,
}

impl Predecessor {
    /// Meets the process that is to be taken over from, if the configuration wants that; none when there is nobody: then
    /// the stack starts as always.
    ///
    /// # Errors
    /// It does not hand over.
    pub(super) fn meet(config: &Config) -> Result<Option<Self>, TakeOverError> {
        if !config.control().takeover() {
            return Ok(None);
        }
        if config.control().socket().is_empty() {
            return Err(TakeOverError::NoSocket);
        }
        let path = PathBuf::from(config.control().socket());
        let broken = |error| TakeOverError::Broken { path: path.clone(), error };
        let Some(mut talk) = Talk::ask(&path).map_err(broken)? else {
            tracing::info!(path = %path.display(), "there is nobody to take over from: starting as always");
            return Ok(None);
        };
        let (word, fds) = talk.hear().map_err(broken)?;
        let mut fds = fds.into_iter();
        match (word, fds.next(), fds.next(), fds.next()) {
            (Word::Offer(offer), Some(link), Some(flows), Some(ring)) => {
                Ok(Some(Self { path, talk, offer, link: Some(link), maps: RelayFds { flows, ring } }))
            }
            (Word::Error(answer), ..) if answer.contains("takeover") => Err(TakeOverError::Version { path, answer }),
            (Word::Error(sentence) | Word::Refused(sentence), ..) => Err(TakeOverError::Refused { path, sentence }),
            (word, ..) => {
                let answer = format!("it said {word:?} instead of an offer of version {VERSION}");
                Err(TakeOverError::Version { path, answer })
            }
        }
    }

    fn different(&self, difference: String) -> Error {
        TakeOverError::Different { path: self.path.clone(), difference }.into()
    }

    fn broken(&self, error: io::Error) -> Error {
        TakeOverError::Broken { path: self.path.clone(), error }.into()
    }

    /// Fails when it serves another interface, or addresses of another kind.
    fn check(&self, ifindex: u32, sharing: Sharing, native: bool) -> Result<(), Error> {
        let Offer { ifindex: its, shared, native: is_native, .. } = self.offer;
        if its != ifindex {
            return Err(self.different(format!("it is on the interface of index {its}, and this one's has {ifindex}")));
        }
        let kind = |shared: bool| if shared { "shared with the kernel" } else { "the stack's own" };
        let ours = sharing == Sharing::Shared;
        if shared != ours {
            return Err(self.different(format!("its addresses are {}, and this one's {}", kind(shared), kind(ours))));
        }
        let mode = |native: bool| if native { "in the driver" } else { "on socket buffers (interface.mode = \"skb\")" };
        if is_native != native {
            let (its, ours) = (mode(is_native), mode(native));
            return Err(self.different(format!("its XDP program runs {its}, and this one's is to run {ours}")));
        }
        Ok(())
    }

    /// Takes its place: from here on packets of its connections are kept for it, and all others for us. Queues, workers
    /// and buckets may differ from its.
    ///
    /// # Errors
    /// It goes on then, if it still runs.
    pub(super) fn take_over(
        &mut self,
        ifindex: u32,
        sharing: Sharing,
        native: bool,
        setup: &Setup,
    ) -> Result<Steering, Error> {
        let taken = self.check(ifindex, sharing, native).and_then(|()| self.converse(ifindex, setup));
        if let Err(error) = &taken {
            // Who has gone need not know.
            let _ = self.talk.say(&Word::Refused(error.to_string()), &[]);
        }
        taken
    }

    fn converse(&mut self, ifindex: u32, setup: &Setup) -> Result<Steering, Error> {
        let mut steering = Steering::prepare(ifindex, setup, &self.maps).map_err(super::privileges::explain)?;
        for (address, port) in &self.offer.ends {
            match port {
                Some(port) => steering.add_listener(*address, *port)?,
                None => steering.add_own_address(*address)?,
            }
        }
        let failed = |error| Error::System { what: "opening a packet socket", error };
        let socket = PacketSocket::open(ifindex).map_err(failed)?;
        self.talk.say(&Word::Prepared, &[socket.as_fd()]).map_err(|error| self.broken(error))?;
        drop(socket);
        self.expect(&Word::Registered)?;
        if let Some(link) = self.link.take() {
            steering.take_over(link)?;
        }
        self.talk.say(&Word::Switched, &[]).map_err(|error| self.broken(error))?;
        self.expect(&Word::Released)?;
        tracing::info!(path = %self.path.display(), "taken over: the process before this one keeps its connections");
        Ok(steering)
    }

    fn expect(&mut self, expected: &Word) -> Result<(), Error> {
        let path = || self.path.clone();
        let (word, _) = match self.talk.hear() {
            Ok(heard) => heard,
            Err(error) => return Err(self.broken(error)),
        };
        match word {
            word if word == *expected => Ok(()),
            Word::Refused(sentence) => Err(TakeOverError::Refused { path: path(), sentence }.into()),
            word => {
                let answer = format!("it said {word:?} instead of {expected:?}");
                Err(TakeOverError::Version { path: path(), answer }.into())
            }
        }
    }

    /// Follows it; its end comes as [`Report::PredecessorGone`].
    pub(super) fn watch(self, reports: Sender<Report>) -> io::Result<Inherited> {
        let stream = self.talk.stream()?;
        let talk = self.talk;
        let wait = move || {
            talk.outlast();
            // Without a main thread the stack is about to end.
            let _ = reports.send(Report::PredecessorGone);
        };
        let thread = std::thread::Builder::new().name("predecessor".into()).spawn(wait)?;
        Ok(Inherited { ends: self.offer.ends, watch: Watch { thread, stream } })
    }
}

impl Watch {
    /// Ends it.
    pub(super) fn finish(self) {
        // It may be shut already.
        let _ = self.stream.shutdown(Shutdown::Both);
        // It has nothing more to tell.
        let _ = self.thread.join();
    }
}

/// What this process has inherited, until its own workers have said where they listen.
pub(super) struct Inherited {
    pub(super) ends: Vec<(IpAddr, Option<u16>)>,
    pub(super) watch: Watch,
}

/// The packets that were held, by the worker that they are for.
pub(super) fn held(steering: &Steering, workers: usize) -> io::Result<Vec<Held>> {
    let mut held: Vec<Vec<Box<[u8]>>> = vec![Vec::new(); workers];
    steering.held_ring().map_err(io::Error::other)?.take_all(|worker, packet| {
        if let Some(of_worker) = held.get_mut(worker as usize) {
            of_worker.push(packet.into());
        }
    })?;
    Ok(held.into_iter().map(Held::from).collect())
}
