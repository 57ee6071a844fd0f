//! A link whose our end has an address of the kernel's, on which the stack listens.

use crate::common::veth::{Link, enter, start};
use crate::common::{Echo, stretch};
use corelane::config::{Builder, Sharing};
use corelane::{Error, StopHandle, Summary};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The kernel's address on our end, which the stack has too.
pub(crate) const SHARED: &str = "10.78.0.2";

/// What a busy machine may take for anything that should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) type Running = (StopHandle, JoinHandle<Result<Summary, Error>>);

/// The settings of a stack on the kernel's addresses of the interface.
pub(crate) fn settings(link: &Link) -> Builder {
    link.config().set("interface.address", Vec::<String>::new()).sharing(Sharing::Shared)
}

/// A stack that echoes on port 7 of the shared address.
pub(crate) fn echo(link: &Link) -> Running {
    start(link, settings(link).build().unwrap(), |_| Echo::default())
}

pub(crate) fn stopped((stop, stack): Running) -> Summary {
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    assert!(summary.all_frames_accounted_for(), "{summary}");
    summary
}

/// One request over a connection of the kernel's.
pub(crate) fn request(stream: &mut TcpStream, number: u64) -> std::io::Result<()> {
    let sent = stretch(number * 1009, 500);
    stream.write_all(&sent)?;
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back)?;
    assert!(back == sent, "request {number}: other bytes came back");
    Ok(())
}

/// An echo server of the kernel's at our end, for ever.
pub(crate) fn serve_from_the_kernel(namespace: &str, port: u16) {
    let namespace = namespace.to_owned();
    let (ready, listening) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        enter(&namespace);
        let listener = TcpListener::bind((SHARED, port)).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    listening.recv().unwrap();
}

/// Calls `attempt` until it holds.
#[track_caller]
pub(crate) fn soon(what: &str, mut attempt: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !attempt() {
        assert!(Instant::now() < end, "{what}: not yet after {SOON:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
