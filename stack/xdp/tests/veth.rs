//! Ports of one queue on a real veth pair: `cargo test -p corelane-xdp --features veth`, as root.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use corelane_xdp::veth::{Capability, RedirectAll, VethPair, limit_locked_memory, without};
use corelane_xdp::{BusyPoll, BusyPollInForce, Frame, Mode, ModeInForce, OpenError, Port, QueueConfig};

const PATIENCE: Duration = Duration::from_secs(2);

fn config(interface: &str, queue: u32) -> QueueConfig {
    QueueConfig {
        frame_count: 1024,
        rx_ring: 256,
        tx_ring: 128,
        fill_ring: 256,
        completion_ring: 256,
        receive_reserve: 64,
        ..QueueConfig::new(interface, queue)
    }
}

/// A program and its queues; the program goes first.
struct Side {
    _program: RedirectAll,
    queues: Vec<Port>,
}

fn side(end: &corelane_xdp::veth::End, queues: u32) -> Side {
    end.enter(|| {
        let program = RedirectAll::attach(end.interface());
        let queues = (0..queues)
            .map(|number| {
                let queue = Port::open(&config(end.interface(), number)).unwrap();
                program.register(number, queue.sockets().next().unwrap().fd.unwrap());
                queue
            })
            .collect();
        Side { _program: program, queues }
    })
}

fn image(queue: usize, number: u32) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    bytes.extend([0x88, 0xb5, u8::try_from(queue).unwrap()]);
    bytes.extend(number.to_be_bytes());
    bytes.resize(60 + number as usize % 1400, u8::try_from(number % 256).unwrap());
    bytes
}

fn send(queue: &mut Port, packets: impl Iterator<Item = Vec<u8>>) {
    let mut frames: VecDeque<Frame> = packets
        .map(|bytes| {
            let mut frame = queue.pool().alloc().unwrap();
            frame.buffer_mut()[..bytes.len()].copy_from_slice(&bytes);
            frame.set_len(bytes.len());
            frame
        })
        .collect();
    let n = frames.len();
    assert_eq!(queue.tx_burst(&mut frames), n);
    queue.kick().unwrap();
}

fn receive(queue: &mut Port, n: usize) -> Vec<Vec<u8>> {
    let (started, mut frames) = (Instant::now(), Vec::new());
    while frames.len() < n && started.elapsed() < PATIENCE {
        if queue.rx_burst(&mut frames, 64) == 0 {
            queue.wait(Some(Duration::from_millis(10))).unwrap();
        }
    }
    let packets = frames.iter().map(|frame| frame.bytes().to_vec()).collect();
    drop(frames);
    queue.refill();
    packets
}

fn reclaim(queue: &mut Port, n: usize) {
    let (started, mut out) = (Instant::now(), Vec::new());
    while out.len() < n && started.elapsed() < PATIENCE {
        queue.reclaim(&mut out);
    }
    assert_eq!(out.len(), n, "completions");
}

#[test]
fn two_queues_carry_bytes_both_ways() {
    let pair = VethPair::new(2);
    let (mut a, mut b) = (side(&pair.a, 2), side(&pair.b, 2));
    for round in 0..40u32 {
        for queue in 0..2 {
            let packets = || (round * 100..round * 100 + 100).map(|number| image(queue, number));
            send(&mut a.queues[queue], packets());
            let got = receive(&mut b.queues[queue], 100);
            assert!(got.into_iter().eq(packets()), "round {round}, queue {queue}, there");
            reclaim(&mut a.queues[queue], 100);
            send(&mut b.queues[queue], packets());
            let got = receive(&mut a.queues[queue], 100);
            assert!(got.into_iter().eq(packets()), "round {round}, queue {queue}, back");
            reclaim(&mut b.queues[queue], 100);
        }
    }
    for queue in a.queues.iter().chain(&b.queues) {
        assert_eq!(queue.mode(), ModeInForce::Copy);
        queue.pool().audit().unwrap();
        let census = queue.pool().census();
        assert_eq!((census.held, census.fill, census.tx), (0, 256, 0));
        let statistics = queue.statistics().unwrap();
        assert_eq!((statistics.port.tx_frames, statistics.port.rx_frames), (4000, 4000));
        assert_eq!((statistics.kernel.rx_dropped, statistics.kernel.tx_invalid_descs), (0, 0));
        // A hundred packets are four of the kernel's batches.
        assert!(statistics.port.tx_kicks >= 4 * 40 && statistics.port.kick_again >= 3 * 40);
    }
}

