//! The helper's end: it listens, and serves one stack at a time.

use super::HelperError;
use super::protocol::Answer;
use super::session::Session;
use crate::Error;
use crate::config::Config;
use crate::control::open_socket;
use crate::control::takeover::Talk;
use crate::runtime::{Signals, StopHandle};
use crate::steer::ports::PortSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a helper looks whether it is to end.
const LOOK_UP: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// How often, and how many times, a stack's place is looked for: the end of a process that was just killed is heard of a
/// moment later.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOKS: usize = 100;

/// What whoever runs the helper grants.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Where it listens.
    pub socket: PathBuf,
    /// The user whose stacks are served, beside those of the helper's own user and of root.
    pub user: Option<u32>,
    /// The ports on which a stack may listen at an address that the kernel has too. What a socket of the kernel listens on is
    /// never taken from it.
    pub ports: PortSet,
}

/// The helper of a stack that has no privileges.
///
/// It serves one stack at a time, of the users that its [`Terms`] name, on the interface of its configuration and in its
/// thread's network namespace, and checks each request against both: listeners only at addresses of the interface and on ports
/// that are granted and that no socket of the kernel has; flows only from the ports that its own plan has for outgoing
/// connections, or from listeners; own addresses only those that are configured. A stack that ends, in whatever way, leaves
/// nothing attached. When the helper ends, a stack goes on, but gets no new listeners, and no new connections that it opens
/// itself from a shared address.
///
/// A socket that it hands out may be bound to any queue of any interface in the network namespace, and send there; it
/// receives only what the program of that interface gives it.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    terms: Arc<Terms>,
}

impl Server {
    /// A helper for stacks with this configuration.
    pub fn new(config: Config, terms: Terms) -> Self {
        Self { config: Arc::new(config), terms: Arc::new(terms) }
    }

    /// Serves until SIGINT or SIGTERM; `ready` is called once, when stacks may come.
    ///
    /// # Errors
    /// A capability is missing, or the socket cannot be made.
    pub fn run(&self, ready: impl FnOnce()) -> Result<(), Error> {
        if self.config.interface().name().is_empty() {
            return Err(Error::NoInterface);
        }
        crate::runtime::check_privileges()?;
        let stop = StopHandle::new();
        let _signals = Signals::stop(&stop)?;
        let path = &self.terms.socket;
        let (listener, _file) = open_socket(path)?;
        if let Some(user) = self.terms.user {
            let failed = |error| HelperError::Owner { path: path.clone(), user, error };
            std::os::unix::fs::chown(path, Some(user), None).map_err(failed)?;
        }
        ready();
        let busy = Arc::new(AtomicBool::new(false));
        while !stop.is_stopped() {
            match accept(&listener) {
                Ok(Some(stream)) => self.meet(&stream, &busy),
                Ok(None) => {}
                Err(error) => return Err(Error::System { what: "waiting for a stack", error }),
            }
        }
        Ok(())
    }

    /// Begins with a stack, or says why not.
    fn meet(&self, stream: &UnixStream, busy: &Arc<AtomicBool>) {
        let Ok(mut talk) = stream.try_clone().and_then(Talk::new) else { return };
        let refusal = self.refusal(stream).or_else(|| {
            let took = || !busy.swap(true, Ordering::Relaxed);
            let mut free = took();
            for _ in 0..LOOKS {
                if free {
                    break;
                }
                std::thread::sleep(LOOK_EVERY);
                free = took();
            }
            (!free).then(|| "it serves another stack already: stop that one, or start a helper for each".to_owned())
        });
        if let Some(sentence) = refusal {
            tracing::warn!(sentence, "a stack is refused");
            // Who has gone need not know.
            let _ = talk.say_other(&Answer::Refused(sentence), &[]);
            return;
        }
        let done = Done(Arc::clone(busy));
        let (config, terms) = (Arc::clone(&self.config), Arc::clone(&self.terms));
        let serve = move || {
            Session::new(config, terms, talk).serve();
            drop(done);
        };
        if let Err(error) = std::thread::Builder::new().name("helper-session".into()).spawn(serve) {
            tracing::error!(%error, "a stack cannot be served");
        }
    }

    /// Why whoever is at the other end is not served.
    fn refusal(&self, stream: &UnixStream) -> Option<String> {
        let peer = match socket_peercred(stream) {
            Ok(peer) => peer.uid.as_raw(),
            Err(error) => return Some(format!("the kernel does not say who asks ({error})")),
        };
        let own = rustix::process::geteuid().as_raw();
        let known = peer == 0 || peer == own || self.terms.user == Some(peer);
        (!known).then(|| format!("user {peer} is not one that it serves: start it with --user {peer}"))
    }
}

/// Makes place for the next stack.
struct Done(Arc<AtomicBool>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Whoever comes before it is time to look up.
fn accept(listener: &UnixListener) -> io::Result<Option<UnixStream>> {
    match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&LOOK_UP)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
        Ok(_) => {}
        Err(errno) => return Err(errno.into()),
    }
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        // It has gone again, or there are too many descriptors just now.
        Err(_) => Ok(None),
    }
}
