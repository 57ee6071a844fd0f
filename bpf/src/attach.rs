//! The program on an interface, for as long as the value lives.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use libbpf_rs::libbpf_sys::{XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
use libbpf_rs::{Object, ProgramInput, ProgramMut};

use crate::counter::Counters;
use crate::error::{AttachError, MapError};
use crate::hash::FlowHash;
use crate::info::{Mode, interface_name, mtu, os_error, program_on};
use crate::keeper::{Change, Keeper, Kept};
use crate::link;
use crate::map::Maps;
use crate::object::{self, lacks};
use crate::registry::FlowRegistry;
use crate::relay::{KeptRing, RelayFds, RelayedFlows};
use crate::run::{Run, Verdict};
use crate::setup::{Layout, Setup};
use crate::table::{Table, TableError};

/// The mode that is demanded; another is never taken instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver. Zero copy needs it.
    Native,
    /// In the kernel's core, with any driver; each packet costs a socket buffer and a copy.
    Generic,
}

impl AttachMode {
    const fn flags(self) -> u32 {
        match self {
            Self::Native => XDP_FLAGS_DRV_MODE,
            Self::Generic => XDP_FLAGS_SKB_MODE,
        }
    }
}

impl From<AttachMode> for Mode {
    fn from(mode: AttachMode) -> Self {
        match mode {
            AttachMode::Native => Self::Native,
            AttachMode::Generic => Self::Generic,
        }
    }
}

/// The steering program attached to one interface; dropping it, or the end of the process in whatever way, detaches.
///
/// Until something is registered, every packet passes to the kernel. Detach before closing the sockets, so that the
/// kernel gets the packets in between: drop this first. All methods take effect with the next packet.
pub struct Steering {
    // In this order: off the interface first, then out of the kernel. None once another process has it.
    link: Option<OwnedFd>,
    way: Way,
    layout: Layout,
    ifindex: u32,
    program_id: u32,
    mode: Mode,
}

/// How its tables are reached.
enum Way {
    /// The program is this process's.
    Own { object: Object, maps: Box<Maps> },
    /// Another process has it.
    Kept(Kept),
}

impl Steering {
    /// A program that another process has loaded with `setup` and attached to the interface with this index. This process
    /// asks `keeper` for all that changes; it needs no privilege, and cannot hand over to another process. `link` keeps the
    /// program attached when the other process ends.
    ///
    /// # Errors
    /// The setup is absurd, or there is no such program on the interface.
    pub fn kept(ifindex: u32, setup: &Setup, link: OwnedFd, keeper: Arc<dyn Keeper>) -> Result<Self, AttachError> {
        let (_, table) = setup.check()?;
        let interface = interface_name(ifindex).map_err(|_| AttachError::NoInterface { ifindex })?;
        let (mode, program_id) = read_back(ifindex, &interface)?;
        let way = Way::Kept(Kept::new(keeper, table));
        Ok(Self { link: Some(link), way, layout: setup.layout, ifindex, program_id, mode })
    }

    /// Makes a change that another process asks for; whether what was to be removed was there.
    ///
    /// # Errors
    /// Those of the methods that the changes are named after.
    pub fn apply(&self, change: &Change) -> Result<bool, MapError> {
        let flows = self.registry();
        match *change {
            Change::AddListener(address, port) => self.add_listener(address, port).map(|()| true),
            Change::RemoveListener(address, port) => self.remove_listener(address, port),
            Change::AddOwnAddress(address) => self.add_own_address(address).map(|()| true),
            Change::RemoveOwnAddress(address) => self.remove_own_address(address),
            Change::AddFlow(local, remote) => flows.insert(local, remote).map(|()| true),
            Change::RemoveFlow(local, remote) => flows.remove(local, remote),
            Change::Pin(local, remote, core) => flows.pin(local, remote, core).map(|()| true),
            Change::Unpin(local, remote) => flows.unpin(local, remote),
            Change::Owners(ref pairs) => {
                let mut table = self.table();
                let failed = |error: TableError| MapError::Kept { source: io::Error::other(error) };
                pairs.iter().try_for_each(|(bucket, core)| table.set_owner(*bucket, *core)).map_err(failed)?;
                self.set_table(&table).map(|changed| changed > 0)
            }
        }
    }

