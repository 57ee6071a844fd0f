//! Network namespaces of the tests' own: what is in them ends with them.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{AddressFamily, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Two namespaces joined by a veth pair with two queues a side: `near` with 10.77.0.1, where this thread is from now
/// on, and `far` with 10.77.0.2.
pub(crate) struct Pair {
    pub(crate) near: String,
    pub(crate) far: String,
    /// The index of `near`'s end, whose name is `v0`.
    pub(crate) ifindex: u32,
}

impl Pair {
    pub(crate) fn up() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("bpf-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (near, far) = (format!("{name}-near"), format!("{name}-far"));
        let mut pair = Self { near, far, ifindex: 0 };
        // In the value from here on: it takes down what was put up when a later step fails.
        let (near, far) = (&pair.near, &pair.far);
        ip(&format!("netns add {near}"));
        ip(&format!("netns add {far}"));
        let queues = "numrxqueues 2 numtxqueues 2";
        ip(&format!("link add v0 netns {near} {queues} type veth peer name v1 netns {far} {queues}"));
        ip(&format!("-n {near} address add 10.77.0.1/24 dev v0"));
        ip(&format!("-n {far} address add 10.77.0.2/24 dev v1"));
        ip(&format!("-n {near} link set v0 up"));
        ip(&format!("-n {far} link set v1 up"));
        enter(near);
        pair.ifindex = index_of("v0");
        pair
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

/// Moves this thread, and the processes that it will start, into a namespace.
pub(crate) fn enter(netns: &str) {
    let file = File::open(format!("/run/netns/{netns}")).expect("the namespace was just made");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter its namespaces");
}

pub(crate) fn index_of(name: &str) -> u32 {
    let any = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap();
    rustix::net::netdevice::name_to_index(any, name).unwrap()
}

/// Runs `ip` with these words; it must succeed.
pub(crate) fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("iproute2 is installed");
    assert!(
        output.status.success(),
        "`ip {words}` failed (these tests need root): {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An `AF_XDP` socket with a receive ring and nothing else: enough for the program's map to take it.
pub(crate) fn receiving_socket() -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None).expect("root may open AF_XDP sockets");
    rustix::net::sockopt::set_xdp_rx_ring_size(&socket, 64).unwrap();
    socket
}
