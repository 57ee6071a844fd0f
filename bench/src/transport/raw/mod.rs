//! Bare `AF_XDP`: the same frames as TCP's would be, exchanged without TCP. It is the floor for what stands on it.
//!
//! A program that looks at nothing gives **every** packet of the interface's first queue to us, the kernel's too: this is
//! for veth pairs and for interfaces that nobody else uses. The server turns each frame round, or takes it and says
//! nothing; the client keeps as many frames in flight as it has "connections". Nothing is sent again but what is lost, and
//! that is counted. One core at each end, IPv4 addresses in the frames, no ARP: frames go to everybody.

pub mod frame;
mod load;
mod serve;

pub use load::run_load;
pub use serve::{RawSummary, run_serve};

use crate::cli::{LoadArgs, ServeArgs, StackArgs};
use crate::failure::Failure;
use crate::workload::ServeKind;
use crate::workload::size::Sizes;
use corelane_xdp::raw::RedirectAll;
use corelane_xdp::{Interface, Port, QueueConfig};

/// The most frames in flight.
pub const MOST_IN_FLIGHT: usize = 4096;
/// Frames that are taken and given in one go.
const BURST: usize = 64;

/// A port, the program that feeds it, and the interface's Ethernet address.
struct Ends {
    // Goes first: the program before the socket.
    _program: RedirectAll,
    port: Port,
    mac: [u8; 6],
}

impl Ends {
    fn open(interface: &str) -> Result<Self, Failure> {
        let machine = |error: &dyn std::fmt::Display| Failure::Machine(format!("{interface}: {error}"));
        let mac = Interface::query(interface).map_err(|error| machine(&error))?.mac;
        let config = QueueConfig {
            // All that may be in flight fits into every ring, so that none is lost for want of room.
            frame_count: 1 << 15,
            rx_ring: 1 << 13,
            tx_ring: 1 << 13,
            fill_ring: 1 << 13,
            completion_ring: 1 << 13,
            receive_reserve: 1 << 13,
            ..QueueConfig::new(interface, 0)
        };
        let port = Port::open(&config).map_err(|error| machine(&error))?;
        let program = RedirectAll::attach(interface).map_err(|error| machine(&error))?;
        program.register(0, port.fd()).map_err(|error| machine(&error))?;
        Ok(Self { _program: program, port, mac })
    }
}

/// The interface; the other options of a stack have no meaning here and are refused.
fn interface(stack: &StackArgs, spin: bool) -> Result<&str, Failure> {
    let StackArgs { config, interface, address, gateway, mode, wait, impair, set } = stack;
    let given = [
        ("--config", config.is_some()),
        ("--address", address.is_some()),
        ("--gateway", gateway.is_some()),
        ("--mode", mode.is_some()),
        ("--wait", wait.is_some()),
        ("--impair", impair.is_some()),
        ("--set", !set.is_empty()),
        ("--spin", spin),
    ];
    if let Some((name, _)) = given.iter().find(|(_, given)| *given) {
        return Err(Failure::Usage(format!(
            "{name} says nothing to --transport raw, which has no TCP and always spins; leave it out"
        )));
    }
    interface
        .as_deref()
        .ok_or_else(|| Failure::Usage("--transport raw needs --interface IF, all of whose packets it takes".to_owned()))
}

/// Whether a raw server can be what is asked for.
pub fn check_serve(args: &ServeArgs) -> Result<(), Failure> {
    interface(&args.stack, false)?;
    if !matches!(args.workload, ServeKind::Echo | ServeKind::Sink) {
        return Err(Failure::Usage("--transport raw serves echo and sink; the other workloads need TCP".to_owned()));
    }
    one_core(args.cores.as_ref().map_or(1, |cores| cores.as_slice().len()))
}

/// Whether a raw load can be what is asked for.
pub fn check_load(args: &LoadArgs) -> Result<(), Failure> {
    interface(&args.stack, args.spin)?;
    let usage = |text: String| Err(Failure::Usage(text));
    let kind = args.workload.and_then(|workload| Kind::of(workload.name()));
    if kind.is_none() {
        let name = args.workload.map_or("a scenario", |workload| workload.name());
        return usage(format!("--transport raw has echo and bulk-send; {name} needs TCP"));
    }
    if !args.closed {
        return usage("--transport raw keeps --connections frames in flight: it needs --closed, not --rate".to_owned());
    }
    if !args.connections.is_some_and(|count| (1..=MOST_IN_FLIGHT).contains(&count)) {
        return usage(format!("--transport raw has 1 to at most {MOST_IN_FLIGHT} frames in flight (--connections)"));
    }
    let fits = |sizes: &Sizes| sizes.fixed().is_some_and(|size| size <= frame::MOST_PAYLOAD as u64);
    if !args.size.as_ref().is_none_or(fits) {
        return usage(format!(
            "--transport raw sends single frames: --size is at most {}, which are {} bytes of frame",
            frame::MOST_PAYLOAD,
            frame::MOST_PAYLOAD + frame::HEADER_LEN
        ));
    }
    if args.requests.is_some() || args.requests_per_connection.is_some() {
        return usage("--transport raw ends by --duration; leave out --requests and its like".to_owned());
    }
    if args.duration.is_none_or(|duration| duration.is_zero()) {
        return usage("--transport raw needs a --duration above 0".to_owned());
    }
    if !args.target.is_some_and(|target| target.is_ipv4()) {
        return usage("--transport raw writes IPv4 headers: --target is an IPv4 address".to_owned());
    }
    one_core(args.cores.as_ref().map_or(1, |cores| cores.as_slice().len()))
}

fn one_core(cores: usize) -> Result<(), Failure> {
    if cores == 1 {
        return Ok(());
    }
    Err(Failure::Usage(format!("--transport raw runs on one core, and --cores names {cores}")))
}

/// What is exchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Frames come back.
    Echo,
    /// Frames go one way, as fast as they can.
    OneWay,
}

impl Kind {
    /// By the name of the workload.
    fn of(workload: &str) -> Option<Self> {
        match workload {
            "echo" => Some(Self::Echo),
            "bulk-send" => Some(Self::OneWay),
            _ => None,
        }
    }
}