    /// The tables, if the program is this process's.
    fn maps(&self) -> Result<&Maps, MapError> {
        match &self.way {
            Way::Own { maps, .. } => Ok(maps),
            Way::Kept(_) => Err(not_ours()),
        }
    }

    fn object(&self) -> io::Result<&Object> {
        match &self.way {
            Way::Own { object, .. } => Ok(object),
            Way::Kept(_) => Err(io::Error::other(not_ours())),
        }
    }

    /// Loads the program and attaches it to the interface with this index, with the default [`Layout`]: one socket for
    /// each queue, so that nothing depends on the hash, and its key need not be random.
    ///
    /// # Errors
    /// As [`attach_with`](Self::attach_with).
    pub fn attach(ifindex: u32, mode: AttachMode) -> Result<Self, AttachError> {
        Self::attach_with(ifindex, mode, &Setup::new(Layout::default(), FlowHash::new([0; 16])))
    }

    /// Loads the program and attaches it to the interface with this index, of this thread's network namespace.
    ///
    /// # Errors
    /// Says what is missing: the interface, a capability, the mode in the driver, a smaller MTU; or what is absurd in
    /// the setup; or that somebody else's program is there, which is left alone.
    pub fn attach_with(ifindex: u32, mode: AttachMode, setup: &Setup) -> Result<Self, AttachError> {
        let (settings, table) = setup.check()?;
        let interface = interface_name(ifindex).map_err(|_| AttachError::NoInterface { ifindex })?;
        refuse_foreign(ifindex, &interface)?;
        let object = object::load(setup, &settings, None)?;
        let maps = Box::new(Maps::of(&object, setup, &table)?);
        let link = attach_link(program(&object)?.as_fd(), ifindex, mode, &interface)?;
        let (in_force, program_id) = read_back(ifindex, &interface)?;
        if in_force != Mode::from(mode) {
            return Err(AttachError::OtherMode { interface, demanded: mode.into(), in_force });
        }
        let way = Way::Own { object, maps };
        Ok(Self { link: Some(link), way, layout: setup.layout, ifindex, program_id, mode: in_force })
    }

    /// Loads the program to take the place of another process's, whose maps are `inherited`. Nothing changes yet:
    /// [`take_over`](Self::take_over) is next, when everything is registered.
    ///
    /// # Errors
    /// As [`attach_with`](Self::attach_with), apart from those of attaching.
    pub fn prepare(ifindex: u32, setup: &Setup, inherited: &RelayFds) -> Result<Self, AttachError> {
        let (settings, table) = setup.check()?;
        let interface = interface_name(ifindex).map_err(|_| AttachError::NoInterface { ifindex })?;
        let object = object::load(setup, &settings, Some(inherited))?;
        let maps = Box::new(Maps::of(&object, setup, &table)?);
        let failed = |error: MapError| AttachError::Load { source: io::Error::other(error), log: String::new() };
        maps.set_relayed(true).and_then(|()| maps.set_holding(true)).map_err(failed)?;
        let (mode, _) = read_back(ifindex, &interface)?;
        Ok(Self { link: None, way: Way::Own { object, maps }, layout: setup.layout, ifindex, program_id: 0, mode })
    }

    /// Puts this program, which was [prepared](Self::prepare), in the place of the one that `link` attaches, between two
    /// packets. From here on it holds what is for its sockets, until [`release_held`](Self::release_held), and relays the
    /// flows of the other process, until [`end_relay`](Self::end_relay).
    ///
    /// # Errors
    /// The kernel refuses; then the other program goes on.
    pub fn take_over(&mut self, link: OwnedFd) -> Result<(), AttachError> {
        let interface = interface_name(self.ifindex).map_err(|_| AttachError::NoInterface { ifindex: self.ifindex })?;
        let failed =
            |source| AttachError::System { what: "change the XDP program", interface: interface.clone(), source };
        let object = self.object().map_err(failed)?;
        link::update(link.as_fd(), program(object)?.as_fd()).map_err(failed)?;
        self.link = Some(link);
        (self.mode, self.program_id) = read_back(self.ifindex, &interface)?;
        Ok(())
    }

