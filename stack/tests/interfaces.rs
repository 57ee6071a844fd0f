//! One stack on two veth pairs, with the kernel as its peer on both. Needs root; `--features veth` turns it on.

mod common;

use common::veth::{connect, enter, exchange, ip, start_in};
use common::{Echo, stretch};
use corelane::config::{Builder, Config, Mode, Sharing, Strategy};
use corelane::{App, Conn, Core, Error, Rx, Stack, StopHandle, Summary};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Of each link: the kernel's address on our end, the stack's own there, the peer's.
const KERNELS: [&str; 2] = ["10.78.1.2", "10.78.2.2"];
const OWN: [&str; 2] = ["10.78.1.10", "10.78.2.10"];
const PEERS: [&str; 2] = ["10.78.1.1", "10.78.2.1"];
/// An address of the peer's that is reached by whichever link the routes say.
const BEHIND: &str = "10.79.0.1";

/// Our namespace and the peer's, joined by two pairs: veth0 and veth1 here, peer0 and peer1 there.
struct World {
    ours: String,
    theirs: String,
}

impl World {
    fn new(name: &str) -> Self {
        let id = std::process::id();
        let world = Self { ours: format!("clt-{name}-{id}-a"), theirs: format!("clt-{name}-{id}-b") };
        let Self { ours, theirs } = &world;
        ip(&format!("netns add {ours}"));
        ip(&format!("netns add {theirs}"));
        for at in 0..2 {
            ip(&format!("link add veth{at} netns {ours} type veth peer name peer{at} netns {theirs}"));
            ip(&format!("-n {ours} addr add {}/24 dev veth{at}", KERNELS[at]));
            ip(&format!("-n {theirs} addr add {}/24 dev peer{at}", PEERS[at]));
            ip(&format!("-n {ours} link set veth{at} up"));
            ip(&format!("-n {theirs} link set peer{at} up"));
            // The kernel's end would send TCP with an unfinished checksum.
            world.run(theirs, &["ethtool", "-K", &format!("peer{at}"), "tx", "off"]);
        }
        ip(&format!("-n {theirs} link set lo up"));
        ip(&format!("-n {theirs} addr add {BEHIND}/32 dev lo"));
        ip(&format!("-n {ours} route add {BEHIND} via {}", PEERS[0]));
        world
    }

    fn run(&self, namespace: &str, command: &[&str]) {
        let done = Command::new("ip").args(["netns", "exec", namespace]).args(command).output().unwrap();
        assert!(done.status.success(), "{command:?}: {done:?}");
    }

    fn config() -> Builder {
        Config::builder()
            .interface("veth0")
            .mode(Mode::Copy)
            .another_interface("veth1")
            .mode(Mode::Copy)
            .waiting(Strategy::Adaptive)
            .set("limits.connections", 1000)
            .set("memory.frame_count", 4096)
            .set("memory.fill_ring", 2048)
            .set("memory.tx_ring", 1024)
            .set("tcp.rto_min_ms", 50)
    }

    /// With an address of the stack's own on each link.
    fn own() -> Config {
        let address = |at: usize| vec![format!("{}/24", OWN[at])];
        Self::config().set("interface.address", address(0)).set("interface[1].address", address(1)).build().unwrap()
    }

    /// With the kernel's addresses.
    fn shared() -> Config {
        let shared = Sharing::Shared.to_string();
        Self::config().set("interface.sharing", shared.clone()).set("interface[1].sharing", shared).build().unwrap()
    }

    fn start(&self, config: Config) -> (StopHandle, JoinHandle<Result<Summary, Error>>) {
        start_in(&self.ours, config, |builder| builder, |_| Echo::default())
    }

