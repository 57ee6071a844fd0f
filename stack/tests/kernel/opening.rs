//! How connections begin: simultaneously, again from the same port, with which options.

use crate::ours::{Happened, Line, stretch};
use crate::segment::{Fate, Seen, Side, kernel, ours};
use crate::world::{KERNEL, OWN, World, kernel_connect, kernel_connect_from, kernel_listener, patient};
use corelane::{CloseReason, ConnectError, Shutdown, SocketAddr};
use corelane_proto::tcp::segment::Flags;
use corelane_proto::tcp::state::State;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const FIN: Flags = Flags::FIN;

#[test]
fn two_syns_that_cross_open_one_connection() {
    let world = World::new();
    let stack = world.start();
    world.wire.rule(|seen| if seen.side == Side::Ours { Fate::Held } else { Fate::Passed });
    let id = stack.connect(&format!("{KERNEL}:9100"));
    let port = world.wire.saw(ours(SYN)).src.port;
    let connecting = std::thread::spawn(move || kernel_connect_from(9100, port));
    // We answer a SYN that we did not expect with our own again.
    world.wire.saw_in_order(&[kernel(SYN), ours(SYN | ACK).seq(0).ack(1)]);
    stack.expect_state(id, State::SynReceived);
    // And so does the kernel, which had none of ours until now.
    world.wire.open();
    let mut stream = connecting.join().unwrap();
    world.wire.saw(kernel(SYN | ACK).seq(0).ack(1));
    stack.expect(Happened::Connected(id));

    stream.write_all(b"from the kernel").unwrap();
    assert_eq!(stack.got(id, 15), b"from the kernel");
    stack.send(id, b"from us");
    let mut got = [0; 7];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"from us");
    drop(stream);
    stack.expect(Happened::PeerClosed(id));
    stack.close(id);
    assert_eq!(stack.closed(id), CloseReason::Finished);
    let summary = stack.stop();
    assert_eq!(summary.protocol()["opened_active"], 1, "{summary}");
}

#[test]
fn a_close_in_syn_received_is_a_fin_that_the_kernel_reads_as_the_end() {
    let world = World::new();
    let stack = world.start();
    world.wire.rule(|seen| if seen.side == Side::Ours { Fate::Held } else { Fate::Passed });
    let id = stack.connect(&format!("{KERNEL}:9100"));
    let port = world.wire.saw(ours(SYN)).src.port;
    let connecting = std::thread::spawn(move || kernel_connect_from(9100, port));
    stack.expect_state(id, State::SynReceived);
    stack.shutdown(id, Shutdown::Write);
    world.wire.saw(ours(FIN).seq(1).ack(1));
    stack.expect_state(id, State::FinWait1);
    world.wire.open();
    let mut stream = connecting.join().unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    stack.expect_state(id, State::FinWait2);
    stream.write_all(b"open at my end").unwrap();
    assert_eq!(stack.got(id, 14), b"open at my end");
    drop(stream);
    assert_eq!(stack.closed(id), CloseReason::Finished);
    stack.stop();
}

#[test]
fn our_syn_and_syn_ack_have_the_kernels_options_in_the_kernels_order() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let listener = kernel_listener(9000);
    let stream = kernel_connect(7);
    stack.connected(&format!("{KERNEL}:9000"));
    let other = listener.accept().unwrap().0;
    let syns = |side: fn(Flags) -> crate::segment::Pattern| {
        let all = world.wire.all(side(SYN));
        let of = |answer| all.iter().find(|seen| seen.has(ACK) == answer).unwrap().clone();
        [of(false), of(true)]
    };
    for (mine, theirs) in syns(ours).into_iter().zip(syns(kernel)) {
        assert_eq!(mine.kinds, theirs.kinds, "{mine}\n{theirs}");
        // MSS, SACK-permitted, timestamps, NOP, window scale.
        assert_eq!(mine.kinds, [2, 4, 8, 1, 3], "{mine}");
        assert_eq!(mine.segment.options.mss, Some(1460), "{mine}");
    }
    // And what follows, too: NOP, NOP, timestamps.
    let acks = [world.wire.saw(ours(ACK).seq(1)), world.wire.saw(kernel(ACK).seq(1))];
    assert_eq!(acks.map(|seen| seen.kinds), [[1, 1, 8], [1, 1, 8]]);
    drop((stream, other));
    stack.stop();
}

