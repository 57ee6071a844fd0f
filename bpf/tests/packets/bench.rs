//! The program on a veth whose ends are down, and what is registered with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use corelane_bpf::{AttachMode, Counter, Counters, FlowHash, Layout, Setup, SocketsPerQueue, Steering, Verdict, Vlan};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::common::{self, Pair, receiving_socket};
use crate::model::{Expected, World};

/// The kernel's address, with a listener of ours at port 80.
pub(crate) const KERNELS: [u8; 4] = [10, 77, 0, 1];
/// An own address, with a listener at port 80.
pub(crate) const OURS: [u8; 4] = [10, 77, 0, 9];
pub(crate) const PEER: [u8; 4] = [10, 77, 0, 2];
pub(crate) const KERNELS6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const OURS6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
pub(crate) const PEER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
pub(crate) const LISTENERS: [(IpAddr, u16); 3] =
    [(v4(KERNELS), 80), (v4(OURS), 80), (IpAddr::V6(Ipv6Addr::from_octets(KERNELS6)), 80)];
pub(crate) const OWN: [IpAddr; 2] = [v4(OURS), v6(OURS6)];
/// The ports of the registered flows: outgoing connections from the kernel's addresses.
pub(crate) const OUT: u16 = 50_000;
pub(crate) const SERVICE: u16 = 8080;
pub(crate) const FLOWS: [(SocketAddr, SocketAddr); 2] = [
    (SocketAddr::new(v4(KERNELS), OUT), SocketAddr::new(v4(PEER), SERVICE)),
    (SocketAddr::new(v6(KERNELS6), OUT), SocketAddr::new(v6(PEER6), SERVICE)),
];
/// The peer's port of the flows that are pinned.
pub(crate) const PINNED: u16 = 40_001;
/// Pinned, each to a core that it does not hash to with [`KEY`] and [`setup`]; a test says so.
pub(crate) const PINS: [(SocketAddr, SocketAddr, u32); 4] = [
    (SocketAddr::new(v4(KERNELS), 80), SocketAddr::new(v4(PEER), PINNED), 2),
    (SocketAddr::new(v4(OURS), 81), SocketAddr::new(v4(PEER), PINNED), 0),
    (SocketAddr::new(v6(KERNELS6), 80), SocketAddr::new(v6(PEER6), PINNED), 1),
    // Nothing makes it ours.
    (SocketAddr::new(v4(KERNELS), 81), SocketAddr::new(v4(PEER), PINNED), 1),
];
pub(crate) const KEY: [u8; 16] =
    [0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 9, 0xcf, 0x4f, 0x3c];

pub(crate) const fn v4(octets: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_octets(octets))
}

pub(crate) const fn v6(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_octets(octets))
}

/// Three cores on each of two queues, and every VLAN.
pub(crate) fn setup() -> Setup {
    let layout = Layout { base_queue: 0, queues: 2, cores: 3, sockets_per_queue: SocketsPerQueue::All };
    Setup { vlan: Vlan::Any, ..Setup::new(layout, FlowHash::new(KEY)) }
}

/// The program with all of the above registered, and sockets for some queues and cores.
pub(crate) struct Bench {
    pub(crate) steering: Steering,
    setup: Setup,
    places: Vec<(u32, u32)>,
    _socket: OwnedFd,
    _pair: Pair,
}

impl Bench {
    /// With a socket for each core on queue 0, and none on queue 1.
    pub(crate) fn up() -> Self {
        Self::with(setup(), &[(0, 0), (0, 1), (0, 2)])
    }

    /// The places are queues and cores.
    pub(crate) fn with(setup: Setup, places: &[(u32, u32)]) -> Self {
        let bench = Self::bare(setup, places);
        bench.register();
        bench
    }

    fn register(&self) {
        let steering = &self.steering;
        for (address, port) in LISTENERS {
            steering.add_listener(address, port).unwrap();
        }
        for address in OWN {
            steering.add_own_address(address).unwrap();
        }
        for (local, remote) in FLOWS {
            steering.registry().insert(local, remote).unwrap();
        }
        for (local, remote, core) in PINS {
            steering.registry().pin(local, remote, core).unwrap();
        }
    }

