//! What the kernel changes while connections live: they go on, or fail with the right reason.

use crate::common::stretch;
use crate::common::veth::{KERNEL, Link, connect, enter, ip, start};
use crate::world::{SHARED, SOON, echo, request, settings, soon, stopped};
use corelane::{App, CloseReason, Conn, Core, Error, Rx, SocketAddr};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// A connection of the kernel's that gives up only after a long while.
fn patient(link: &Link) -> TcpStream {
    enter(&link.theirs);
    let stream = connect(&format!("{SHARED}:7"));
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

#[test]
fn a_neighbour_with_another_ethernet_address_is_found_again() {
    let link = Link::new("mac", 1);
    let running = echo(&link);
    let mut stream = patient(&link);
    request(&mut stream, 1).unwrap();
    ip(&format!("-n {} link set veth1 address 02:00:00:00:77:01", link.theirs));
    // The kernel on our side learns of it from what comes, or when it asks again.
    ip(&format!("-n {} neigh replace {KERNEL} lladdr 02:00:00:00:77:01 dev veth0 nud reachable", link.ours));
    for number in 2..20 {
        request(&mut stream, number).unwrap();
    }
    drop(stream);
    let summary = stopped(running);
    assert_eq!(summary.endings()["finished"], 1, "{summary}");
}

#[test]
fn a_link_that_goes_down_and_comes_again_loses_no_connection() {
    let link = Link::new("flap", 1);
    let running = echo(&link);
    let mut stream = patient(&link);
    for number in 0..5 {
        request(&mut stream, number).unwrap();
        ip(&format!("-n {} link set veth0 down", link.ours));
        std::thread::sleep(Duration::from_millis(100));
        ip(&format!("-n {} link set veth0 up", link.ours));
    }
    request(&mut stream, 9).unwrap();
    drop(stream);
    let summary = stopped(running);
    assert_eq!(summary.endings()["finished"], 1, "{summary}");
}

#[test]
fn a_route_that_changes_is_taken_at_once() {
    let link = Link::new("route", 1);
    // Another address of the peer, reached by a route of its own.
    ip(&format!("-n {} addr add 10.79.0.1/32 dev veth1", link.theirs));
    ip(&format!("-n {} route add 10.79.0.1 via {KERNEL}", link.ours));
    let running = echo(&link);
    enter(&link.theirs);
    let from = |stream: &mut TcpStream, number| request(stream, number).unwrap();
    let mut stream = bound("10.79.0.1");
    from(&mut stream, 1);
    ip(&format!("-n {} route replace 10.79.0.1 dev veth0", link.ours));
    (2..10).for_each(|number| from(&mut stream, number));
    ip(&format!("-n {} route replace 10.79.0.1 via {KERNEL} metric 5", link.ours));
    (10..20).for_each(|number| from(&mut stream, number));
    drop(stream);
    let summary = stopped(running);
    assert_eq!(summary.endings()["finished"], 1, "{summary}");
}

/// A connection of the kernel's from one of its addresses.
fn bound(from: &str) -> TcpStream {
    use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, connect, socket};
    let end = std::time::Instant::now() + SOON;
    loop {
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&fd, &SocketAddrV4::new(from.parse().unwrap(), 0)).unwrap();
        if connect(&fd, &SocketAddrV4::new(SHARED.parse().unwrap(), 7)).is_ok() {
            let stream = TcpStream::from(fd);
            stream.set_read_timeout(Some(SOON)).unwrap();
            return stream;
        }
        assert!(std::time::Instant::now() < end, "no connection from {from}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_address_that_is_taken_away_ends_its_connections_with_that_reason_and_comes_again() {
    let link = Link::new("addr", 1);
    ip(&format!("-n {} addr add 10.78.0.3/24 dev veth0", link.ours));
    let running = echo(&link);
    enter(&link.theirs);
    let mut stays = connect(&format!("{SHARED}:7"));
    let mut goes = connect("10.78.0.3:7");
    request(&mut stays, 1).unwrap();
    request(&mut goes, 1).unwrap();
    ip(&format!("-n {} addr del 10.78.0.3/24 dev veth0", link.ours));
    // New connections to it find nobody; the others live.
    soon("the address is gone", || {
        TcpStream::connect_timeout(&"10.78.0.3:7".parse().unwrap(), Duration::from_millis(200)).is_err()
    });
    request(&mut stays, 2).unwrap();
    drop(stays);
    let summary = stopped(running);
    assert_eq!(summary.endings()["address_removed"], 1, "{summary}");
}

/// Tries to reach one that nobody answers for, and tells how it ended.
struct Lonely(Sender<CloseReason>);

impl App for Lonely {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        let nobody: std::net::SocketAddr = "10.78.0.99:80".parse().unwrap();
        core.connect(SocketAddr::from(nobody), ())?;
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) {}

    fn on_recv(&mut self, conn: &mut Conn<'_>, (): &mut (), _: &mut Rx<'_>) {
        conn.send_copy(&stretch(0, 1));
    }

    fn on_closed(&mut self, _: &mut Core<'_, ()>, (): (), reason: CloseReason) {
        let _ = self.0.send(reason);
    }
}

#[test]
fn one_for_whom_nobody_answers_is_unreachable() {
    let link = Link::new("nobody", 1);
    let (told, ends) = channel();
    let running = start(&link, settings(&link).build().unwrap(), move |_| Lonely(told.clone()));
    // The kernel asks three times, a second apart.
    let reason = ends.recv_timeout(SOON).unwrap();
    assert_eq!(reason, CloseReason::Unreachable);
    stopped(running);
}
