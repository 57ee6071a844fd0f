//! Two network namespaces joined by a veth pair, and what runs in them.

use crate::process::{Ended, Running, run};
use corelane_bpf::ProgramInfo;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The kernel's address at the client's end.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The kernel's address at the server's end.
pub(crate) const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Corelane's own address at the server's end.
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);
/// The interface at the server's end.
pub(crate) const SERVER_IF: &str = "server0";

/// The binary under test.
pub(crate) const BENCH: &str = env!("CARGO_BIN_EXE_corelane-bench");

/// Says how a test goes: [`tell`] with a format.
macro_rules! say {
    ($($words:tt)*) => { $crate::world::tell(&format!($($words)*)) };
}
pub(crate) use say;

/// Writes a line past libtest's capture: the figures are wanted when all is well too.
pub(crate) fn tell(text: &str) {
    // A closed pipe is the reader's wish.
    let _ = writeln!(std::io::stderr(), "    {text}");
}

/// A pair of namespaces, taken down when dropped, also by a panic.
pub(crate) struct World {
    prefix: String,
}

impl World {
    /// One queue at each end.
    pub(crate) fn new() -> Self {
        Self::with_queues(1)
    }

    /// `queues` queues at each end.
    pub(crate) fn with_queues(queues: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let world = Self { prefix: format!("corelane-suite-{}-{number}", std::process::id()) };
        world.script(&["up", "--queues", &queues.to_string()]);
        world
    }

    fn script(&self, arguments: &[&str]) {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/veth"));
        command.args(["--prefix", &self.prefix]).args(arguments);
        let ended = run(&mut command, Duration::from_secs(20));
        assert_eq!(ended.code, Some(0), "scripts/veth {arguments:?}: {ended}");
    }

    fn namespace(&self, end: End) -> String {
        format!("{}-{}", self.prefix, end.name())
    }

    /// A command in one of the namespaces. It has the process id of what it runs.
    pub(crate) fn command(&self, end: End, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(end), program]).args(arguments);
        command
    }

    /// Runs a command in one of the namespaces to its end, which has to come within `limit`.
    pub(crate) fn run(&self, end: End, limit: Duration, program: &str, arguments: &[&str]) -> Ended {
        run(&mut self.command(end, program, arguments), limit)
    }

    /// `ip` in one of the namespaces.
    pub(crate) fn ip(&self, end: End, arguments: &str) -> String {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let ended = self.run(end, Duration::from_secs(5), "ip", &arguments);
        assert_eq!(ended.code, Some(0), "ip {arguments:?}: {ended}");
        ended.stdout
    }

    /// Runs `work` on a thread that lives in one of the namespaces.
    pub(crate) fn inside<T: Send>(&self, end: End, work: impl FnOnce() -> T + Send) -> T {
        let namespace = self.namespace(end);
        let moved = move || {
            enter(&namespace);
            work()
        };
        std::thread::scope(|scope| match scope.spawn(moved).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Starts `corelane-bench serve` on Corelane, with `more` arguments, and waits until it listens.
    pub(crate) fn serve(&self, workload: &str, port: u16, more: &[&str]) -> Running {
        let port = port.to_string();
        let mut arguments = vec!["--workload", workload, "--port", &port, "--json"];
        arguments.extend(more);
        self.start_server(End::Server, &own_arguments("serve", &arguments))
    }

    /// Starts `corelane-bench serve` on the kernel's sockets, at the client's end.
    pub(crate) fn serve_with_kernel(&self, workload: &str, port: u16) -> Running {
        let (address, port) = (CLIENT.to_string(), port.to_string());
        let mut arguments = vec!["serve", "--transport", "kernel", "--workload", workload, "--port", &port];
        arguments.extend(["--address", &address, "--json"]);
        self.start_server(End::Client, &arguments)
    }

    fn start_server(&self, end: End, arguments: &[&str]) -> Running {
        let mut server = Running::start(&mut self.command(end, BENCH, arguments));
        server.wait_until("listening on", Duration::from_secs(5));
        server
    }

    /// The XDP program on the server's interface.
    pub(crate) fn program(&self) -> Option<ProgramInfo> {
        let index = self.interface_index();
        self.inside(End::Server, || corelane_bpf::program_on(index).expect("the interface can be asked"))
    }

    /// Fails unless the server's interface is without XDP program, by our own question and by iproute2's.
    pub(crate) fn expect_no_program(&self, when: &str) {
        let left = self.program();
        assert!(left.is_none(), "{when}: {left:?} is left on {SERVER_IF}");
        let link = self.link();
        assert!(link.get("xdp").is_none(), "{when}: {link}");
    }

    /// The server's interface by `ip -j link show`.
    pub(crate) fn link(&self) -> serde_json::Value {
        let text = self.ip(End::Server, &format!("-j link show dev {SERVER_IF}"));
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON of ip")[0].take()
    }

    /// Of the server's interface, within its namespace.
    pub(crate) fn interface_index(&self) -> u32 {
        self.link()["ifindex"].as_u64().and_then(|index| u32::try_from(index).ok()).expect("an interface index")
    }

    /// The congestion control of the kernel's end: figures mean little without it.
    pub(crate) fn congestion_control(&self) -> String {
        let path = "/proc/sys/net/ipv4/tcp_congestion_control";
        self.inside(End::Client, || std::fs::read_to_string(path).expect("it can be read")).trim().to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/veth"));
        command.args(["--prefix", &self.prefix, "down"]);
        let ended = run(&mut command, Duration::from_secs(20));
        if ended.code != Some(0) || !ended.stderr.is_empty() {
            say!("scripts/veth down: {ended}");
        }
    }
}

/// One of the two namespaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The kernel alone.
    Client,
    /// Where Corelane runs.
    Server,
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Moves the calling thread.
fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).expect("the namespace is there");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("it can be entered");
}

/// The arguments of `command` on Corelane.
pub(crate) fn own_arguments<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments =
        vec![command, "--transport", "corelane", "--interface", SERVER_IF, "--address", "10.77.0.10/24"];
    arguments.extend(more);
    arguments
}

/// A connection that gives up instead of hanging.
pub(crate) fn connect(address: impl Into<SocketAddr>) -> std::io::Result<TcpStream> {
    let limit = Duration::from_secs(10);
    let stream = TcpStream::connect_timeout(&address.into(), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks until it is so, at most for `limit`; says how long that took.
pub(crate) fn wait_for(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}
