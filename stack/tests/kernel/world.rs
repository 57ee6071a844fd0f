//! Three network namespaces in a row: our stack, the wire, the kernel's sockets.

use crate::ours::Ours;
use crate::wire::Wire;
use corelane::config::{Builder, Config, Mode, Strategy};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The kernel's address.
pub(crate) const KERNEL: &str = "10.79.0.1";
/// The stack's own address.
pub(crate) const OWN: &str = "10.79.0.10";

/// What a busy machine may take for anything that should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The namespaces of one test, and what joins them. Gone when dropped, also by a panic.
pub(crate) struct World {
    pub(crate) wire: Wire,
    names: Names,
}

struct Names([String; 3]);

impl Drop for Names {
    fn drop(&mut self) {
        for name in &self.0 {
            // Nobody is left to tell.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

fn run(program: &str, arguments: &str) -> String {
    let ended = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    assert!(ended.status.success(), "{program} {arguments}: {ended:?}");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// Moves the calling thread; those that it starts follow.
pub(crate) fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

impl World {
    /// The calling thread moves to the kernel's end: the sockets that it makes are there.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("clk-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let names = Names(["ours", "wire", "kernel"].map(|end| format!("{prefix}-{end}")));
        let [ours, wire, kernel] = &names.0;
        for name in &names.0 {
            run("ip", &format!("netns add {name}"));
            run("ip", &format!("netns exec {name} sysctl -qw net.ipv6.conf.default.disable_ipv6=1"));
        }
        for (end, name, inner) in [(ours, "veth0", "left"), (kernel, "veth1", "right")] {
            run("ip", &format!("link add {name} netns {end} type veth peer name {inner} netns {wire}"));
            run("ip", &format!("-n {wire} link set {inner} up"));
            run("ip", &format!("-n {end} link set {name} up"));
            // The kernel would send TCP with an unfinished checksum, and segments longer than the wire takes.
            run("ip", &format!("netns exec {end} ethtool -K {name} tx off"));
        }
        run("ip", &format!("-n {kernel} addr add {KERNEL}/24 dev veth1"));
        // Spoofed senders are answered too.
        run("ip", &format!("-n {kernel} route add default dev veth1"));
        let wire = Wire::start(wire);
        enter(kernel);
        Self { wire, names }
    }

    /// The stack's settings, for a test to change.
    pub(crate) fn config() -> Builder {
        Config::builder()
            // The wire holds packets for longer than a probe of the tail would wait, and the tests count what goes.
            .set("tcp.tail_loss_probe", false)
            .interface("veth0")
            .address(&format!("{OWN}/24"))
            .mode(Mode::Copy)
            .waiting(Strategy::Adaptive)
            // Many tests share few cores.
            .set("cores.pin", false)
            .set("waiting.spin_us", 20)
            .set("limits.connections", 64)
            .set("memory.frame_count", 4096)
            .set("memory.fill_ring", 2048)
            .set("memory.tx_ring", 1024)
    }

    /// Starts our stack with the usual settings.
    pub(crate) fn start(&self) -> Ours<'_> {
        self.start_with(Self::config())
    }

    /// Starts our stack.
    pub(crate) fn start_with(&self, config: Builder) -> Ours<'_> {
        Ours::start(&self.names.0[0], config.build().unwrap(), &self.wire)
    }

    /// Sets a `net.ipv4` setting of the kernel's end.
    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        run("ip", &format!("netns exec {} sysctl -qw net.ipv4.{name}={value}", self.names.0[2]));
    }

    /// Changes a route of the kernel's end.
    pub(crate) fn route(&self, arguments: &str) {
        self.ip(&format!("route {arguments}"));
    }

    /// `ip` at the kernel's end.
    pub(crate) fn ip(&self, arguments: &str) {
        run("ip", &format!("-n {} {arguments}", self.names.0[2]));
    }

    /// The kernel's TCP sockets, one a line, by `ss`.
    pub(crate) fn sockets(&self) -> String {
        run("ip", &format!("netns exec {} ss -Htano", self.names.0[2]))
    }

    /// Waits until a line of [`sockets`](Self::sockets) has all of `words`; gives the line.
    #[track_caller]
    pub(crate) fn socket_with(&self, words: &[&str]) -> String {
        let end = Instant::now() + SOON;
        loop {
            let sockets = self.sockets();
            if let Some(line) = sockets.lines().find(|line| words.iter().all(|word| line.contains(word))) {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "no socket of the kernel with {words:?}:\n{sockets}{}", self.wire.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A listener of the kernel.
pub(crate) fn kernel_listener(port: u16) -> TcpListener {
    TcpListener::bind((KERNEL, port)).unwrap()
}

/// A connection of the kernel to our stack, which listens on `port`. It gives up instead of hanging.
#[track_caller]
pub(crate) fn kernel_connect(port: u16) -> TcpStream {
    let to: SocketAddr = format!("{OWN}:{port}").parse().unwrap();
    patient(TcpStream::connect_timeout(&to, SOON).unwrap())
}

/// A connection of the kernel from a chosen port.
#[track_caller]
pub(crate) fn kernel_connect_from(local: u16, port: u16) -> TcpStream {
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseaddr(&fd, true).unwrap();
    bind(&fd, &format!("{KERNEL}:{local}").parse::<SocketAddr>().unwrap()).unwrap();
    connect(&fd, &format!("{OWN}:{port}").parse::<SocketAddr>().unwrap()).unwrap();
    patient(fd.into())
}

/// A socket that gives up instead of hanging.
pub(crate) fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
