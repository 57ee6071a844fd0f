//! A link whose our end has an address of the kernel's, on which the stack listens.

use crate::common::veth::{Link, enter, start};
use crate::common::{Echo, stretch};
use corelane::config::{Builder, Mode, Sharing};
use corelane::{Config, Error, StopHandle, Summary};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
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

/// How often the stack comes and goes: 10 times, or as often as `CORELANE_TIMES` says.
pub(crate) fn times() -> u64 {
    std::env::var("CORELANE_TIMES").map_or(10, |times| times.parse().unwrap())
}

/// Tells a process that it is the stack, and in which namespace.
const STACK_IN: &str = "CORELANE_TEST_SHARED_IN";

/// Runs an echoing stack, to be killed, in a process that [`stack_in_a_process`] has started; elsewhere it does nothing.
pub(crate) fn is_the_stack() -> bool {
    let Ok(namespace) = std::env::var(STACK_IN) else { return false };
    enter(&namespace);
    let config = Config::builder()
        .interface("veth0")
        .mode(Mode::Copy)
        .set("memory.frame_count", 4096)
        .set("memory.fill_ring", 2048)
        .set("memory.tx_ring", 1024)
        .set("cores.pin", false)
        .build()
        .unwrap();
    corelane::run(&config, |_| Echo::default()).unwrap();
    true
}

/// Has `test`, which asks [`is_the_stack`] first, be the stack in a process of its own.
pub(crate) fn stack_in_a_process(link: &Link, test: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(STACK_IN, &link.ours)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Nothing of the stack's is left on the interface.
#[track_caller]
pub(crate) fn expect_no_program(link: &Link) {
    let shown = Command::new("ip").args(["-n", &link.ours, "link", "show", "veth0"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&shown.stdout).contains("xdp"), "{shown:?}");
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
