//! A veth pair between two network namespaces, and an XDP program that gives everything to `AF_XDP`: for tests.
//!
//! Needs root and the program `ip`. The namespaces are named after the process, so that several tests do not meet, and
//! are deleted when the pair is dropped. What goes wrong panics, since this is for tests.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::raw::{self, Code};

/// `BPF_PROG_TYPE_SCHED_CLS` and `BPF_TCX_EGRESS`.
const PROG_TYPE_SCHED_CLS: u32 = 3;
const ATTACH_TCX_EGRESS: u32 = 47;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One end of a pair: a network namespace with one interface.
pub struct End {
    namespace: String,
    interface: String,
}

impl End {
    fn new(namespace: String, interface: &str) -> Self {
        succeed("ip", &["netns", "add", &namespace]);
        let end = Self { namespace, interface: interface.to_owned() };
        // The kernel would send neighbour solicitations and the like on its own.
        end.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null || true"]);
        end
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The namespace's name, as `ip netns` has it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs a program in the namespace and waits for it.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut all = vec!["netns", "exec", &self.namespace, program];
        all.extend(args);
        succeed("ip", &all)
    }

    /// Does `work` with this thread in the namespace. Sockets stay in the namespace that they were made in.
    ///
    /// # Panics
    ///
    /// When the thread cannot enter the namespace, or get back.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let back = File::open("/proc/thread-self/ns/net").expect("this thread's namespace");
        let inside = File::open(format!("/run/netns/{}", self.namespace)).expect("the namespace");
        set_namespace(&inside);
        let result = work();
        set_namespace(&back);
        result
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // Deleting a namespace deletes its interface and so the other end's. A test that leaves one behind has failed
        // otherwise already, or the next `ip netns` shows it: there is nobody to tell here.
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).output();
    }
}

/// Two namespaces joined by a veth pair, up, without IPv6.
pub struct VethPair {
    /// The first end.
    pub a: End,
    /// The second end.
    pub b: End,
}

impl VethPair {
    /// A pair with `queues` queues each way.
    ///
    /// # Panics
    ///
    /// Without root or `ip`.
    pub fn new(queues: u32) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("xdp-{}-{number}{end}", std::process::id());
        let (a, b) = (End::new(name("a"), "veth-a"), End::new(name("b"), "veth-b"));
        let queues = queues.to_string();
        let count = ["numrxqueues", &queues, "numtxqueues", &queues];
        let mut link = vec!["link", "add", "veth-a", "netns", a.namespace()];
        link.extend(count);
        link.extend(["type", "veth", "peer", "name", "veth-b", "netns", b.namespace()]);
        link.extend(count);
        succeed("ip", &link);
        for end in [&a, &b] {
            end.run("ip", &["link", "set", "dev", end.interface(), "up"]);
        }
        Self { a, b }
    }
}

/// [`raw::RedirectAll`] for tests: what goes wrong panics.
pub struct RedirectAll(raw::RedirectAll);

impl RedirectAll {
    /// Loads the program and attaches it to `interface`, of this thread's namespace.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn attach(interface: &str) -> Self {
        Self(raw::RedirectAll::attach(interface).expect("redirecting everything"))
    }

    /// As [`RedirectAll::attach`], for several sockets a queue: the first byte behind the Ethernet header says which
    /// core a packet is for, and the keys of [`RedirectAll::register`] are `queue * cores + core`.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn attach_by_core(interface: &str, cores: u8) -> Self {
        let code = |[m0, m1, m2, m3]: [u8; 4]| {
            vec![
                [0x61, 0x14, 0, 0, 0, 0, 0, 0],     // r4 = ctx->data
                [0x61, 0x15, 4, 0, 0, 0, 0, 0],     // r5 = ctx->data_end
                [0xbf, 0x40, 0, 0, 0, 0, 0, 0],     // r0 = r4
                [0x07, 0x00, 0, 0, 15, 0, 0, 0],    // r0 += 15
                [0x2d, 0x50, 9, 0, 0, 0, 0, 0],     // if r0 > r5 goto pass
                [0x71, 0x44, 14, 0, 0, 0, 0, 0],    // r4 = the byte at r4 + 14
                [0x61, 0x12, 16, 0, 0, 0, 0, 0],    // r2 = ctx->rx_queue_index
                [0x27, 0x02, 0, 0, cores, 0, 0, 0], // r2 *= cores
                [0x0f, 0x42, 0, 0, 0, 0, 0, 0],     // r2 += r4
                [0x18, 0x11, 0, 0, m0, m1, m2, m3], // r1 = map
                [0; 8],                             //
                [0xb7, 0x03, 0, 0, 2, 0, 0, 0],     // r3 = XDP_PASS
                [0x85, 0, 0, 0, 51, 0, 0, 0],       // r0 = bpf_redirect_map(r1, r2, r3)
                [0x95, 0, 0, 0, 0, 0, 0, 0],        // return r0
                [0xb7, 0x00, 0, 0, 2, 0, 0, 0],     // pass: r0 = XDP_PASS
                [0x95, 0, 0, 0, 0, 0, 0, 0],        // return r0
            ]
        };
        Self(raw::RedirectAll::with(interface, code).expect("redirecting by core"))
    }

    /// Gives the packets of a key, which is a queue unless it was attached by core, to `socket`.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn register(&self, key: u32, socket: BorrowedFd<'_>) {
        self.0.register(key, socket).expect("registering a socket");
    }
}

