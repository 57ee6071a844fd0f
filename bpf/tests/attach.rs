//! The program on real interfaces: coming, going, being refused, and counting the kernel's traffic.
//!
//! It needs root: `cargo test -p corelane-bpf --features kernel`.

mod common;

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Pair, index_of, ip, receiving_socket};
use corelane_bpf::{
    AttachError, AttachMode, Counter, FlowHash, Layout, MAX_LISTENERS, MAX_OWN_ADDRESSES, MapError, Mode, Setup,
    Steering, program_on,
};

const KERNELS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 9));
/// A process that attaches to the interface it is told, in the namespace of the test that starts it.
const CHILD: &str = env!("CARGO_BIN_EXE_corelane-bpf-test-child");

/// Waits for what the kernel does a moment later: links and maps end with their last user, asynchronously.
fn within_two_seconds(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(2);
    while !holds() {
        assert!(Instant::now() < until, "not within two seconds: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ping(from: &str, to: IpAddr) -> bool {
    let words = format!("netns exec {from} ping -c 2 -i 0.01 -W 1 -q {to}");
    Command::new("ip").args(words.split_whitespace()).stdout(Stdio::null()).status().unwrap().success()
}

#[test]
fn attaches_in_the_mode_demanded_and_dropping_detaches() {
    let pair = Pair::up();
    for (demanded, expected) in [(AttachMode::Native, Mode::Native), (AttachMode::Generic, Mode::Generic)] {
        assert_eq!(program_on(pair.ifindex).unwrap(), None);
        let steering = Steering::attach(pair.ifindex, demanded).unwrap();
        assert_eq!(steering.mode(), expected);
        assert_eq!(steering.ifindex(), pair.ifindex);
        let found = program_on(pair.ifindex).unwrap().unwrap();
        assert_eq!(found.mode, expected);
        assert_eq!(found.id, steering.program_id());
        assert_eq!(found.name.as_deref(), Some("corelane_steer"));
        drop(steering);
        // A process that another test starts just now holds the link until it has become another program.
        within_two_seconds("the interface is free", || program_on(pair.ifindex).unwrap().is_none());
    }
}

#[test]
fn a_predecessor_that_is_going_is_waited_for() {
    let pair = Pair::up();
    let ifindex = pair.ifindex;
    let predecessor = Steering::attach(ifindex, AttachMode::Native).unwrap();
    // A thread begins in the namespace of the one that starts it.
    let successor = std::thread::spawn(move || Steering::attach(ifindex, AttachMode::Native).map(|new| new.mode()));
    std::thread::sleep(Duration::from_millis(50));
    drop(predecessor);
    assert_eq!(successor.join().unwrap().unwrap(), Mode::Native);
}

#[test]
fn a_foreign_program_is_refused_and_stays() {
    let pair = Pair::up();
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/steer.bpf.o");
    // Attached over netlink, as most tools do: it belongs to no process.
    for mode in ["xdpgeneric", "xdpdrv"] {
        ip(&format!("link set dev v0 {mode} object {object} section xdp.frags"));
        let foreign = program_on(pair.ifindex).unwrap().unwrap();
        for demanded in [AttachMode::Native, AttachMode::Generic] {
            let error = Steering::attach(pair.ifindex, demanded).unwrap_err();
            assert!(matches!(&error, AttachError::Foreign { program, .. } if *program == foreign), "{error}");
            let text = error.to_string();
            assert!(text.contains(&foreign.id.to_string()) && text.contains("corelane_steer"), "{text}");
            assert!(text.contains("`ip link set dev v0 xdp off`"), "{text}");
        }
        assert_eq!(program_on(pair.ifindex).unwrap(), Some(foreign));
        ip(&format!("link set dev v0 {mode} off"));
    }
    drop(Steering::attach(pair.ifindex, AttachMode::Native).unwrap());
}

#[test]
fn another_process_of_ours_is_as_foreign() {
    let pair = Pair::up();
    let first = Steering::attach(pair.ifindex, AttachMode::Native).unwrap();
    let error = Steering::attach(pair.ifindex, AttachMode::Native).unwrap_err();
    assert!(matches!(error, AttachError::Foreign { program, .. } if program.id == first.program_id()));
    assert_eq!(program_on(pair.ifindex).unwrap().unwrap().id, first.program_id());
}

#[test]
fn a_killed_process_leaves_nothing() {
    let pair = Pair::up();
    let mut child = Command::new(CHILD).arg(pair.ifindex.to_string()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let attached = lines.any(|line| line.unwrap().contains("child: attached"));
    let found = program_on(pair.ifindex).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(attached, "the child did not get as far as attaching");
    assert!(found.is_some());
    within_two_seconds("the program is gone", || program_on(pair.ifindex).unwrap().is_none());
    assert!(ping(&pair.far, KERNELS));
    drop(Steering::attach(pair.ifindex, AttachMode::Native).unwrap());
}

#[test]
fn a_process_without_capabilities_is_told_which() {
    let pair = Pair::up();
    let output = Command::new("setpriv")
        .args(["--bounding-set", "-bpf,-net_admin,-perfmon,-sys_admin", "--inh-caps", "-all"])
        .args([CHILD, &pair.ifindex.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("CAP_BPF, CAP_NET_ADMIN") && text.contains("CAP_PERFMON"), "{text}");
    assert_eq!(program_on(pair.ifindex).unwrap(), None);
}

/// Neither `CAP_PERFMON` nor `CAP_SYS_ADMIN`: the verifier then forbids more.
#[test]
fn two_capabilities_suffice() {
    let pair = Pair::up();
    let mut child = Command::new("setpriv")
        .args(["--bounding-set", "-all,+bpf,+net_admin", "--inh-caps", "-all"])
        .args([CHILD, &pair.ifindex.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(said, "child: attached");
}

#[test]
fn a_driver_without_native_mode_is_told_apart() {
    let _pair = Pair::up();
    ip("link add link v0 name d0 type macvlan");
    let error = Steering::attach(index_of("d0"), AttachMode::Native).unwrap_err();
    assert!(matches!(error, AttachError::Unsupported { mode: Mode::Native, .. }), "{error}");
    assert!(error.to_string().contains("d0") && error.to_string().contains("mode `skb`"), "{error}");
    assert_eq!(Steering::attach(index_of("d0"), AttachMode::Generic).unwrap().mode(), Mode::Generic);
}

#[test]
fn too_few_receive_queues_are_named() {
    let _pair = Pair::up();
    ip("link add w0 numrxqueues 1 numtxqueues 1 type veth peer name w1 numrxqueues 1 numtxqueues 2");
    ip("link set w0 up");
    ip("link set w1 up");
    let error = Steering::attach(index_of("w0"), AttachMode::Native).unwrap_err();
    assert!(matches!(error, AttachError::Queues { .. }), "{error}");
}

#[test]
fn a_jumbo_mtu_is_no_hindrance_on_veth() {
    let pair = Pair::up();
    ip("link set v0 mtu 9000");
    ip(&format!("-n {} link set v1 mtu 9000", pair.far));
    assert_eq!(Steering::attach(pair.ifindex, AttachMode::Native).unwrap().mode(), Mode::Native);
}

#[test]
fn an_interface_that_goes_away_takes_the_program_with_it() {
    let pair = Pair::up();
    let steering = Steering::attach(pair.ifindex, AttachMode::Native).unwrap();
    ip("link del v0");
    assert_eq!(program_on(pair.ifindex).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    assert!(steering.counters().is_ok());
}

#[test]
fn the_kernel_keeps_its_traffic_and_every_packet_is_counted() {
    for mode in [AttachMode::Native, AttachMode::Generic] {
        let pair = Pair::up();
        let steering = Steering::attach(pair.ifindex, mode).unwrap();
        assert!(ping(&pair.far, KERNELS));
        let before = steering.counters().unwrap();
        assert!(before.value(Counter::PassedUnregistered) >= 3, "ARP and two echo requests: {before:?}");

        // An own address, but no socket: the kernel gets the packets, and doesn't know the address.
        steering.add_own_address(OURS).unwrap();
        assert!(!ping(&pair.far, OURS));
        assert!(ping(&pair.far, KERNELS));
        let after = steering.counters().unwrap();
        assert!(after.value(Counter::RedirectFailed) >= 1, "{after:?}");
        assert_eq!(after.value(Counter::RedirectedOwnArp), 0);

        // With a socket the program redirects; this one is not bound, so the kernel drops behind it. Both queues.
        let socket = receiving_socket();
        steering.register_socket(0, 0, socket.as_fd()).unwrap();
        steering.register_socket(1, 0, socket.as_fd()).unwrap();
        // The other end asks once a second, and may just have asked: so ask it more than once.
        let redirected = (0..5).any(|_| {
            assert!(!ping(&pair.far, OURS));
            steering.counters().unwrap().value(Counter::RedirectedOwnArp) >= 1
        });
        assert!(redirected, "{:?}", steering.counters());
        assert!(ping(&pair.far, KERNELS));

        // A closed socket leaves the map by itself.
        drop(socket);
        let back = (0..5).any(|_| {
            let before = steering.counters().unwrap().value(Counter::RedirectFailed);
            ping(&pair.far, OURS);
            steering.counters().unwrap().value(Counter::RedirectFailed) > before
        });
        assert!(back, "the kernel does not get the packets again: {:?}", steering.counters());
    }
}

#[test]
fn full_tables_say_so_and_go_on_when_there_is_room() {
    let pair = Pair::up();
    let steering = Steering::attach(pair.ifindex, AttachMode::Native).unwrap();
    let listener = |index: u32| {
        let [_, high, low, last] = index.to_be_bytes();
        (IpAddr::V4(Ipv4Addr::new(10, 80, high, low)), u16::from(last) + 1)
    };
    for index in 0..MAX_LISTENERS {
        let (address, port) = listener(index);
        steering.add_listener(address, port).unwrap();
    }
    let (address, port) = listener(MAX_LISTENERS);
    let error = steering.add_listener(address, port).unwrap_err();
    assert!(matches!(error, MapError::Full { capacity: MAX_LISTENERS, .. }), "{error}");
    let (old, old_port) = listener(77);
    steering.add_listener(old, old_port).unwrap();
    assert!(steering.remove_listener(old, old_port).unwrap());
    assert!(!steering.remove_listener(old, old_port).unwrap());
    steering.add_listener(address, port).unwrap();

    let own = |index: u32| IpAddr::V6(Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(index)));
    for index in 0..MAX_OWN_ADDRESSES {
        steering.add_own_address(own(index)).unwrap();
    }
    let error = steering.add_own_address(own(MAX_OWN_ADDRESSES)).unwrap_err();
    assert!(matches!(error, MapError::Full { capacity: MAX_OWN_ADDRESSES, .. }), "{error}");
    assert!(steering.remove_own_address(own(3)).unwrap());
    assert!(!steering.remove_own_address(own(3)).unwrap());
}

#[test]
fn what_cannot_be_registered_is_refused() {
    let pair = Pair::up();
    let setup = Setup::new(Layout { base_queue: 1, ..Layout::default() }, FlowHash::new([1; 16]));
    let steering = Steering::attach_with(pair.ifindex, AttachMode::Native, &setup).unwrap();
    let is_wildcard = |result| matches!(result, Err(MapError::Wildcard { .. }));
    for address in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:0.0.0.0"] {
        let address = address.parse().unwrap();
        assert!(is_wildcard(steering.add_listener(address, 80)), "{address}");
        assert!(is_wildcard(steering.add_own_address(address)), "{address}");
    }
    assert!(is_wildcard(steering.add_listener(OURS, 0)));

    let socket = receiving_socket();
    steering.register_socket(1, 0, socket.as_fd()).unwrap();
    assert!(matches!(steering.register_socket(0, 0, socket.as_fd()), Err(MapError::Queue { queue: 0, .. })));
    assert!(matches!(steering.unregister_socket(65, 0), Err(MapError::Queue { queue: 65, .. })));
    steering.unregister_socket(1, 0).unwrap();
    steering.unregister_socket(1, 0).unwrap();
    let not_xdp = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let not_a_socket = std::fs::File::open("/dev/null").unwrap();
    for fd in [not_xdp.as_fd(), not_a_socket.as_fd()] {
        let error = steering.register_socket(1, 0, fd).unwrap_err();
        assert!(matches!(error, MapError::NotASocket { queue: 1 }), "{error}");
    }
}