    /// Another handle to what attaches the program, for the process that takes over.
    ///
    /// # Errors
    /// There are too many open files, or another process has taken over already.
    pub fn share_link(&self) -> io::Result<OwnedFd> {
        self.link.as_ref().ok_or(io::ErrorKind::NotConnected)?.try_clone()
    }

    /// Puts this program in its place again, after another process had taken over and has failed.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn take_back(&self) -> io::Result<()> {
        let link = self.link.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        link::update(link.as_fd(), program(self.object()?).map_err(io::Error::other)?.as_fd())
    }

    /// Leaves the interface to the process that has taken over: from here on its end detaches.
    pub fn give_up_link(&mut self) {
        self.link = None;
    }

    /// The maps for the process that takes over.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn share_relay(&self) -> io::Result<RelayFds> {
        let maps = self.maps().map_err(io::Error::other)?;
        Ok(RelayFds { flows: maps.relayed().fd()?, ring: maps.relay().fd().try_clone_to_owned()? })
    }

    /// The flows that stay with this process after another one has taken over.
    ///
    /// # Errors
    /// The program is another process's.
    pub fn relayed(&self) -> Result<RelayedFlows, MapError> {
        Ok(self.maps()?.relayed().clone())
    }

    /// Their packets; for a process that has taken over, those of the one before.
    ///
    /// # Errors
    /// The program is another process's.
    pub fn relay_ring(&self) -> Result<&KeptRing, MapError> {
        Ok(self.maps()?.relay())
    }

    /// What was held until now.
    ///
    /// # Errors
    /// The program is another process's.
    pub fn held_ring(&self) -> Result<&KeptRing, MapError> {
        Ok(self.maps()?.held())
    }

    /// Holds nothing any more: the sockets are there.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn release_held(&self) -> Result<(), MapError> {
        self.maps()?.set_holding(false)
    }

    /// The process before this one has ended: what it still had is nobody's.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn end_relay(&self) -> Result<(), MapError> {
        let maps = self.maps()?;
        maps.set_relayed(false)?;
        maps.relayed().clear()?;
        let failed = |source| MapError::System { table: "relay", what: "read", source };
        maps.relay().take_all(|_, _| {}).map_err(failed)
    }

    /// The index of the interface.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Queues, cores and sockets, as they were given.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The mode in force, read back from the kernel after attaching.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The kernel's number for the program, as `bpftool prog` shows it.
    pub fn program_id(&self) -> u32 {
        self.program_id
    }

    /// Gives packets of ours that arrive on `queue` and belong to `core` to this `AF_XDP` socket, which must be bound to
    /// that queue. With [`SocketsPerQueue::One`](crate::SocketsPerQueue::One) it gets those of every core.
    ///
    /// The kernel forgets the socket by itself when it is closed. A second socket for the place replaces the first.
    ///
    /// # Errors
    /// [`MapError::Queue`], [`MapError::Core`] or [`MapError::NotASocket`].
    pub fn register_socket(&self, queue: u32, core: u32, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        let key = self.layout.key(queue, core)?;
        match &self.way {
            Way::Own { maps, .. } => maps.set_socket(key, queue, socket),
            Way::Kept(kept) => kept.register(queue, core, socket),
        }
    }

    /// Lets the packets of `queue` that belong to `core` pass to the kernel again. No socket there is no error.
    ///
    /// # Errors
    /// [`MapError::Queue`] or [`MapError::Core`].
    pub fn unregister_socket(&self, queue: u32, core: u32) -> Result<(), MapError> {
        self.maps()?.clear_socket(self.layout.key(queue, core)?)
    }

    /// The owners of the buckets as the program has them; at first, shared evenly.
    pub fn table(&self) -> Table {
        match &self.way {
            Way::Own { maps, .. } => maps.owners().table(),
            Way::Kept(kept) => kept.table(),
        }
    }

    /// Gives buckets to other cores, and says how many changed hands: only they are written, each in one step, so a
    /// packet meets the old owner or the new one. Flows that are to stay where they are have to be pinned before.
    ///
    /// # Errors
    /// [`MapError::Table`] if it has another length, or is for another number of cores. If the kernel refuses an
    /// entry, those before it are written, and [`table`](Self::table) says which.
    pub fn set_table(&self, table: &Table) -> Result<u32, MapError> {
        let (len, cores) = (self.table().len(), self.layout.cores);
        if (table.len(), table.cores()) != (len, cores) {
            let (needed_len, needed_cores) = (len, cores);
            return Err(MapError::Table { len: table.len(), cores: table.cores(), needed_len, needed_cores });
        }
        match &self.way {
            Way::Own { maps, .. } => maps.owners().set_table(table),
            Way::Kept(kept) => kept.set_table(table),
        }
    }

    /// Registers and pins single flows, from any thread.
    pub fn registry(&self) -> FlowRegistry {
        match &self.way {
            Way::Own { maps, .. } => maps.registry().clone(),
            Way::Kept(kept) => kept.registry().clone(),
        }
    }

    /// Takes TCP to this address and port from the kernel: a listener's, or the local end of outgoing connections.
    /// Once more is no error, and counts once.
    ///
    /// # Errors
    /// [`MapError::Full`] after 65,536; [`MapError::Wildcard`] for port 0 and for what is not one host's address.
    pub fn add_listener(&self, address: IpAddr, port: u16) -> Result<(), MapError> {
        match &self.way {
            Way::Own { maps, .. } => maps.add_listener(address, port),
            Way::Kept(kept) => kept.change(&Change::AddListener(address, port)).map(drop),
        }
    }

    /// Gives it back to the kernel; whether it was registered.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn remove_listener(&self, address: IpAddr, port: u16) -> Result<bool, MapError> {
        match &self.way {
            Way::Own { maps, .. } => maps.remove_listener(address, port),
            Way::Kept(kept) => kept.change(&Change::RemoveListener(address, port)),
        }
    }

    /// Takes ARP for this address, and all ICMP and TCP to it: the stack answers for it, and the kernel must not
    /// have it.
    /// Once more is no error, and counts once.
    ///
    /// # Errors
    /// [`MapError::Full`] after 256; [`MapError::Wildcard`] for what is not one host's address.
    pub fn add_own_address(&self, address: IpAddr) -> Result<(), MapError> {
        match &self.way {
            Way::Own { maps, .. } => maps.add_own_address(address),
            Way::Kept(kept) => kept.change(&Change::AddOwnAddress(address)).map(drop),
        }
    }

    /// Stops answering for it; whether it was registered.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn remove_own_address(&self, address: IpAddr) -> Result<bool, MapError> {
        match &self.way {
            Way::Own { maps, .. } => maps.remove_own_address(address),
            Way::Kept(kept) => kept.change(&Change::RemoveOwnAddress(address)),
        }
    }

    /// What became of the packets so far.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn counters(&self) -> Result<Counters, MapError> {
        match &self.way {
            Way::Own { maps, .. } => maps.counters(),
            Way::Kept(kept) => kept.counters(),
        }
    }

    /// Runs the program on a packet through the kernel's `BPF_PROG_TEST_RUN`, as if it came in on `queue`, `repeat`
    /// times. It counts, but nothing is delivered. For tests and measurements.
    ///
    /// # Errors
    /// EINVAL if the packet is shorter than an Ethernet header, or the interface has no such queue.
    pub fn run(&self, packet: &[u8], queue: u32, repeat: u32) -> io::Result<Run> {
        let length = u32::try_from(packet.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let mut context = [0, length, 0, self.ifindex, queue, 0].map(u32::to_ne_bytes);
        let program = program(self.object()?).map_err(io::Error::other)?;
        loop {
            let input = ProgramInput {
                context_in: Some(context.as_flattened_mut()),
                data_in: Some(packet),
                repeat,
                ..Default::default()
            };
            match program.test_run(input).map_err(|error| os_error(&error)) {
                Ok(output) => {
                    return Ok(Run { verdict: Verdict::from(output.return_value), duration: output.duration });
                }
                // A long run sees the signals of its process.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link: _, way: _, layout, ifindex, program_id, mode } = self;
        f.debug_struct("Steering")
            .field("ifindex", ifindex)
            .field("program_id", program_id)
            .field("mode", mode)
            .field("layout", layout)
            .finish_non_exhaustive()
    }
}

fn not_ours() -> MapError {
    MapError::Kept {
        source: io::Error::new(io::ErrorKind::Unsupported, "this process is not the one that has the program"),
    }
}

fn program(object: &Object) -> Result<ProgramMut<'_>, AttachError> {
    object.progs_mut().find(|program| program.name() == object::PROGRAM).ok_or_else(|| lacks(object::PROGRAM))
}

/// How long to wait for a program of ours to go. The kernel takes it away some milliseconds after its process has ended,
/// and a process that is restarted at once should not have to wait for its predecessor.
const PREDECESSOR_GOES_WITHIN: Duration = Duration::from_millis(500);

/// How often to look whether it has gone.
const LOOK_EVERY: Duration = Duration::from_millis(5);

fn refuse_foreign(ifindex: u32, interface: &str) -> Result<(), AttachError> {
    let mut looks = PREDECESSOR_GOES_WITHIN.as_millis() / LOOK_EVERY.as_millis();
    loop {
        match program_on(ifindex) {
            Ok(None) => return Ok(()),
            Ok(Some(program)) if looks > 0 && program.name.as_deref() == Some(object::PROGRAM) => {
                looks -= 1;
                thread::sleep(LOOK_EVERY);
            }
            Ok(Some(program)) => return Err(AttachError::Foreign { interface: interface.to_owned(), program }),
            Err(source) => {
                let interface = interface.to_owned();
                return Err(AttachError::System { what: "look for XDP programs", interface, source });
            }
        }
    }
}

fn attach_link(
    program: BorrowedFd<'_>,
    ifindex: u32,
    mode: AttachMode,
    interface: &str,
) -> Result<OwnedFd, AttachError> {
    let index = i32::try_from(ifindex).map_err(|_| AttachError::NoInterface { ifindex })?;
    link::attach(program, index, mode.flags()).map_err(|source| {
        let interface = interface.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => AttachError::Permission { what: "attach" },
            Some(libc::ENODEV) => AttachError::NoInterface { ifindex },
            Some(libc::EOPNOTSUPP) => AttachError::Unsupported { interface, mode: mode.into() },
            // It came between the question and the attachment; name it if it is still there.
            Some(libc::EBUSY | libc::EEXIST) => {
                refuse_foreign(ifindex, &interface).err().unwrap_or(AttachError::Busy { interface })
            }
            Some(libc::ENOSPC) => AttachError::Queues { interface },
            Some(libc::ERANGE | libc::EINVAL) => AttachError::Refused { interface, mtu: mtu(ifindex), source },
            _ => AttachError::System { what: "attach XDP", interface, source },
        }
    })
}

fn read_back(ifindex: u32, interface: &str) -> Result<(Mode, u32), AttachError> {
    let interface = interface.to_owned();
    match program_on(ifindex) {
        Ok(Some(program)) => Ok((program.mode, program.id)),
        Ok(None) => Err(AttachError::Busy { interface }),
        Err(source) => Err(AttachError::System { what: "read the mode of XDP back", interface, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_setup_is_refused_before_anything_is_loaded() {
        let setup = Setup::new(Layout { queues: 0, ..Layout::default() }, FlowHash::new([0; 16]));
        let error = Steering::attach_with(1, AttachMode::Generic, &setup).unwrap_err();
        assert!(matches!(error, AttachError::Layout { .. }), "{error}");
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let error = Steering::attach(0x7fff_0000, AttachMode::Native).unwrap_err();
        assert!(matches!(error, AttachError::NoInterface { ifindex: 0x7fff_0000 }), "{error}");
    }
}
