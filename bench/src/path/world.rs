//! Three network namespaces in a row, sender, path and receiver, joined by two veth pairs.
//!
//! They have no names: each lasts as long as something holds its descriptor, and goes with the process however that
//! ends. There is nothing to clean up, not even after SIGKILL.
//!
//! ```text
//!   sender              path                receiver
//!   send0 ---------- left   right ---------- recv0
//!   10.88.0.1 kernel                         10.88.0.2 kernel
//!   10.88.0.10 Corelane
//! ```

use crate::failure::Failure;
use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};

/// The kernel's address at the sender's end.
pub const SENDER: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
/// Corelane's address at the sender's end.
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 10);
/// The receiver's address.
pub const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
/// The interface of the sender.
pub const SENDER_IF: &str = "send0";
/// The interface of the receiver.
const RECEIVER_IF: &str = "recv0";
/// The two interfaces between which the emulator stands: towards the sender, towards the receiver.
pub const INNER: [&str; 2] = ["left", "right"];

/// What the sockets of either end may hold, bytes: more than any path here needs.
const BUFFER_MAX: u32 = 16 << 20;

/// A network namespace.
#[derive(Debug)]
pub struct Space(File);

impl Space {
    /// A new one, with nothing in it but `lo`, which is down.
    pub(crate) fn new() -> Result<Self, Failure> {
        let make = || -> std::io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        };
        // On a thread of its own, since the caller stays where it is.
        on_thread(make)?.map(Self).map_err(|error| {
            Failure::Machine(format!("a network namespace cannot be made: {error}; run as root (CAP_SYS_ADMIN)"))
        })
    }

    /// Where the calling thread is.
    pub(crate) fn here() -> Result<Self, Failure> {
        File::open("/proc/thread-self/ns/net")
            .map(Self)
            .map_err(|error| Failure::Machine(format!("/proc/thread-self/ns/net cannot be opened: {error}")))
    }

    /// Moves the calling thread here; threads and processes that it starts from now on are here too.
    pub fn enter(&self) -> Result<(), Failure> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| Failure::Machine(format!("a network namespace cannot be entered: {error}")))
    }

    /// Runs `work` on a thread that lives here.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
        on_thread(|| self.enter().and_then(|()| work()))?
    }

    /// How other processes name it, as long as this one lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .map_err(|_| Failure::Machine("a thread of the path panicked".to_owned()))
}

/// The three of them, with links up and neighbours known.
#[derive(Debug)]
pub struct World {
    /// Where both senders are.
    pub sender: Space,
    /// Where the emulator is.
    pub path: Space,
    /// Where the receiver is.
    pub receiver: Space,
}

impl World {
    /// Makes them.
    pub fn new() -> Result<Self, Failure> {
        let world = Self { sender: Space::new()?, path: Space::new()?, receiver: Space::new()? };
        let ends = [(&world.sender, SENDER_IF, SENDER), (&world.receiver, RECEIVER_IF, RECEIVER)];
        for space in [&world.sender, &world.path, &world.receiver] {
            space.inside(quiet)?;
        }
        for ((space, name, address), inner) in ends.into_iter().zip(INNER) {
            let path = world.path.path();
            space.inside(|| {
                run(&format!("ip link add {name} type veth peer name {inner} netns {path}"))?;
                run(&format!("ip address add {address}/24 dev {name}"))?;
                run("ip link set lo up")
            })?;
            world.path.inside(|| up(inner))?;
            space.inside(|| up(name))?;
        }
        let (sender, receiver) = (mac(&world.sender, SENDER_IF)?, mac(&world.receiver, RECEIVER_IF)?);
        let neighbour = |address: Ipv4Addr, mac: &str, name: &str| {
            run(&format!("ip neighbour replace {address} lladdr {mac} dev {name} nud permanent"))
        };
        world.sender.inside(|| neighbour(RECEIVER, &receiver, SENDER_IF))?;
        world.receiver.inside(|| {
            neighbour(SENDER, &sender, RECEIVER_IF)?;
            neighbour(OWN, &sender, RECEIVER_IF)
        })?;
        Ok(world)
    }
}

/// Nothing but TCP of the transfers is to be under way, and no transfer is to learn from an earlier one.
fn quiet() -> Result<(), Failure> {
    // A kernel without IPv6 has nothing to be switched off.
    let _ = set("net/ipv6/conf/default/disable_ipv6", "1");
    let _ = set("net/ipv6/conf/all/disable_ipv6", "1");
    set("net/ipv4/tcp_no_metrics_save", "1")?;
    set("net/ipv4/tcp_rmem", &format!("4096 131072 {BUFFER_MAX}"))?;
    set("net/ipv4/tcp_wmem", &format!("4096 131072 {BUFFER_MAX}"))
}

/// The files of `/proc/sys/net` are those of the thread that opens them.
fn set(name: &str, value: &str) -> Result<(), Failure> {
    let path = format!("/proc/sys/{name}");
    std::fs::write(&path, value).map_err(|error| Failure::Machine(format!("{path} cannot be set: {error}")))
}

/// Brings up an interface on which each frame is what would be on a wire: the kernel would send TCP with unfinished
/// checksums, and segments that are longer than the path takes.
pub(crate) fn up(name: &str) -> Result<(), Failure> {
    run(&format!("ethtool -K {name} tx off rx off tso off gso off gro off"))?;
    run(&format!("ip link set {name} up"))
}

fn mac(space: &Space, name: &str) -> Result<String, Failure> {
    let text = space.inside(|| output(&format!("ip -o link show dev {name}")))?;
    let mac = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
    mac.map(str::to_owned).ok_or_else(|| Failure::Machine(format!("{name} has no Ethernet address: {text}")))
}

/// Runs a program in the calling thread's namespace.
pub(crate) fn run(command: &str) -> Result<(), Failure> {
    output(command).map(drop)
}

/// Runs a program in the calling thread's namespace; gives what it says.
fn output(command: &str) -> Result<String, Failure> {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default();
    let ended = Command::new(program).args(words).stdin(Stdio::null()).output().map_err(|error| {
        Failure::Machine(format!("`{program}` cannot be run: {error}; install iproute2 and ethtool"))
    })?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&ended.stderr).trim().replace('\n', "; ");
    Err(Failure::Machine(format!("`{command}` failed: {said}")))
}