    /// Whether a program is on an interface of ours.
    fn has_program(&self, interface: &str) -> bool {
        let shown = Command::new("ip").args(["-n", &self.ours, "link", "show", interface]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).contains("xdp")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in [&self.ours, &self.theirs] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn stopped((stop, stack): (StopHandle, JoinHandle<Result<Summary, Error>>)) -> Summary {
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    assert!(summary.all_frames_accounted_for(), "{summary}");
    summary
}

fn request(stream: &mut TcpStream, number: u64) {
    let sent = stretch(number * 1009, 500);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&sent).unwrap();
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == sent, "request {number}: other bytes came back");
}

/// Packets that the peer's end of a link has received.
fn received(world: &World, at: usize) -> u64 {
    let path = format!("/sys/class/net/peer{at}/statistics/rx_packets");
    let shown = Command::new("ip").args(["netns", "exec", &world.theirs, "cat", &path]).output().unwrap();
    String::from_utf8_lossy(&shown.stdout).trim().parse().unwrap()
}

#[test]
fn clients_on_both_links_are_served_at_once_each_over_its_own() {
    let world = World::new("both");
    let running = world.start(World::own());
    enter(&world.theirs);
    std::thread::scope(|scope| {
        for to in OWN {
            for _ in 0..4 {
                scope.spawn(move || exchange(connect(&format!("{to}:7")), 300_000));
            }
        }
    });
    for to in OWN {
        world.run(&world.theirs, &["ping", "-c", "1", "-W", "2", to]);
    }
    for to in KERNELS {
        world.run(&world.theirs, &["ping", "-c", "1", "-W", "2", to]);
    }
    let summary = stopped(running);
    assert_eq!(summary.interfaces.iter().map(|each| each.name.as_str()).collect::<Vec<_>>(), ["veth0", "veth1"]);
    for each in &summary.interfaces {
        assert!(each.device["rx_bytes"] > 1_200_000 && each.device["tx_bytes"] > 1_200_000, "{}\n{summary}", each.name);
        assert!(each.steering["redirected_own_tcp"] > 0, "{summary}");
    }
    for turns in summary.workers.iter().map(|worker| &worker.turns) {
        assert_eq!((turns["tx_copied"], turns["dropped_no_copy"]), (0, 0), "each goes by its own link: {summary}");
    }
    assert_eq!(summary.protocol()["opened_passive"], 8, "{summary}");
    assert!(!world.has_program("veth0") && !world.has_program("veth1"));
}

/// Opens connections over both links, sends one message on each and stops its core when all have come back.
struct Caller {
    left: usize,
}

/// How many each worker opens over each link.
const CALLS: usize = 40;

impl App for Caller {
    type State = Vec<u8>;

    fn on_start(&mut self, core: &mut Core<'_, Vec<u8>>) -> Result<(), Error> {
        for peer in PEERS {
            let to: SocketAddr = format!("{peer}:9000").parse().unwrap();
            (0..CALLS).try_for_each(|_| core.connect(to, Vec::new()).map(drop))?;
        }
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) -> Vec<u8> {
        unreachable!("nobody listens")
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, _: &mut Vec<u8>) {
        assert_eq!(conn.send_copy(&stretch(0, 1000)), 1000);
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, got: &mut Vec<u8>, rx: &mut Rx<'_>) {
        got.extend_from_slice(rx.bytes());
        if got.len() == 1000 {
            assert!(*got == stretch(0, 1000), "other bytes came back");
            self.left -= 1;
            conn.close();
        }
    }

    fn on_turn(&mut self, core: &mut Core<'_, Vec<u8>>) -> Option<corelane::Instant> {
        if self.left == 0 && core.connections() == 0 {
            core.stop();
        }
        None
    }
}

