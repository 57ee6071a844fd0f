//! A core's part of a network interface, through `AF_XDP`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use corelane_bpf::MapError;
use corelane_proto::{Instant, Mac};
use corelane_xdp::{
    Frame, Interface, InterfaceError, InterfaceStatistics, ModeInForce, OpenError, Pool, Port, QueueConfig,
};

use super::{Device, DeviceInfo, Statistics};
use crate::config;

/// One frame in this many is kept for receiving.
const RESERVE_SHARE: u32 = 8;

/// Why a queue could not be made a device. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// The rings could not be had.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The steering program did not take the socket.
    #[error(transparent)]
    Register(#[from] MapError),
}

impl From<InterfaceError> for XdpError {
    fn from(error: InterfaceError) -> Self {
        Self::Open(OpenError::Interface(error))
    }
}

/// What `queue` needs to be, by the sections `[interface]` and `[memory]`.
pub fn queue_config(interface: &config::Interface, memory: &config::Memory, queue: u32) -> QueueConfig {
    let mode = match interface.mode() {
        config::Mode::RequireZerocopy => corelane_xdp::Mode::RequireZerocopy,
        config::Mode::PreferZerocopy => corelane_xdp::Mode::PreferZerocopy,
        config::Mode::Copy => corelane_xdp::Mode::Copy,
        config::Mode::Skb => corelane_xdp::Mode::Skb,
    };
    QueueConfig {
        frame_count: memory.frame_count(),
        frame_size: memory.frame_size(),
        rx_ring: memory.rx_ring(),
        tx_ring: memory.tx_ring(),
        fill_ring: memory.fill_ring(),
        completion_ring: memory.completion_ring(),
        receive_reserve: memory.frame_count() / RESERVE_SHARE,
        mode,
        huge_pages: memory.huge_pages().wanted(),
        ..QueueConfig::new(interface.name(), queue)
    }
}

/// One core's part of one network interface or several: its sockets on the queues, and their frames.
///
/// It stays on the thread that made it. The steering program has to be detached before this is dropped, so that the
/// kernel gets what comes in between.
pub struct XdpDevice {
    port: Port,
    /// By interface, at least one.
    infos: Vec<DeviceInfo>,
}

impl XdpDevice {
    /// Opens one queue for this core alone and hands its socket to `register`, which puts it where the XDP program looks
    /// for it (`Steering::register_socket`). The fill ring is full by then.
    ///
    /// # Errors
    ///
    /// What stands in the way, and what to do about it.
    pub fn open<E>(
        config: &QueueConfig,
        register: impl FnOnce(u32, BorrowedFd<'_>) -> Result<(), E>,
    ) -> Result<Self, XdpError>
    where
        XdpError: From<E>,
    {
        let port = Port::open(config)?;
        let found = Interface::query(&config.interface)?;
        register(config.queue, port.fd())?;
        Ok(Self::new(port, &[&found]))
    }

    /// A core's port as a device, on that core; `found` are the interfaces as they were when it was opened. Sockets are
    /// registered by whoever opened it ([`corelane_xdp::PortSeed::sockets`]).
    ///
    /// # Panics
    ///
    /// Without an interface: a port has at least one.
    pub fn new(port: Port, found: &[&Interface]) -> Self {
        let info = |(at, found): (usize, &&Interface)| DeviceInfo {
            name: found.name.clone(),
            queue: port.queue_of(at),
            mac: Mac(found.mac),
            mtu: found.mtu,
            mode: port.mode_of(at).to_string(),
        };
        assert!(!found.is_empty(), "a port has an interface");
        let infos = found.iter().enumerate().map(info).collect();
        Self { port, infos }
    }

    /// The mode in force.
    pub fn mode(&self) -> ModeInForce {
        self.port.mode()
    }

    /// The core's first socket; where it has none, what other cores wake it by.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.port.fd()
    }
}

impl Device for XdpDevice {
    fn rx_burst(&mut self, _now: Instant, out: &mut Vec<Frame>, max: usize) -> usize {
        self.port.rx_burst(out, max)
    }

    fn tx_burst(&mut self, _now: Instant, frames: &mut VecDeque<Frame>) -> usize {
        let before = frames.len();
        self.port.tx_burst(frames);
        before - frames.len()
    }

    fn reclaim(&mut self, out: &mut Vec<Frame>) -> usize {
        self.port.reclaim(out)
    }

    fn refill(&mut self) -> usize {
        self.port.refill()
    }

    fn kick(&mut self) -> io::Result<()> {
        self.port.kick()
    }

