//! Two network namespaces joined by a veth pair, and a mirror of our end.

use corelane::Addr;
use corelane::steer::mirror::{Change, Mirror};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What a busy machine may take for anything that should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The namespaces; gone when dropped, also by a panic.
pub(crate) struct World {
    pub(crate) ours: String,
    pub(crate) theirs: String,
}

impl World {
    /// Ours has veth0 with 10.80.0.1/24, theirs veth1 with 10.80.0.2/24, and the calling thread moves to ours.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("clb-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let world = Self { ours: format!("{prefix}-ours"), theirs: format!("{prefix}-theirs") };
        let Self { ours, theirs } = &world;
        ip(&format!("netns add {ours}"));
        ip(&format!("netns add {theirs}"));
        ip(&format!("link add veth0 netns {ours} type veth peer name veth1 netns {theirs}"));
        for (end, link, addr) in [(ours, "veth0", "10.80.0.1"), (theirs, "veth1", "10.80.0.2")] {
            // Addresses are there at once, without asking whether somebody else has them.
            run("ip", &format!("netns exec {end} sysctl -qw net.ipv6.conf.{link}.accept_dad=0"));
            ip(&format!("-n {end} link set lo up"));
            ip(&format!("-n {end} addr add {addr}/24 dev {link}"));
            ip(&format!("-n {end} link set {link} up"));
        }
        enter(ours);
        world
    }

    /// `ip` at our end.
    pub(crate) fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.ours));
    }

    /// `ip` at the other end.
    pub(crate) fn their_ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.theirs));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in [&self.ours, &self.theirs] {
            // Nobody is left to tell.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

pub(crate) fn run(program: &str, arguments: &str) -> String {
    let ended = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    assert!(ended.status.success(), "{program} {arguments}: {ended:?}");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

fn ip(arguments: &str) {
    run("ip", arguments);
}

/// Moves the calling thread.
pub(crate) fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

pub(crate) fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// A mirror and everything that it has told.
pub(crate) struct Watched {
    pub(crate) mirror: Mirror,
    pub(crate) told: Vec<Change>,
}

impl Watched {
    /// A mirror of our end, once it has told what there is at the start.
    pub(crate) fn new() -> Self {
        let mut watched = Self { mirror: Mirror::open("veth0").unwrap(), told: Vec::new() };
        watched.quiet();
        watched.told.clear();
        watched
    }

    /// Waits until something for which `is` holds is told; gives it and forgets what came before.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, is: impl Fn(&Change) -> bool) -> Change {
        let end = Instant::now() + SOON;
        loop {
            if let Some(at) = self.told.iter().position(&is) {
                return self.told.drain(..=at).next_back().unwrap();
            }
            assert!(Instant::now() < end, "{what} is not told: {:?}", self.told);
            self.mirror.poll(Duration::from_millis(100), &mut self.told).unwrap();
        }
    }

    /// Waits until nothing has been told for a while.
    pub(crate) fn quiet(&mut self) {
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_millis(300) {
            let before = self.told.len();
            self.mirror.poll(Duration::from_millis(50), &mut self.told).unwrap();
            if self.told.len() > before {
                since = Instant::now();
            }
        }
    }
}