/// Bytes that go to and fro in a test of options.
const SOME: usize = 1 << 20;

/// Sends bytes both ways on a connection that the kernel opens and one that we open; gives what was seen.
fn exchange_both_ways(world: &World) -> Vec<Seen> {
    let stack = world.start();
    stack.listen(7);
    let listener = kernel_listener(9000);
    let passive = kernel_connect(7);
    let passive_id = stack.accepted();
    let active_id = stack.connected(&format!("{KERNEL}:9000"));
    let active = patient(listener.accept().unwrap().0);
    for (mut stream, id) in [(passive, passive_id), (active, active_id)] {
        stack.check(id);
        stack.stream(id, 0..SOME as u64, true);
        let mut writer = stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&stretch(0, SOME)).unwrap());
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert!(got == stretch(0, SOME), "{} bytes came from the stack", got.len());
        writing.join().unwrap();
        stack.until("all of it", || (stack.checked(id).0 == SOME as u64).then_some(()));
        drop(stream);
        assert_eq!(stack.closed(id), CloseReason::Finished);
    }
    stack.stop();
    let mut seen = world.wire.all(ours(ACK));
    seen.extend(world.wire.all(ours(SYN)));
    seen.extend(world.wire.all(kernel(SYN)));
    seen
}

#[test]
fn a_peer_without_timestamps_gets_none() {
    let world = World::new();
    world.sysctl("tcp_timestamps", "0");
    let seen = exchange_both_ways(&world);
    for seen in &seen {
        let offered = seen.side == Side::Ours && seen.has(SYN) && !seen.has(ACK);
        assert_eq!(seen.segment.options.timestamps.is_some(), offered, "{seen}");
        // The kernel's order without timestamps has padding where they were.
        if seen.has(SYN) && !offered {
            assert_eq!(seen.kinds, [2, 1, 1, 4, 1, 3], "{seen}");
        }
    }
    assert!(seen.iter().any(|seen| seen.len() == 1460), "twelve bytes more of payload");
}

#[test]
fn a_peer_without_sack_or_window_scaling_gets_neither() {
    let world = World::new();
    world.sysctl("tcp_sack", "0");
    world.sysctl("tcp_window_scaling", "0");
    let seen = exchange_both_ways(&world);
    for seen in &seen {
        let offered = seen.side == Side::Ours && seen.has(SYN) && !seen.has(ACK);
        let options = &seen.segment.options;
        assert_eq!((options.sack_permitted, options.window_scale.is_some()), (offered, offered), "{seen}");
        assert!(options.sack.is_empty(), "{seen}");
        if seen.has(SYN) && !offered {
            assert_eq!(seen.kinds, [2, 1, 1, 8], "{seen}");
        }
    }
    assert!(seen.iter().all(|seen| seen.side == Side::Kernel || seen.segment.window > 0), "the window is not scaled");
}

#[test]
fn a_peer_with_a_small_mss_gets_no_more() {
    let world = World::new();
    world.route("change 10.79.0.0/24 dev veth1 proto kernel scope link src 10.79.0.1 advmss 536");
    let seen = exchange_both_ways(&world);
    assert!(seen.iter().all(|seen| seen.side == Side::Kernel || seen.len() <= 524), "536 with the options' 12");
    assert!(seen.iter().any(|seen| seen.len() == 524), "full segments");
}

#[test]
fn a_listener_comes_back_at_once_while_its_connections_are_in_time_wait() {
    let world = World::new();
    let stack = world.start();
    let local: std::net::SocketAddr = format!("{OWN}:7").parse().unwrap();
    let listen = || stack.with(move |_, core| core.listen(local)).unwrap();
    let first = listen();
    let mut stream = kernel_connect_from(5007, 7);
    let id = stack.accepted();
    // We close first, so TIME-WAIT is ours, and lasts a minute.
    stack.close(id);
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    drop(stream);
    world.wire.saw_in_order(&[ours(FIN), kernel(FIN), ours(ACK).seq(2).ack(2)]);
    assert_eq!(stack.closed(id), CloseReason::Finished);

    stack.with(move |_, core| core.unlisten(first));
    listen();
    let mark = world.wire.mark();
    // The same two ends: a newer SYN takes the place of the old connection.
    let mut again = kernel_connect_from(5007, 7);
    let id = stack.accepted();
    let syn = world.wire.after(mark, kernel(SYN));
    let answer = world.wire.after(mark, ours(SYN | ACK).ack(1));
    assert_eq!((syn.src.port, answer.dst.port), (5007, 5007));
    again.write_all(b"again").unwrap();
    assert_eq!(stack.got(id, 5), b"again");
    // And another one beside it.
    kernel_connect(7);
    stack.accepted();
    stack.stop();
}