#[test]
fn the_kernel_counts_what_finds_no_frame() {
    let pair = VethPair::new(1);
    let (mut a, mut b) = (side(&pair.a, 1), side(&pair.b, 1));
    for _ in 0..3 {
        send(&mut a.queues[0], (0..100).map(|number| image(0, number)));
        reclaim(&mut a.queues[0], 100);
    }
    let got = receive(&mut b.queues[0], 300);
    let kernel = b.queues[0].statistics().unwrap().kernel;
    assert_eq!(got.len(), 256);
    assert_eq!(kernel.rx_ring_full + kernel.rx_fill_ring_empty_descs.min(44), 44, "{kernel:?}");
    // And goes on afterwards.
    send(&mut a.queues[0], (0..100).map(|number| image(0, number)));
    assert_eq!(receive(&mut b.queues[0], 100).len(), 100);
}

#[test]
fn wait_returns_on_time_and_on_traffic() {
    let pair = VethPair::new(1);
    let (mut a, mut b) = (side(&pair.a, 1), side(&pair.b, 1));
    let (started, limit) = (Instant::now(), Duration::from_millis(30));
    assert!(!b.queues[0].wait(Some(limit)).unwrap());
    assert!(started.elapsed() >= limit);
    assert!(!b.queues[0].wait(Some(Duration::ZERO)).unwrap());
    send(&mut a.queues[0], std::iter::once(image(0, 1)));
    assert!(b.queues[0].wait(Some(PATIENCE)).unwrap());
    assert!(b.queues[0].wait(None).unwrap());
}

#[test]
fn a_queue_opens_again_as_soon_as_it_is_closed() {
    let pair = VethPair::new(1);
    pair.a.enter(|| {
        for _ in 0..20 {
            drop(Port::open(&config(pair.a.interface(), 0)).unwrap());
        }
    });
}

#[test]
fn a_queue_without_wakeup_flag_still_sends() {
    let pair = VethPair::new(1);
    let mut b = side(&pair.b, 1);
    let config = QueueConfig { need_wakeup: false, mode: Mode::Copy, ..config(pair.a.interface(), 0) };
    let mut queue = pair.a.enter(|| Port::open(&config).unwrap());
    send(&mut queue, (0..100).map(|number| image(0, number)));
    assert_eq!(receive(&mut b.queues[0], 100).len(), 100);
}

#[test]
fn busy_polling_is_in_force_or_refused_and_still_carries_packets() {
    let pair = VethPair::new(1);
    let mut a = side(&pair.a, 1);
    let (wanted, end) = (BusyPoll { time_us: 20, budget: 32 }, &pair.b);
    let config = QueueConfig { busy_poll: Some(wanted), ..config(end.interface(), 0) };
    let open = |config: &QueueConfig| end.enter(|| Port::open(config).unwrap());
    // More than the kernel takes without a privilege, and more than it takes at all.
    let refused = QueueConfig { busy_poll: Some(BusyPoll { budget: 1 << 20, ..wanted }), ..config.clone() };
    assert_eq!(open(&refused).sockets().next().unwrap().busy_poll, BusyPollInForce::Refused);
    let program = end.enter(|| RedirectAll::attach(end.interface()));
    let mut port = open(&config);
    let info = port.sockets().next().unwrap();
    assert_eq!(info.busy_poll, BusyPollInForce::On(wanted));
    program.register(0, info.fd.unwrap());
    send(&mut a.queues[0], (0..100).map(|number| image(0, number)));
    assert!(receive(&mut port, 100).into_iter().eq((0..100).map(|number| image(0, number))));
    drop(program);
}