    fn hand_off(&mut self, core: usize, frame: Frame) -> Result<(), Frame> {
        self.port.hand_off(core, frame)
    }

    fn close_sockets(&mut self) {
        self.port.close_sockets();
    }

    fn free_queues(&mut self) -> io::Result<()> {
        self.port.free_queues()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.port.wait(timeout)
    }

    fn info(&self) -> &DeviceInfo {
        &self.infos[0]
    }

    fn interfaces(&self) -> &[DeviceInfo] {
        &self.infos
    }

    fn statistics_of(&self, interface: usize) -> Statistics {
        if self.infos.len() == 1 {
            return self.statistics();
        }
        let InterfaceStatistics { traffic, kernel } = self.port.statistics_of(interface).unwrap_or_default();
        Statistics {
            rx_frames: traffic.rx_frames,
            rx_bytes: traffic.rx_bytes,
            rx_ring_full: kernel.rx_ring_full,
            rx_no_frame: kernel.rx_fill_ring_empty_descs,
            rx_too_long: kernel.rx_dropped,
            rx_malformed: kernel.rx_invalid_descs,
            tx_frames: traffic.tx_frames,
            tx_bytes: traffic.tx_bytes,
            tx_invalid: kernel.tx_invalid_descs,
            ..Statistics::default()
        }
    }

    fn statistics(&self) -> Statistics {
        let ours = self.port.counters();
        // The kernel's part is missing only when the socket is no more, and then nothing new has happened.
        let kernel = self.port.statistics().map(|both| both.kernel).unwrap_or_default();
        Statistics {
            rx_frames: ours.rx_frames,
            rx_bytes: ours.rx_bytes,
            rx_ring_full: kernel.rx_ring_full,
            rx_no_frame: kernel.rx_fill_ring_empty_descs,
            rx_too_long: kernel.rx_dropped,
            rx_malformed: ours.rx_malformed + ours.rx_foreign + ours.mail_foreign + kernel.rx_invalid_descs,
            tx_frames: ours.tx_frames,
            tx_bytes: ours.tx_bytes,
            tx_refused: ours.tx_refused,
            tx_invalid: kernel.tx_invalid_descs,
            completions: ours.completions,
            completions_foreign: ours.completion_foreign,
            tx_kicks: ours.tx_kicks,
            fill_kicks: ours.fill_kicks,
            kicks_put_off: ours.kick_again + ours.kick_busy,
            kicks_no_memory: ours.kick_no_buffers,
            kicks_down: ours.kick_down,
            handed_off: ours.handed_off,
            handed_in: ours.handed_in,
            hand_offs_refused: ours.hand_off_refused,
            tx_through_owner: ours.tx_through_owner,
            tx_for_others: ours.tx_for_others,
            completions_for_others: ours.completions_for_others,
            returns: ours.returns,
            wakes: ours.wakes,
            ..Statistics::default()
        }
    }

    fn pool(&self) -> &Pool {
        self.port.pool()
    }
}

#[cfg(all(test, feature = "veth"))]
mod veth_tests {
    use corelane_xdp::veth::{End, RedirectAll, VethPair};

    use super::super::conformance::conformance;
    use super::*;

    fn open(end: &End) -> (XdpDevice, RedirectAll) {
        let config = QueueConfig {
            frame_count: 1024,
            rx_ring: 256,
            tx_ring: 64,
            fill_ring: 256,
            completion_ring: 256,
            receive_reserve: 64,
            ..QueueConfig::new(end.interface(), 0)
        };
        end.enter(|| {
            let program = RedirectAll::attach(end.interface());
            let register = |queue, socket: BorrowedFd<'_>| {
                program.register(queue, socket);
                Ok::<(), MapError>(())
            };
            (XdpDevice::open(&config, register).unwrap(), program)
        })
    }

    #[test]
    fn conforms() {
        conformance(|| {
            let pair = VethPair::new(1);
            let ((a, program_a), (b, program_b)) = (open(&pair.a), open(&pair.b));
            (a, b, (program_a, program_b, pair))
        });
    }

    #[test]
    fn says_what_it_is() {
        let pair = VethPair::new(1);
        let (device, _program) = open(&pair.a);
        let info = device.info();
        assert_eq!((info.name.as_str(), info.queue, info.mtu, info.mode.as_str()), ("veth-a", 0, 1500, "copy"));
        let shown = pair.a.run("ip", &["link", "show", "veth-a"]).stdout;
        assert!(String::from_utf8_lossy(&shown).contains(&info.mac.to_string()), "{info:?}");
        assert_eq!(device.mode(), ModeInForce::Copy);
    }
}