    /// As without `CAP_PERFMON`, where the verifier forbids more.
    pub(crate) fn with_less_privilege(setup: Setup, places: &[(u32, u32)]) -> Self {
        let before = capabilities(None).unwrap();
        let effective = before.effective - CapabilitySet::PERFMON - CapabilitySet::SYS_ADMIN;
        // Of this thread, and only until the program is loaded.
        let pair = Pair::up();
        set_capabilities(None, CapabilitySets { effective, ..before }).unwrap();
        let bench = Self::on(pair, setup, places);
        set_capabilities(None, before).unwrap();
        bench.register();
        bench
    }

    /// With nothing registered but the sockets.
    pub(crate) fn bare(setup: Setup, places: &[(u32, u32)]) -> Self {
        Self::on(Pair::up(), setup, places)
    }

    fn on(pair: Pair, setup: Setup, places: &[(u32, u32)]) -> Self {
        // Down, so that the kernel's own neighbour discovery is not counted among the test's packets.
        common::ip("link set v0 down");
        let steering = Steering::attach_with(pair.ifindex, AttachMode::Native, &setup).unwrap();
        let socket = receiving_socket();
        for (queue, core) in places {
            steering.register_socket(*queue, *core, socket.as_fd()).unwrap();
        }
        Self { steering, setup, places: places.to_vec(), _socket: socket, _pair: pair }
    }

    /// What the model is told: all of the above.
    pub(crate) fn world(&self) -> World<'_> {
        World {
            listeners: &LISTENERS,
            own: &OWN,
            flows: &FLOWS,
            pins: &PINS,
            vlan: self.setup.vlan,
            hash: &self.setup.hash,
            table: self.steering.table(),
        }
    }

    /// The verdict, and the one counter that moved, by one.
    pub(crate) fn run(&self, packet: &[u8], queue: u32, before: &mut Counters) -> (Verdict, Counter) {
        let verdict = self.steering.run(packet, queue, 1).unwrap().verdict;
        let after = self.steering.counters().unwrap();
        let moved: Vec<_> = after.iter().zip(before.iter()).filter(|(new, old)| new != old).collect();
        assert_eq!(moved.len(), 1, "each packet counts once: {moved:?}, {packet:02x?}");
        let ((counter, new), (_, old)) = moved[0];
        assert_eq!(new, old + 1);
        *before = after;
        (verdict, counter)
    }

    /// What the program should answer on `queue` to what the model expects: only a socket at the owner's place gets it.
    pub(crate) fn outcome(&self, expected: Expected, queue: u32) -> (Verdict, Counter) {
        let Expected { mut counter, owner, .. } = expected;
        let Some(mut owner) = owner else { return (Verdict::Pass, counter) };
        if self.setup.layout.sockets_per_queue == SocketsPerQueue::One || self.setup.layout.cores == 1 {
            // Nothing is chosen, so no pin is seen, and any core's registration is the queue's.
            counter = expected.unpinned();
            owner = self.places.iter().find(|place| place.0 == queue).map_or(0, |place| place.1);
        }
        if self.places.contains(&(queue, owner)) {
            (Verdict::Redirect, counter)
        } else {
            (Verdict::Pass, Counter::RedirectFailed)
        }
    }

    /// Runs the packet on queue 0: it must be counted so, and redirected if the counter says so.
    pub(crate) fn check(&self, name: &str, packet: &[u8], expected: Counter) {
        let mut before = self.steering.counters().unwrap();
        let outcome = self.run(packet, 0, &mut before);
        assert_eq!(outcome, (verdict_of(expected), expected), "{name}: {packet:02x?}");
    }
}

pub(crate) fn verdict_of(counter: Counter) -> Verdict {
    if counter.name().starts_with("redirected_") { Verdict::Redirect } else { Verdict::Pass }
}