/// A program at the kernel's egress of an interface that draws a queue for each packet, so that those of one flow come by
/// all queues. It is attached until this is dropped.
///
/// The kernel keeps a socket's queue while packets of it are on their way, so that a burst stays together.
pub struct AnyQueue {
    _program: OwnedFd,
    _link: OwnedFd,
}

impl AnyQueue {
    /// Loads the program and attaches it to `interface`, of this thread's namespace, which has `queues` queues.
    ///
    /// # Panics
    ///
    /// When the kernel refuses: it has `tcx` from Linux 6.6 on.
    pub fn attach(interface: &str, queues: u8) -> Self {
        let code: [Code; 7] = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],             // r6 = skb
            [0x85, 0, 0, 0, 7, 0, 0, 0],                // r0 = bpf_get_prandom_u32()
            [0x97, 0x00, 0, 0, queues, 0, 0, 0],        // r0 %= queues
            [0x07, 0x00, 0, 0, 1, 0, 0, 0],             // r0 += 1, for 0 is none
            [0x63, 0x06, 12, 0, 0, 0, 0, 0],            // skb->queue_mapping = r0
            [0xb7, 0x00, 0, 0, 0xff, 0xff, 0xff, 0xff], // r0 = TCX_NEXT
            [0x95, 0, 0, 0, 0, 0, 0, 0],                // return r0
        ];
        let program = raw::load(PROG_TYPE_SCHED_CLS, c"any_queue", &code).expect("loading the program");
        let link = raw::attach(&program, interface, ATTACH_TCX_EGRESS).expect("attaching the program");
        Self { _program: program, _link: link }
    }
}

/// A capability by its number (`linux/capability.h`).
#[derive(Clone, Copy)]
pub enum Capability {
    /// To open `AF_XDP` sockets.
    NetRaw = 13,
    /// To lock more memory than the limit allows.
    IpcLock = 14,
}

/// `struct __user_cap_header_struct`, version 3, for this thread; and the halves of the sets that it comes with.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilitySets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Does `work` with this thread lacking one capability.
///
/// # Panics
///
/// When the kernel refuses.
pub fn without<T>(capability: Capability, work: impl FnOnce() -> T) -> T {
    let header = CapabilityHeader { version: 0x2008_0522, pid: 0 };
    let mut sets = [CapabilitySets::default(); 2];
    // SAFETY: version 3 has a header and two sets, which outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) };
    assert_eq!(answer, 0, "capget: {}", std::io::Error::last_os_error());
    let set = |sets: &[CapabilitySets; 2]| {
        // SAFETY: as above; the kernel only reads the sets.
        let answer = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
        assert_eq!(answer, 0, "capset: {}", std::io::Error::last_os_error());
    };
    let mut fewer = sets;
    fewer[0].effective &= !(1 << capability as u32);
    set(&fewer);
    let result = work();
    set(&sets);
    result
}

/// Lets this process lock no more than `bytes`, as far as it has not [`Capability::IpcLock`], for the rest of its life.
///
/// # Panics
///
/// When the kernel refuses.
pub fn limit_locked_memory(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the limit outlives the call, which only reads it.
    let answer = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
    assert_eq!(answer, 0, "setrlimit: {}", std::io::Error::last_os_error());
}

fn set_namespace(namespace: &File) {
    // SAFETY: a system call with numbers only.
    let answer = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(answer, 0, "entering a namespace needs root: {}", std::io::Error::last_os_error());
}

fn succeed(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{program} {}` failed: {errors}", args.join(" "));
    output
}
