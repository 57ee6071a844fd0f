//! The helper with one stack: each request is checked, and then done.

use super::protocol::{Answer, LONGEST, Load, Request, VERSION};
use super::server::Terms;
use crate::config::Config;
use crate::control::takeover::Talk;
use crate::runtime::attach_mode;
use crate::steer::{Beside, Sharing};
use corelane_bpf::{AttachMode, Change, Counter, FlowHash, Layout, Setup, SocketsPerQueue, Steering, Vlan};
use corelane_proto::{Addr, SocketAddr};
use corelane_xdp::{Interface, new_socket};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Sockets that a stack gets, at most: as many as a program has places for, several times, since a queue that is busy is tried
/// again.
const MOST_SOCKETS: u32 = 65_536;

/// A sentence, if not.
type Checked<T> = Result<T, String>;

/// What there is for one stack. When it goes, the program is detached, and reserved ports are free.
pub(super) struct Session {
    config: Arc<Config>,
    terms: Arc<Terms>,
    talk: Talk,
    /// Before what was settled: off the interface first.
    steering: Option<Steering>,
    beside: Option<Beside>,
    /// The interface's addresses when the kernel was asked last.
    addresses: BTreeSet<Addr>,
    listeners: BTreeSet<SocketAddr>,
    sockets: u32,
}

/// An answer, with a descriptor or without.
type Reply = (Answer, Option<OwnedFd>);

impl Session {
    pub(super) fn new(config: Arc<Config>, terms: Arc<Terms>, talk: Talk) -> Self {
        let (addresses, listeners) = (BTreeSet::new(), BTreeSet::new());
        Self { config, terms, talk, steering: None, beside: None, addresses, listeners, sockets: 0 }
    }

    /// Answers until the stack ends or says what it should not.
    pub(super) fn serve(mut self) {
        loop {
            let (request, fds) = match self.talk.hear_up_to::<Request>(LONGEST) {
                Ok(heard) => heard,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(error) => {
                    tracing::warn!(%error, "a stack says what is no request: it is served no more");
                    let sentence = format!("that is no request of version {VERSION} ({error})");
                    // Who has gone need not know.
                    let _ = self.talk.say_other(&Answer::Refused(sentence), &[]);
                    break;
                }
            };
            let (answer, fd) = self.answer(request, &fds).unwrap_or_else(|sentence| {
                tracing::warn!(sentence, "a request is refused");
                (Answer::Refused(sentence), None)
            });
            let fds: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
            if self.talk.say_other(&answer, &fds).is_err() {
                break;
            }
        }
        tracing::info!("the stack has ended: its program is detached");
    }

    fn answer(&mut self, request: Request, fds: &[OwnedFd]) -> Checked<Reply> {
        let done = |done| (Answer::Done(done), None);
        match request {
            Request::Hello { version } => self.hello(version),
            Request::Load(load) => self.load(&load),
            Request::Socket => self.socket(),
            Request::Register { queue, core } => {
                let socket = fds.first().ok_or("there is no socket with it")?;
                self.steering()?.register_socket(queue, core, socket.as_fd()).map_err(|error| error.to_string())?;
                Ok(done(true))
            }
            Request::Change(change) => {
                self.check(&change)?;
                let changed = self.steering()?.apply(&change).map_err(|error| error.to_string())?;
                self.note(&change);
                Ok(done(changed))
            }
            Request::Counters => {
                let counters = self.steering()?.counters().map_err(|error| error.to_string())?;
                Ok((Answer::Counters(Counter::ALL.iter().map(|counter| counters.value(*counter)).collect()), None))
            }
            Request::Neighbour(addr) => self.neighbour(addr.into()).map(|()| done(true)),
            Request::End => {
                self.steering = None;
                Ok(done(true))
            }
        }
    }

    fn hello(&mut self, version: u32) -> Checked<Reply> {
        if version != VERSION {
            return Err(format!("it speaks version {VERSION} and the stack {version}: run both of one release"));
        }
        if self.beside.is_some() {
            return Err("that was said already".into());
        }
        self.beside = Some(Beside::settle(&self.config).map_err(|error| error.to_string())?);
        // From here on the stack speaks when it needs something.
        self.talk.wait_for_ever().map_err(|error| error.to_string())?;
        Ok((Answer::Welcome, None))
    }

