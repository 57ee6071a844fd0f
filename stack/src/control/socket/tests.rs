//! The control socket as its clients meet it, and the file that it is.

use super::clients::{Clients, MOST};
use super::*;
use crate::control::{CoreShare, Desk};
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

/// A folder of its own for each test, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("corelane-socket-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("a.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn serve(path: &Path, control: &Control) -> Result<ControlSocket, SocketError> {
    serve_until(path, control, &StopHandle::new())
}

fn serve_until(path: &Path, control: &Control, stop: &StopHandle) -> Result<ControlSocket, SocketError> {
    let served = ControlSocket::serve(path.to_str().unwrap(), control, stop, false, || Ok::<(), Infallible>(()));
    served.map(|socket| socket.expect("a path is given"))
}

fn client(path: &Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    BufReader::new(stream)
}

fn hear(client: &mut BufReader<UnixStream>) -> Answer {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

fn ask(client: &mut BufReader<UnixStream>, request: &str) -> Answer {
    client.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
    hear(client)
}

fn error(answer: Answer) -> String {
    match answer {
        Answer::Error(sentence) => sentence,
        Answer::Workers(shares) => panic!("{shares:?}"),
    }
}

fn share(buckets: u32) -> CoreShare {
    CoreShare { buckets, ..CoreShare::default() }
}

/// Answers `count` requests as a stack would: drains fail, the others tell their turn.
fn stand_in(desk: Desk, count: u32) -> JoinHandle<Vec<Ask>> {
    std::thread::spawn(move || {
        let asked = (0..count).map(|turn| {
            let request = desk.requests.recv_timeout(LIMIT).unwrap();
            let answer = match request.what {
                Ask::Drain(worker) => Err(ControlError::LastWorker { worker }),
                _ => Ok(vec![share(turn)]),
            };
            request.answer.send(answer).unwrap();
            request.what
        });
        asked.collect()
    })
}

#[test]
fn each_request_reaches_the_stack_and_is_answered_in_its_order() {
    let (folder, control) = (Folder::new(), Control::new());
    let _socket = serve(&folder.socket(), &control).unwrap();
    let stack = stand_in(control.open_desk(), 6);
    let mut client = client(&folder.socket());
    assert_eq!(ask(&mut client, "shares"), Answer::Workers(vec![share(0)]));
    assert_eq!(ask(&mut client, "add 1"), Answer::Workers(vec![share(1)]));
    let sentence = error(ask(&mut client, "drain 0"));
    assert_eq!(sentence, "worker 0 is the last one that takes new connections: add another one first");
    // Several at once, the last of them ended by the end alone.
    client.get_mut().write_all(b"rebalance\nshares\r\nshares").unwrap();
    client.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    for turn in 3..6 {
        assert_eq!(hear(&mut client), Answer::Workers(vec![share(turn)]));
    }
    assert_eq!(client.read_line(&mut String::new()).unwrap(), 0, "it goes when we have gone");
    let asked = stack.join().unwrap();
    assert_eq!(asked, [Ask::Shares, Ask::Add(1), Ask::Drain(0), Ask::Rebalance, Ask::Shares, Ask::Shares]);
}

#[test]
fn garbage_is_answered_by_a_sentence_and_the_client_may_go_on() {
    let (folder, control) = (Folder::new(), Control::new());
    let _socket = serve(&folder.socket(), &control).unwrap();
    let stack = stand_in(control.open_desk(), 1);
    let mut client = client(&folder.socket());
    for garbage in ["", "GET / HTTP/1.1", "drain one", "add -1", "\u{1b}[2J\0", "shares shares"] {
        let sentence = error(ask(&mut client, garbage));
        assert!(sentence.contains("say shares") || sentence.contains("give its number"), "{sentence}");
    }
    assert_eq!(ask(&mut client, "shares"), Answer::Workers(vec![share(0)]));
    assert_eq!(stack.join().unwrap(), [Ask::Shares], "nothing else reached the stack");
}

#[test]
fn a_line_without_end_is_answered_once_and_cut_off() {
    let (folder, control) = (Folder::new(), Control::new());
    let _socket = serve(&folder.socket(), &control).unwrap();
    for long in [vec![b'x'; 65], vec![b'x'; 100_000], [&[b'y'; 70][..], b"\nshares\n"].concat()] {
        let mut client = client(&folder.socket());
        // It may be gone before everything is written.
        let _ = client.get_mut().write_all(&long);
        assert!(error(hear(&mut client)).contains("at most 64 bytes"));
        let mut rest = Vec::new();
        // What we had not finished saying may show as a reset.
        let _ = client.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    }
}

#[test]
fn one_client_too_many_is_told_so_and_there_is_room_when_one_goes() {
    let (folder, control) = (Folder::new(), Control::new());
    let _socket = serve(&folder.socket(), &control).unwrap();
    let mut clients: Vec<_> = (0..MOST).map(|_| client(&folder.socket())).collect();
    // Each is there for sure once it has an answer.
    for client in &mut clients {
        assert!(error(ask(client, "?")).contains("is no request"));
    }
    let mut late = client(&folder.socket());
    assert_eq!(error(hear(&mut late)), "8 clients are connected already: try again later");
    assert_eq!(late.read_line(&mut String::new()).unwrap(), 0);
    clients.pop();
    // The socket sees it go and the next one come in either order.
    let end = std::time::Instant::now() + LIMIT;
    loop {
        let mut next = client(&folder.socket());
        if next.get_mut().write_all(b"?\n").is_ok() && error(hear(&mut next)).contains("is no request") {
            break;
        }
        assert!(std::time::Instant::now() < end, "there is no room");
    }
    assert!(error(ask(&mut clients[0], "?")).contains("is no request"), "the others are still there");
}

#[test]
fn who_asks_without_end_and_never_reads_holds_up_nobody() {
    let (folder, control) = (Folder::new(), Control::new());
    let _socket = serve(&folder.socket(), &control).unwrap();
    let mut deaf = client(&folder.socket());
    let request = format!("{}\n", "x".repeat(60));
    deaf.get_mut().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let flood = std::thread::spawn(move || {
        // Until it is cut off, or as long as our own patience lasts.
        (0..100_000).take_while(|_| deaf.get_mut().write_all(request.as_bytes()).is_ok()).count()
    });
    let mut other = client(&folder.socket());
    for _ in 0..20 {
        assert!(error(ask(&mut other, "?")).contains("is no request"));
    }
    drop(other);
    assert!(flood.join().unwrap() < 100_000, "its requests were not all taken");
}

#[test]
fn who_says_nothing_has_to_go() {
    let folder = Folder::new();
    let (listener, _file) = open(&folder.socket()).unwrap();
    let (running, ended) = UnixStream::pair().unwrap();
    let served = std::thread::spawn(move || {
        let mut clients = Clients::new(listener, ended);
        clients.silence = Duration::from_millis(50);
        clients.serve(|_| Answer::Workers(Vec::new()), |_| Ok(()));
    });
    let mut client = client(&folder.socket());
    assert_eq!(ask(&mut client, "shares"), Answer::Workers(Vec::new()));
    // Half a request is silence.
    client.get_mut().write_all(b"sha").unwrap();
    assert_eq!(error(hear(&mut client)), "nothing was asked for 0 s: connect again");
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    drop(running);
    served.join().unwrap();
}

#[test]
fn only_the_owner_may_use_it_and_it_goes_with_its_stack() {
    let (folder, control) = (Folder::new(), Control::new());
    let socket = serve(&folder.socket(), &control).unwrap();
    let metadata = folder.socket().symlink_metadata().unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let mut waiting = client(&folder.socket());
    assert_eq!(error(ask(&mut waiting, "shares")), "the stack is starting or stopping: try again later");
    drop(socket);
    assert!(!folder.socket().exists());
    assert_eq!(waiting.read(&mut [0; 1]).unwrap(), 0);
    assert!(
        ControlSocket::serve("", &control, &StopHandle::new(), false, || Ok::<(), Infallible>(())).unwrap().is_none()
    );
}

#[test]
fn a_stack_that_stops_says_so_at_once() {
    let (folder, control, stop) = (Folder::new(), Control::new(), StopHandle::new());
    let _socket = serve_until(&folder.socket(), &control, &stop).unwrap();
    // Nobody reads what comes to this desk.
    let _desk = control.open_desk();
    stop.stop();
    let asked = std::time::Instant::now();
    assert!(error(ask(&mut client(&folder.socket()), "drain 0")).contains("starting or stopping"));
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_file_of_a_dead_process_is_replaced() {
    let (folder, control) = (Folder::new(), Control::new());
    // Dropping a listener of std leaves its file, as a process that is killed does.
    drop(UnixListener::bind(folder.socket()).unwrap());
    assert!(folder.socket().exists());
    let socket = serve(&folder.socket(), &control).unwrap();
    assert!(error(ask(&mut client(&folder.socket()), "?")).contains("is no request"));
    drop(socket);
    assert!(!folder.socket().exists());
}

#[test]
fn a_live_socket_and_a_file_are_left_alone() {
    let (folder, control) = (Folder::new(), Control::new());
    let first = serve(&folder.socket(), &control).unwrap();
    let second = crate::Error::from(serve(&folder.socket(), &control).unwrap_err());
    assert_eq!(second.exit_code(), 3);
    let path = folder.socket().display().to_string();
    let sentence =
        format!("a process that runs has the control socket {path}: stop that one, or set another control.socket");
    assert_eq!(second.to_string(), sentence);
    assert!(error(ask(&mut client(&folder.socket()), "?")).contains("is no request"), "the first one goes on");
    drop(first);

    std::fs::write(folder.socket(), "mine").unwrap();
    let occupied = serve(&folder.socket(), &control).unwrap_err();
    assert_eq!(
        occupied.to_string(),
        format!("{path} is there and is no socket: remove it, or set another control.socket")
    );
    assert_eq!(std::fs::read_to_string(folder.socket()).unwrap(), "mine");

    let nowhere = serve(&folder.0.join("none/a.sock"), &control).unwrap_err();
    assert!(nowhere.to_string().contains("its folder is not there"), "{nowhere}");
}

/// A process that has taken over has a file of its own at the same place.
#[test]
fn only_our_own_file_is_removed() {
    let (folder, control) = (Folder::new(), Control::new());
    let old = serve(&folder.socket(), &control).unwrap();
    std::fs::rename(folder.socket(), folder.0.join("old.sock")).unwrap();
    let new = serve(&folder.socket(), &control).unwrap();
    drop(old);
    assert!(error(ask(&mut client(&folder.socket()), "?")).contains("is no request"));
    drop(new);
    assert!(!folder.socket().exists());
}

#[test]
fn nobody_is_served_by_a_thread_that_could_not_prepare() {
    let (folder, control) = (Folder::new(), Control::new());
    let path = folder.socket();
    let served = ControlSocket::serve(path.to_str().unwrap(), &control, &StopHandle::new(), false, || Err("no"));
    let _socket = served.unwrap();
    let Ok(mut stream) = UnixStream::connect(&path) else { return };
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
}
