//! A whole stack in a network namespace, and the kernel at the other end of a veth pair.

use super::stretch;
use corelane::config::{Config, Mode, Strategy};
use corelane::runtime::Builder;
use corelane::{App, Error, Stack, StopHandle, Summary};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Two network namespaces joined by a veth pair; gone when dropped.
pub(crate) struct Link {
    pub(crate) ours: String,
    pub(crate) theirs: String,
}

/// The kernel's address on its end, and the stack's own on ours.
pub(crate) const KERNEL: &str = "10.78.0.1";
pub(crate) const OWN: &str = "10.78.0.10";

pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

impl Link {
    pub(crate) fn new(name: &str, queues: u32) -> Self {
        let id = std::process::id();
        let link = Self { ours: format!("clt-{name}-{id}-a"), theirs: format!("clt-{name}-{id}-b") };
        let Self { ours, theirs } = &link;
        ip(&format!("netns add {ours}"));
        ip(&format!("netns add {theirs}"));
        ip(&format!(
            "link add veth0 netns {ours} numrxqueues {queues} numtxqueues {queues} type veth \
             peer name veth1 netns {theirs} numrxqueues {queues} numtxqueues {queues}"
        ));
        ip(&format!("-n {ours} addr add 10.78.0.2/24 dev veth0"));
        ip(&format!("-n {theirs} addr add {KERNEL}/24 dev veth1"));
        ip(&format!("-n {ours} link set veth0 up"));
        ip(&format!("-n {theirs} link set veth1 up"));
        // The kernel's end would send TCP with an unfinished checksum.
        let off =
            Command::new("ip").args(["netns", "exec", theirs, "ethtool", "-K", "veth1", "tx", "off"]).output().unwrap();
        assert!(off.status.success(), "{off:?}");
        link
    }

    pub(crate) fn config(&self) -> corelane::config::Builder {
        Config::builder()
            .interface("veth0")
            .address(&format!("{OWN}/24"))
            .mode(Mode::Copy)
            .waiting(Strategy::Adaptive)
            .set("limits.connections", 1000)
            .set("memory.frame_count", 4096)
            .set("memory.fill_ring", 2048)
            .set("memory.tx_ring", 1024)
            .set("tcp.rto_min_ms", 50)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for name in [&self.ours, &self.theirs] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// Moves the calling thread; those that it starts follow.
pub(crate) fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// Runs a stack in our namespace, on a thread of its own.
pub(crate) fn start<A: App>(
    link: &Link,
    config: Config,
    make_app: impl Fn(usize) -> A + Send + Sync + 'static,
) -> (StopHandle, JoinHandle<Result<Summary, Error>>) {
    start_with(link, config, |builder| builder, make_app)
}

/// The same with a builder that `change` changes.
pub(crate) fn start_with<A: App>(
    link: &Link,
    config: Config,
    change: impl FnOnce(Builder) -> Builder,
    make_app: impl Fn(usize) -> A + Send + Sync + 'static,
) -> (StopHandle, JoinHandle<Result<Summary, Error>>) {
    start_in(&link.ours, config, change, make_app)
}

/// The same in a namespace by its name.
pub(crate) fn start_in<A: App>(
    namespace: &str,
    config: Config,
    change: impl FnOnce(Builder) -> Builder,
    make_app: impl Fn(usize) -> A + Send + Sync + 'static,
) -> (StopHandle, JoinHandle<Result<Summary, Error>>) {
    let stop = StopHandle::new();
    let builder = change(Stack::builder(config).stop_handle(&stop).signals(false));
    let namespace = namespace.to_owned();
    let thread = std::thread::spawn(move || {
        enter(&namespace);
        builder.run(make_app)
    });
    (stop, thread)
}

/// Connects from the kernel's side, for as long as the stack is not up yet.
pub(crate) fn connect(to: &str) -> TcpStream {
    let to: SocketAddr = to.parse().unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match TcpStream::connect_timeout(&to, Duration::from_millis(500)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "{to}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends `len` bytes of the pattern and checks that they come back.
pub(crate) fn exchange(mut stream: TcpStream, len: usize) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(&stretch(0, len)).unwrap());
    let mut back = vec![0; len];
    stream.read_exact(&mut back).unwrap();
    sender.join().unwrap();
    assert!(back == stretch(0, len), "the bytes came back changed");
}