    fn load(&mut self, load: &Load) -> Checked<Reply> {
        let beside = self.beside.as_ref().ok_or("hello comes first")?;
        if self.steering.is_some() {
            return Err("that was said already".into());
        }
        let all = |sockets| if sockets { SocketsPerQueue::All } else { SocketsPerQueue::One };
        let layout = Layout {
            base_queue: load.base_queue,
            queues: load.queues,
            cores: load.cores,
            sockets_per_queue: all(load.all_sockets),
        };
        let vlan = beside.mirror().link().vlan.map_or(Vlan::Untagged, |vlan| Vlan::Id(vlan.id));
        let (buckets, max_pinned) = (load.buckets, load.max_pinned);
        let setup = Setup { buckets, max_pinned, vlan, ..Setup::new(layout, FlowHash::new(load.key)) };
        let device = Interface::query(beside.device()).map_err(|error| error.to_string())?;
        let mode = attach_mode(self.config.interface());
        let steering = Steering::attach_with(device.index, mode, &setup).map_err(|error| error.to_string())?;
        let link = steering.share_link().map_err(|error| error.to_string())?;
        self.steering = Some(steering);
        tracing::info!(interface = device.name, "a stack has its program");
        Ok((Answer::Loaded { ifindex: device.index, native: mode == AttachMode::Native }, Some(link)))
    }

    fn socket(&mut self) -> Checked<Reply> {
        self.steering()?;
        if self.sockets == MOST_SOCKETS {
            return Err(format!("{MOST_SOCKETS} sockets are enough for one stack: start it again"));
        }
        let socket = new_socket().map_err(|error| format!("an AF_XDP socket cannot be made ({error})"))?;
        self.sockets += 1;
        Ok((Answer::Socket, Some(socket)))
    }

    fn steering(&self) -> Checked<&Steering> {
        self.steering.as_ref().ok_or_else(|| "no program is loaded".to_owned())
    }

    fn beside(&self) -> Checked<&Beside> {
        self.beside.as_ref().ok_or_else(|| "hello comes first".to_owned())
    }

    /// Whether the stack may have this changed.
    fn check(&mut self, change: &Change) -> Checked<()> {
        match *change {
            Change::AddListener(address, port) => self.check_listener(SocketAddr::new(address.into(), port)),
            Change::AddOwnAddress(address) => {
                let identity = self.beside()?.identity();
                let is_ours = identity.addresses.iter().any(|cidr| cidr.addr == Addr::from(address));
                match identity.sharing == Sharing::Own && is_ours {
                    true => Ok(()),
                    false => Err(format!("{address} is no address of the stack's own in the helper's configuration")),
                }
            }
            Change::AddFlow(local, _) => self.check_flow(local.into()),
            // They take from nobody but the stack itself what it has.
            Change::RemoveListener(..)
            | Change::RemoveOwnAddress(_)
            | Change::RemoveFlow(..)
            | Change::Pin(..)
            | Change::Unpin(..)
            | Change::Owners(_) => Ok(()),
        }
    }

    fn check_listener(&mut self, local: SocketAddr) -> Checked<()> {
        self.check_address(local.addr)?;
        if !self.terms.ports.contains(local.port) {
            return Err(format!("port {} is not granted: start the helper with another --ports", local.port));
        }
        self.beside()?.may_listen(local).map_err(|error| error.to_string())
    }

    fn check_flow(&mut self, local: SocketAddr) -> Checked<()> {
        self.check_address(local.addr)?;
        let plan = self.beside()?.ports();
        let planned = (plan.range.0..=plan.range.1).contains(&local.port) && !plan.avoided.contains(&local.port);
        match planned || self.listeners.contains(&local) {
            true => Ok(()),
            false => Err(format!(
                "port {} is none that the helper has for outgoing connections ({} to {})",
                local.port, plan.range.0, plan.range.1
            )),
        }
    }

    /// Whether the address is one of the interface that the kernel has too, and that is configured if any are.
    fn check_address(&mut self, addr: Addr) -> Checked<()> {
        let beside = self.beside()?;
        if beside.identity().sharing != Sharing::Shared {
            return Err("the addresses are the stack's own: all that comes to them is".into());
        }
        if self.addresses.contains(&addr) {
            return Ok(());
        }
        let now =
            beside.shared_addresses().map_err(|error| format!("the kernel's addresses cannot be read ({error})"))?;
        self.addresses = now;
        match self.addresses.contains(&addr) {
            true => Ok(()),
            false => Err(format!("{addr} is no address of {}", self.config.interface().name())),
        }
    }

    /// What was done.
    fn note(&mut self, change: &Change) {
        match *change {
            Change::AddListener(address, port) => drop(self.listeners.insert(SocketAddr::new(address.into(), port))),
            Change::RemoveListener(address, port) => {
                self.listeners.remove(&SocketAddr::new(address.into(), port));
            }
            _ => {}
        }
    }

    fn neighbour(&mut self, addr: Addr) -> Checked<()> {
        let beside = self.beside.as_mut().ok_or("hello comes first")?;
        if !addr.is_unicast() {
            return Err(format!("{addr} is no neighbour's address"));
        }
        beside
            .mirror_mut()
            .use_neighbour(addr)
            .map_err(|error| format!("the kernel does not look for {addr} ({error})"))
    }
}