#[test]
fn each_of_two_workers_connects_over_both_links_from_the_address_of_each() {
    for sockets in ["all", "one"] {
        let world = World::new(&format!("call-{sockets}"));
        enter(&world.theirs);
        let listeners = PEERS.map(|peer| TcpListener::bind((peer, 9000)).unwrap());
        let servers = listeners.map(|listener| {
            std::thread::spawn(move || {
                let serve = |_| {
                    let (mut stream, from) = listener.accept().unwrap();
                    let mut bytes = [0; 1000];
                    stream.read_exact(&mut bytes).unwrap();
                    stream.write_all(&bytes).unwrap();
                    from.ip().to_string()
                };
                (0..2 * CALLS).map(serve).collect::<Vec<_>>()
            })
        });
        let config = World::own().into_builder().set("cores.workers", 2).set("cores.pin", false);
        let config = config.set("interface.sockets_per_queue", sockets);
        let config = config.set("interface[1].sockets_per_queue", sockets).build().unwrap();
        let (_, stack) = start_in(&world.ours, config, |builder| builder, |_| Caller { left: 2 * CALLS });
        let summary = stack.join().unwrap().unwrap();
        for (server, own) in servers.into_iter().zip(OWN) {
            let from = server.join().unwrap();
            assert!(from.iter().all(|from| from == own), "{own}: {from:?}");
        }
        assert!(summary.all_frames_accounted_for(), "{summary}");
        assert_eq!(summary.workers.len(), 2, "{summary}");
        for worker in &summary.workers {
            assert_eq!(worker.protocol["opened_active"], 2 * CALLS as u64, "{summary}");
            assert!(worker.by_interface.iter().all(|device| device["tx_frames"] > 0), "{sockets}: {summary}");
        }
    }
}

#[test]
fn two_workers_serve_clients_on_both_links() {
    for sockets in ["all", "one"] {
        let world = World::new(&format!("two-{sockets}"));
        let config = World::own().into_builder().set("cores.workers", 2).set("cores.pin", false);
        let config = config.set("interface.sockets_per_queue", sockets);
        let running = world.start(config.set("interface[1].sockets_per_queue", sockets).build().unwrap());
        enter(&world.theirs);
        std::thread::scope(|scope| {
            for to in OWN {
                scope.spawn(move || (0..40).for_each(|_| exchange(connect(&format!("{to}:7")), 20_000)));
            }
        });
        let summary = stopped(running);
        assert_eq!(summary.protocol()["opened_passive"], 80, "{summary}");
        for worker in &summary.workers {
            // Of eighty connections each has some on either, but for one chance in 10^11.
            assert!(worker.protocol["opened_passive"] > 0, "{sockets}: {summary}");
            assert!(worker.by_interface.iter().all(|device| device["tx_frames"] > 0), "{sockets}: {summary}");
            assert_eq!(worker.turns["dropped_hand_over"], 0, "{sockets}: {summary}");
        }
    }
}

#[test]
fn a_route_that_moves_takes_the_connection_to_the_other_link() {
    let world = World::new("move");
    let running = world.start(World::shared());
    enter(&world.theirs);
    // From the address that both links lead to.
    ip(&format!("-n {} route change 10.78.1.0/24 dev peer0 src {BEHIND}", world.theirs));
    let mut stream = connect(&format!("{}:7", KERNELS[0]));
    assert_eq!(stream.local_addr().unwrap().ip().to_string(), BEHIND);
    (0..20).for_each(|number| request(&mut stream, number));
    let before = [received(&world, 0), received(&world, 1)];
    assert!(before[0] >= 20, "{before:?}");
    ip(&format!("-n {} route replace {BEHIND} via {}", world.ours, PEERS[1]));
    // What is told of a change is a matter of milliseconds.
    let end = Instant::now() + Duration::from_secs(20);
    let mut number = 20;
    while received(&world, 1) < before[1] + 20 {
        assert!(Instant::now() < end, "nothing goes by the other link");
        request(&mut stream, number);
        number += 1;
    }
    // And back, while it was there.
    ip(&format!("-n {} route replace {BEHIND} via {}", world.ours, PEERS[0]));
    let after = received(&world, 0);
    while received(&world, 0) < after + 20 {
        assert!(Instant::now() < end, "nothing comes back to the first link");
        request(&mut stream, number);
        number += 1;
    }
    drop(stream);
    let summary = stopped(running);
    assert_eq!(summary.endings()["finished"], 1, "{summary}");
    assert!(summary.interfaces.iter().all(|each| each.device["tx_frames"] > 0), "{summary}");
}

