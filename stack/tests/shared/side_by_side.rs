//! The kernel's own services on the same interface and address, while the stack comes, works and goes.

use crate::common::stretch;
use crate::common::veth::{KERNEL, Link, connect, enter, ip, start};
use crate::world::{
    SHARED, echo, expect_no_program, is_the_stack, request, serve_from_the_kernel, settings, stack_in_a_process,
    stopped, times,
};
use corelane::{App, CloseReason, Conn, Core, Error, Rx, SocketAddr};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

#[test]
fn a_service_of_the_kernel_loses_nothing_while_the_stack_comes_and_goes() {
    let link = Link::new("side", 2);
    serve_from_the_kernel(&link.ours, 22);
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                enter(&link.theirs);
                let mut kept = connect(&format!("{SHARED}:22"));
                while !over.load(Ordering::Relaxed) {
                    let number = served.fetch_add(1, Ordering::Relaxed);
                    request(&mut kept, number).unwrap();
                    // And a connection that is new. It may be refused by nobody.
                    let mut new = TcpStream::connect((SHARED, 22)).unwrap();
                    new.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    request(&mut new, number).unwrap();
                }
            });
        }
        enter(&link.theirs);
        for round in 0..times() {
            let before = served.load(Ordering::Relaxed);
            let running = echo(&link);
            let mut stream = connect(&format!("{SHARED}:7"));
            for number in 0..50 {
                request(&mut stream, number).unwrap();
            }
            let ping = Command::new("ping").args(["-c", "1", "-W", "2", SHARED]).output().unwrap();
            assert!(ping.status.success(), "the kernel answers pings, as ever: {ping:?}");
            let summary = stopped(running);
            assert!(summary.steering["redirected_listener"] > 0, "{summary}");
            assert_eq!(summary.steering["redirected_own_tcp"], 0, "{summary}");
            assert!(served.load(Ordering::Relaxed) > before, "round {round}: the kernel's service stands still");
            // The port is the kernel's again.
            let refused = TcpStream::connect((SHARED, 7)).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_port_that_the_kernel_listens_on_is_not_taken_from_it() {
    let link = Link::new("taken", 1);
    serve_from_the_kernel(&link.ours, 7);
    let (_, stack) = echo(&link);
    let error = stack.join().unwrap().unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().lines().count()), (3, 1), "{error}");
    assert!(error.to_string().contains("10.78.0.2:7"), "{error}");
    enter(&link.theirs);
    request(&mut connect(&format!("{SHARED}:7")), 1).unwrap();
}

/// Opens connections to the kernel's end, one after the other, and tells how each ended.
struct Caller {
    left: u64,
    told: Sender<(CloseReason, bool)>,
}

struct Call {
    number: u64,
    back: Vec<u8>,
}

impl Caller {
    fn call(&mut self, core: &mut Core<'_, Call>) {
        let Some(number) = self.left.checked_sub(1) else { return };
        self.left = number;
        let to: std::net::SocketAddr = format!("{KERNEL}:9000").parse().unwrap();
        core.connect(SocketAddr::from(to), Call { number, back: Vec::new() }).unwrap();
    }
}

impl App for Caller {
    type State = Call;

    fn on_start(&mut self, core: &mut Core<'_, Call>) -> Result<(), Error> {
        (0..4).for_each(|_| self.call(core));
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) -> Call {
        unreachable!("nobody listens")
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, call: &mut Call) {
        conn.send_copy(&stretch(call.number * 31, 400));
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, call: &mut Call, rx: &mut Rx<'_>) {
        call.back.extend_from_slice(rx.bytes());
        if call.back.len() == 400 {
            conn.close();
        }
    }

    fn on_closed(&mut self, core: &mut Core<'_, Call>, call: Call, reason: CloseReason) {
        let _ = self.told.send((reason, call.back == stretch(call.number * 31, 400)));
        self.call(core);
    }
}

#[test]
fn connections_that_the_stack_opens_from_a_shared_address_come_back_to_it() {
    let link = Link::new("call", 2);
    let calls = 200;
    let (ready, listening) = channel();
    let theirs = link.theirs.clone();
    std::thread::spawn(move || {
        enter(&theirs);
        let listener = TcpListener::bind((KERNEL, 9000)).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut bytes) {
                    stream.write_all(&bytes[..len]).unwrap();
                }
            });
        }
    });
    listening.recv().unwrap();
    let config = settings(&link).set("cores.workers", 2).set("cores.pin", false).build().unwrap();
    let (told, ends) = channel();
    let running = start(&link, config, move |_| Caller { left: calls, told: told.clone() });
    for n in 0..2 * calls {
        let end = ends.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("only {n} have ended"));
        assert_eq!(end, (CloseReason::Finished, true));
    }
    let summary = stopped(running);
    assert!(summary.steering["redirected_flow"] > 0 && summary.steering["redirected_listener"] == 0, "{summary}");
    assert_eq!(summary.protocol()["resets_out"], 0, "{summary}");
}

#[test]
fn one_that_is_killed_leaves_the_kernel_its_address() {
    if is_the_stack() {
        return;
    }
    let link = Link::new("killed", 2);
    serve_from_the_kernel(&link.ours, 22);
    enter(&link.theirs);
    let mut kept = connect(&format!("{SHARED}:22"));
    for round in 0..times() {
        let mut child = stack_in_a_process(&link, "side_by_side::one_that_is_killed_leaves_the_kernel_its_address");
        request(&mut connect(&format!("{SHARED}:7")), round).unwrap();
        request(&mut kept, round).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        request(&mut kept, round).unwrap();
        request(&mut connect(&format!("{SHARED}:22")), round).unwrap();
        expect_no_program(&link);
    }
    ip(&format!("-n {} link show veth0", link.ours));
}
