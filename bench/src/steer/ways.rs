//! The ways to receive and drop that are compared.

use super::link::{FLOWS, Link, OWN, PORT, RECEIVER_IF};
use super::result::Measured;
use super::sender::Sender;
use super::stack;
use crate::failure::Failure;
use corelane_bpf::{AttachMode, FlowHash, Layout, Setup, SocketsPerQueue, Steering};
use corelane_xdp::raw::{Receiver, RedirectAll};
use corelane_xdp::{Interface, Port, QueueConfig};
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// How long frames come before they are counted.
pub(super) const WARM_UP: Duration = Duration::from_millis(50);

/// Test runs of the program whose time is averaged.
const RUNS: u32 = 200_000;

/// Cores that the program chooses between. All of them are this one, but the program does not know.
const OWNERS: u32 = 2;

/// An address of the stack's own beside the one that is listened on, so that the program looks for those too.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 11);

/// What receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A program that redirects everything, and a loop from the receive to the fill ring.
    Raw,
    /// The same loop behind our program, with a listener, flows, pins, an own address and a table of owners.
    Steered,
    /// Our device behind our program: frames that are owned, checked and dropped.
    Device,
    /// The whole stack, which drops what has a wrong checksum.
    Stack,
}

impl Kind {
    /// In the order of the table. The others are compared with the first.
    pub(super) const ALL: [Self; 4] = [Self::Raw, Self::Steered, Self::Device, Self::Stack];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Steered => "steered",
            Self::Device => "device",
            Self::Stack => "stack",
        }
    }
}

/// Receives in one way for `time`, on `core`.
pub(super) fn measure(
    kind: Kind,
    link: &Link,
    sender: &Sender,
    core: usize,
    time: Duration,
) -> Result<Measured, Failure> {
    if kind == Kind::Stack {
        return stack::measure(link, sender, core, time);
    }
    link.receiver.inside(|| {
        core_affinity::set_for_current(core_affinity::CoreId { id: core });
        let config = QueueConfig::new(RECEIVER_IF, 0);
        if kind == Kind::Device {
            let mut port = Port::open(&config).map_err(machine)?;
            let (program, program_ns) = steer(port.fd(), &link.frame(0))?;
            let mut frames = Vec::with_capacity(64);
            let measured = count(sender, time, || {
                let received = port.rx_burst(&mut frames, 64);
                frames.clear();
                port.refill();
                received
            });
            // The program goes before the socket.
            drop(program);
            return Ok(Measured { program_ns: Some(program_ns), ..measured });
        }
        let mut receiver = Receiver::open(&config).map_err(machine)?;
        let fd = receiver.fd().map_err(machine)?;
        if kind == Kind::Raw {
            let program = RedirectAll::attach(RECEIVER_IF).map_err(machine)?;
            program.register(0, fd).map_err(machine)?;
            let measured = count(sender, time, || receiver.receive());
            drop(program);
            return Ok(measured);
        }
        let (program, program_ns) = steer(fd, &link.frame(0))?;
        let measured = count(sender, time, || receiver.receive());
        drop(program);
        Ok(Measured { program_ns: Some(program_ns), ..measured })
    })
}

fn machine(error: impl std::fmt::Display) -> Failure {
    Failure::Machine(error.to_string())
}

/// Attaches our program with every map in use, gives all to `socket`, and says how long a frame takes it, in nanoseconds.
fn steer(socket: BorrowedFd<'_>, frame: &[u8]) -> Result<(Steering, u64), Failure> {
    let index = Interface::query(RECEIVER_IF).map_err(machine)?.index;
    let layout = Layout { base_queue: 0, queues: 1, cores: OWNERS, sockets_per_queue: SocketsPerQueue::All };
    let setup = Setup::new(layout, FlowHash::new(rand::random()));
    let steering = Steering::attach_with(index, AttachMode::Native, &setup).map_err(machine)?;
    for core in 0..OWNERS {
        steering.register_socket(0, core, socket).map_err(machine)?;
    }
    let registry = steering.registry();
    for number in 0..FLOWS {
        let (local, remote) = Link::other_flow(number);
        registry.insert(local, remote).map_err(machine)?;
        registry.pin(local, remote, u32::from(number) % OWNERS).map_err(machine)?;
    }
    steering.add_own_address(OTHER.into()).map_err(machine)?;
    steering.add_listener(OWN.into(), PORT).map_err(machine)?;
    let run = steering.run(frame, 0, RUNS).map_err(machine)?;
    Ok((steering, u64::try_from(run.duration.as_nanos()).unwrap_or(u64::MAX)))
}

/// Calls `receive` without a pause while frames come, and counts for `time` what it says.
fn count(sender: &Sender, time: Duration, mut receive: impl FnMut() -> usize) -> Measured {
    sender.send(true);
    let began = Instant::now();
    while began.elapsed() < WARM_UP {
        receive();
    }
    let (began, (sent, cpu_ns)) = (Instant::now(), sender.spent());
    let (mut received, mut passed) = (0, Duration::ZERO);
    while passed < time {
        // The clock costs as much as some frames.
        received += (0..16).map(|_| receive() as u64).sum::<u64>();
        passed = began.elapsed();
    }
    let (sent_now, cpu_now) = sender.spent();
    sender.send(false);
    Measured {
        received,
        sent: sent_now - sent,
        sender_cpu_ns: cpu_now - cpu_ns,
        seconds: passed.as_secs_f64(),
        program_ns: None,
    }
}
