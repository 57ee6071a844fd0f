//! A real web server of the kernel's beside the stack: it loses no request, whatever happens to the stack.

use crate::common::veth::{Link, connect, enter};
use crate::world::{SHARED, SOON, expect_no_program, is_the_stack, request, soon, stack_in_a_process, times};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tempfile::TempDir;

/// Bytes of the page that is asked for: several segments.
const PAGE: usize = 8000;

/// Clients of nginx of each kind, and connections that keep the stack busy.
const CLIENTS: usize = 2;
const LOAD: usize = 8;

/// What both serve under load in a round before the stack is killed, at least.
const UNDER_LOAD: u64 = 2000;
const BESIDE: u64 = 50;

/// nginx in the namespace of the thread that starts it, with all its files in a folder of its own.
struct Nginx {
    master: Child,
    dir: TempDir,
}

impl Nginx {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Its workers are other users.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let at = dir.path().display();
        let temporary =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {at}/{of};"));
        let config = format!(
            "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; {} keepalive_requests 1000000000; keepalive_timeout 1h;\n\
             server {{ listen {SHARED}:80; root {at}; }} }}\n",
            temporary.concat()
        );
        std::fs::write(dir.path().join("page"), page()).unwrap();
        std::fs::write(dir.path().join("config"), config).unwrap();
        let master = Command::new("nginx")
            .args(["-c", &format!("{at}/config"), "-p", &at.to_string(), "-e", &format!("{at}/error.log")])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx can be executed: scripts/setup installs it");
        Self { master, dir }
    }

    /// What it has complained of.
    fn errors(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, which its master passes on; a kill would leave its worker behind.
        let _ = Command::new("kill").arg(self.master.id().to_string()).status();
        let _ = self.master.wait();
    }
}

fn page() -> String {
    "corelane".repeat(PAGE / 8)
}

/// One request on a connection that stays.
fn get(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    stream.get_mut().write_all(b"GET /page HTTP/1.1\r\nHost: beside\r\n\r\n")?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut body = vec![0; PAGE];
    stream.read_exact(&mut body)?;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Connection: keep-alive"), "{head}");
    assert!(body == page().as_bytes(), "other bytes came");
    Ok(())
}

fn patient(stream: TcpStream) -> BufReader<TcpStream> {
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_nodelay(true).unwrap();
    BufReader::new(stream)
}

/// What is done meanwhile, and counted.
#[derive(Default)]
struct Meanwhile {
    over: AtomicBool,
    /// Requests to nginx on connections that live as long as the test, and on new ones.
    kept: AtomicU64,
    new: AtomicU64,
    /// Requests to the stack.
    load: AtomicU64,
}

/// However the test ends, the others are told.
struct Over<'a>(&'a Meanwhile);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Relaxed);
    }
}

impl Meanwhile {
    /// Asks nginx on one connection. Each failure is the test's.
    fn keep(&self, link: &Link) {
        let _over = Over(self);
        enter(&link.theirs);
        let mut stream = patient(connect(&format!("{SHARED}:80")));
        while !self.over.load(Relaxed) {
            get(&mut stream).unwrap_or_else(|error| panic!("nginx, on a connection that is kept: {error}"));
            self.kept.fetch_add(1, Relaxed);
        }
    }

    /// Asks nginx on a new connection each time.
    fn renew(&self, link: &Link) {
        let _over = Over(self);
        enter(&link.theirs);
        while !self.over.load(Relaxed) {
            let stream = TcpStream::connect((SHARED, 80));
            let stream = stream.unwrap_or_else(|error| panic!("nginx, connecting anew: {error}"));
            get(&mut patient(stream)).unwrap_or_else(|error| panic!("nginx, on a new connection: {error}"));
            self.new.fetch_add(1, Relaxed);
        }
    }

    /// Keeps the stack busy while there is one; its connections end with it.
    fn load(&self, link: &Link) {
        enter(&link.theirs);
        while !self.over.load(Relaxed) {
            let Ok(mut stream) = TcpStream::connect((SHARED, 7)) else {
                // There is none. The kernel says so at once.
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut number = 0;
            while !self.over.load(Relaxed) && request(&mut stream, number).is_ok() {
                number += 1;
                self.load.fetch_add(1, Relaxed);
            }
        }
    }

    fn counts(&self) -> [u64; 3] {
        [&self.kept, &self.new, &self.load].map(|count| count.load(Relaxed))
    }

    /// Waits until so many more of each have been served.
    fn expect(&self, what: &str, more: [u64; 3]) {
        let before = self.counts();
        soon(what, || {
            assert!(!self.over.load(Relaxed), "{what}: nginx has failed a client");
            self.counts().into_iter().zip(before).zip(more).all(|((now, before), more)| now >= before + more)
        });
    }
}

#[test]
fn nginx_loses_no_request_while_the_stack_starts_works_and_is_killed() {
    if is_the_stack() {
        return;
    }
    let link = Link::new("nginx", 2);
    enter(&link.ours);
    let nginx = Nginx::start();
    enter(&link.theirs);
    // It listens from now on.
    get(&mut patient(connect(&format!("{SHARED}:80")))).unwrap();
    let meanwhile = Meanwhile::default();
    std::thread::scope(|scope| {
        let _over = Over(&meanwhile);
        for _ in 0..CLIENTS {
            scope.spawn(|| meanwhile.keep(&link));
            scope.spawn(|| meanwhile.renew(&link));
        }
        (0..LOAD).for_each(|_| drop(scope.spawn(|| meanwhile.load(&link))));
        for round in 0..times() {
            meanwhile.expect(&format!("round {round}, without the stack"), [BESIDE, BESIDE, 0]);
            let test = "nginx::nginx_loses_no_request_while_the_stack_starts_works_and_is_killed";
            let mut stack = stack_in_a_process(&link, test);
            meanwhile.expect(&format!("round {round}, under load"), [BESIDE, BESIDE, UNDER_LOAD]);
            assert!(stack.try_wait().unwrap().is_none(), "round {round}: the stack has ended by itself");
            stack.kill().unwrap();
            stack.wait().unwrap();
            expect_no_program(&link);
        }
    });
    let [kept, new, load] = meanwhile.counts();
    let errors = nginx.errors();
    assert!(
        !errors.lines().any(|line| ["[error]", "[crit]", "[alert]", "[emerg]"].iter().any(|l| line.contains(l))),
        "{errors}"
    );
    println!(
        "the stack killed {} times under load ({load} requests): nginx served {kept} requests on {CLIENTS} kept \
         connections and {new} on as many new ones, and failed none",
        times()
    );
}