#[test]
fn one_link_goes_down_and_the_other_serves() {
    let world = World::new("down");
    let running = world.start(World::own());
    enter(&world.theirs);
    let mut streams = OWN.map(|to| connect(&format!("{to}:7")));
    streams.iter_mut().for_each(|stream| request(stream, 1));
    ip(&format!("-n {} link set veth1 down", world.ours));
    (2..30).for_each(|number| request(&mut streams[0], number));
    exchange(connect(&format!("{}:7", OWN[0])), 100_000);
    ip(&format!("-n {} link set veth1 up", world.ours));
    streams.iter_mut().for_each(|stream| request(stream, 40));
    drop(streams);
    let summary = stopped(running);
    assert_eq!(summary.endings()["finished"], 3, "{summary}");
}

/// In a child's environment, the namespace to serve in.
const CHILD: &str = "CORELANE_TEST_SERVES_IN";

#[test]
fn kill_9_leaves_nothing_on_either() {
    if let Ok(namespace) = std::env::var(CHILD) {
        enter(&namespace);
        Stack::builder(World::own()).run(|_| Echo::default()).unwrap();
        return;
    }
    let world = World::new("kill");
    let this = std::env::current_exe().unwrap();
    let child = Command::new(this).args(["--exact", "kill_9_leaves_nothing_on_either"]).env(CHILD, &world.ours).spawn();
    let mut child = child.unwrap();
    enter(&world.theirs);
    let kept = OWN.map(|to| {
        exchange(connect(&format!("{to}:7")), 1000);
        connect(&format!("{to}:7"))
    });
    assert!(world.has_program("veth0") && world.has_program("veth1"));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(kept);
    let end = Instant::now() + Duration::from_secs(10);
    while world.has_program("veth0") || world.has_program("veth1") {
        assert!(Instant::now() < end, "a program stays");
        std::thread::yield_now();
    }
    // And the next start finds both free.
    let running = world.start(World::own());
    OWN.iter().for_each(|to| exchange(connect(&format!("{to}:7")), 1000));
    stopped(running);
}

#[test]
fn a_stack_on_two_neither_hands_over_nor_takes_over() {
    let world = World::new("hand");
    let socket = std::env::temp_dir().join(format!("corelane-{}.sock", world.ours));
    let path = socket.to_str().unwrap();
    let config = World::own().into_builder().set("control.socket", path).build().unwrap();
    let refused = config.clone().into_builder().set("control.takeover", true).build().unwrap_err();
    assert!(refused.to_string().contains("a stack on several interfaces cannot take over"), "{refused}");
    let running = world.start(config);
    enter(&world.theirs);
    OWN.iter().for_each(|to| exchange(connect(&format!("{to}:7")), 1000));
    let one = Config::builder().interface("veth0").address(&format!("{}/24", OWN[0])).mode(Mode::Copy);
    let one = one.set("control.socket", path).set("control.takeover", true).build().unwrap();
    let (_, stack) = world.start(one);
    let error = stack.join().unwrap().unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(error.to_string().contains("does not hand over: it serves several interfaces"), "{error}");
    // It goes on.
    OWN.iter().for_each(|to| exchange(connect(&format!("{to}:7")), 1000));
    stopped(running);
}

#[test]
fn what_cannot_be_attached_on_one_leaves_nothing_on_the_other() {
    let world = World::new("half");
    // veth1 has a program of somebody else's already.
    let other =
        world.start(Config::builder().interface("veth1").address("10.78.2.11/24").mode(Mode::Copy).build().unwrap());
    enter(&world.theirs);
    exchange(connect("10.78.2.11:7"), 64);
    let (_, stack) = world.start(World::own());
    let error = stack.join().unwrap().unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(error.to_string().contains("veth1"), "it names the interface: {error}");
    assert!(!world.has_program("veth0"), "nothing stays on the first");
    exchange(connect("10.78.2.11:7"), 64);
    stopped(other);
}