#[test]
fn our_port_is_used_again_while_the_kernel_has_it_in_time_wait() {
    let world = World::new();
    // One port only: the second connection has to take the first one's.
    let config = World::config().set("limits.first_port", 40_000).set("limits.last_port", 40_000);
    let stack = world.start_with(config);
    let listener = kernel_listener(9000);
    let mut numbers = Vec::new();
    for round in 0..3_u8 {
        let mark = world.wire.mark();
        let id = stack.connected(&format!("{KERNEL}:9000"));
        let mut stream = patient(listener.accept().unwrap().0);
        numbers.push(world.wire.after(mark, ours(SYN)).segment.seq);
        assert_eq!(world.wire.after(mark, ours(SYN)).src.port, 40_000);
        stack.send(id, &[round; 100]);
        let mut got = [0; 100];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, [round; 100]);
        // The kernel closes first, so TIME-WAIT is the kernel's.
        drop(stream);
        stack.expect(Happened::PeerClosed(id));
        stack.close(id);
        assert_eq!(stack.closed(id), CloseReason::Finished);
        world.socket_with(&["TIME-WAIT", ":9000", ":40000"]);
    }
    assert!(numbers.windows(2).all(|pair| pair[1].after(pair[0])), "each ISN is beyond the last: {numbers:?}");
    stack.stop();
}

#[test]
fn a_listener_that_connects_keeps_its_port() {
    let world = World::new();
    let stack = world.start();
    let local: std::net::SocketAddr = format!("{OWN}:8000").parse().unwrap();
    let listener = stack.with(move |_, core| core.listen(local)).unwrap();
    let kernels = kernel_listener(9000);
    let to: std::net::SocketAddr = format!("{KERNEL}:9000").parse().unwrap();
    let id = stack.with(move |_, core| {
        let id = core.connect_listener(listener, SocketAddr::from(to), Line::new(None, false)).unwrap();
        core.state(id).unwrap().id = Some(id);
        id
    });
    stack.expect(Happened::Connected(id));
    let (stream, peer) = kernels.accept().unwrap();
    assert_eq!(peer.port(), 8000);
    let mut stream = patient(stream);
    stream.write_all(b"hello").unwrap();
    assert_eq!(stack.got(id, 5), b"hello");
    world.wire.saw_in_order(&[ours(Flags::SYN).seq(0), kernel(Flags::SYN | Flags::ACK), ours(Flags::ACK).seq(1)]);
    // It listens no more.
    let again = std::net::TcpStream::connect((OWN, 8000));
    assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    stack.stop();
}

#[test]
fn nothing_is_sent_in_the_quiet_time_after_the_start() {
    const QUIET: Duration = Duration::from_secs(3);
    let world = World::new();
    let began = Instant::now();
    let stack = world.start_with(World::config().set("tcp.quiet_time_ms", QUIET.as_millis() as i64));
    stack.listen(7);
    let to: std::net::SocketAddr = format!("{KERNEL}:9000").parse().unwrap();
    let early = stack.with(move |_, core| core.connect(SocketAddr::from(to), Line::new(None, false)));
    assert!(matches!(early, Err(ConnectError::QuietTime(left)) if left <= QUIET), "{early:?}");
    // The kernel asks again until it is answered.
    let _stream = kernel_connect(7);
    stack.accepted();
    assert!(began.elapsed() >= QUIET, "{:?}", began.elapsed());
    assert!(world.wire.count(kernel(SYN)) >= 2, "{}", world.wire.shown());
    assert_eq!(world.wire.count(ours(Flags::RST)), 0, "{}", world.wire.shown());
    assert!(stack.counters().dropped_quiet_time >= 1);
    stack.stop();
}