#[test]
fn frames_of_a_closed_queue_stay_readable() {
    let pair = VethPair::new(1);
    let (mut a, mut b) = (side(&pair.a, 1), side(&pair.b, 1));
    send(&mut a.queues[0], std::iter::once(image(0, 1234)));
    let mut frames = Vec::new();
    assert!(b.queues[0].wait(Some(PATIENCE)).unwrap());
    b.queues[0].rx_burst(&mut frames, 1);
    drop(b);
    assert_eq!(frames[0].bytes(), image(0, 1234));
}

#[test]
fn each_obstacle_is_named() {
    let pair = VethPair::new(2);
    let interface = pair.a.interface().to_owned();
    let open = |change: fn(&mut QueueConfig)| {
        let mut config = config(&interface, 0);
        config.busy_timeout = Duration::from_millis(50);
        change(&mut config);
        pair.a.enter(|| Port::open(&config)).err()
    };
    let ip = |args: &[&str]| pair.a.run("ip", args);

    let error = open(|config| config.queue = 2).unwrap();
    assert!(matches!(error, OpenError::NoSuchQueue { queue: 2, queues: 2, .. }), "{error}");
    let error = open(|config| config.mode = Mode::RequireZerocopy).unwrap();
    assert!(matches!(error, OpenError::ModeUnsupported { .. }), "{error}");
    let error = open(|config| config.interface = "nothing0".into()).unwrap();
    assert!(error.to_string().contains("no interface nothing0"), "{error}");
    let error = open(|config| config.huge_pages = true);
    // There may be huge pages here; if not, the message says how to get them.
    assert!(error.is_none_or(|error| error.to_string().contains("vm.nr_hugepages")));

    ip(&["link", "set", "dev", &interface, "mtu", "1775"]);
    let error = open(|_| ()).unwrap();
    assert!(matches!(error, OpenError::MtuTooBig { max_mtu: 1774, .. }), "{error}");
    assert!(open(|config| config.frame_size = 4096).is_none());
    ip(&["link", "set", "dev", &interface, "mtu", "1500", "down"]);
    let error = open(|_| ()).unwrap();
    assert!(matches!(error, OpenError::InterfaceDown { .. }), "{error}");
    ip(&["link", "set", "dev", &interface, "up"]);

    let holder = pair.a.enter(|| Port::open(&config(&interface, 0)).unwrap());
    let started = Instant::now();
    let error = open(|_| ()).unwrap();
    assert!(matches!(error, OpenError::QueueBusy { queue: 0, .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(open(|config| config.queue = 1).is_none());
    drop(holder);
    assert!(open(|_| ()).is_none());
}

#[test]
fn opening_without_a_privilege_says_which() {
    let pair = VethPair::new(1);
    let open = || pair.a.enter(|| Port::open(&config(pair.a.interface(), 0)).err().map(|error| error.to_string()));
    // Entering the namespace wants neither of the two.
    let error = without(Capability::NetRaw, open).unwrap();
    assert!(error.contains("CAP_NET_RAW"), "{error}");
    // Only threads without the capability feel it; the other tests' threads have it.
    limit_locked_memory(65536);
    let error = without(Capability::IpcLock, open).unwrap();
    assert!(error.contains("LimitMEMLOCK=2097152"), "{error}");
    assert_eq!(open(), None);
}

#[test]
fn a_queue_is_free_for_another_while_the_frames_of_the_one_that_left_live_on() {
    let pair = VethPair::new(1);
    let mut a = side(&pair.a, 1);
    let mut left = a.queues.remove(0);
    let kept = left.pool().alloc().expect("a free frame");
    left.close_sockets();
    left.free_queues().unwrap();
    let second = pair.a.enter(|| Port::open(&QueueConfig { busy_timeout: PATIENCE, ..config(pair.a.interface(), 0) }));
    assert!(second.is_ok(), "{:?}", second.err());
    // Nothing moves any more, and nothing breaks.
    let mut frames = VecDeque::from([kept]);
    assert_eq!((left.tx_burst(&mut frames), left.rx_burst(&mut Vec::new(), 64), left.refill()), (0, 0, 0));
    left.kick().unwrap();
    assert!(!left.wait(Some(Duration::ZERO)).unwrap());
    left.pool().audit().unwrap();
    drop(left);
    assert_eq!(frames[0].bytes().len(), 0);
    drop(second);
}
