//! The sections of the configuration, a table each: every setting with its default, its bounds and what it costs.

use super::Cidr;
use super::machine::{HugePages, Priority};
use super::section::section;
use super::setting::{FromText, Rule, Setting, in_a_string};
use corelane_proto::tcp::config::{Ecn as EcnSetting, KeepaliveConfig, TcpConfig};
use corelane_proto::tcp::congestion::Algorithm;
use corelane_proto::{Addr, Mac};
use std::fmt;
use std::time::Duration;
use toml::Value;

const KIB: u64 = 1024;
const GIB: u64 = 1024 * 1024 * 1024;

/// An enumeration that stands as one of a few words.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$doc:meta])+ $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$doc])+ $variant,)+
        }

        impl $name {
            /// Every word with its variant.
            pub const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }

        impl FromText for $name {
            fn from_text(text: &str) -> Option<Self> {
                Self::ALL.iter().find(|(word, _)| *word == text).map(|(_, variant)| *variant)
            }
        }

        in_a_string!($name, {
            let words: Vec<String> = Self::ALL.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("one of {}", words.join(", "))
        });
    };
}

words! {
    /// What is done about explicit congestion notification; see `corelane_proto::tcp::config::Ecn`.
    Ecn {
        /// Nothing.
        Off = "off",
        /// What the peer asks for.
        Passive = "passive",
        /// Our SYN asks for RFC 3168.
        Classic = "classic",
        /// Our SYN asks for RFC 9768, and takes RFC 3168 where there is no more.
        Accurate = "accurate",
    }
}

words! {
    /// The congestion controls; see `corelane_proto::tcp::congestion`.
    CongestionControl {
        /// RFC 5681 and RFC 6582.
        NewReno = "newreno",
        /// RFC 9438 with HyStart++ (RFC 9406).
        Cubic = "cubic",
        /// BBR version 3 (draft-ietf-ccwg-bbr).
        Bbr = "bbr",
        /// RFC 8257.
        Dctcp = "dctcp",
    }
}

words! {
    /// How the sockets and the program are attached.
    Mode {
        /// Native program and zero-copy sockets, or an error.
        RequireZerocopy = "require-zerocopy",
        /// Native program; zero-copy sockets where the driver has them, copying ones else.
        PreferZerocopy = "prefer-zerocopy",
        /// Native program and copying sockets.
        Copy = "copy",
        /// Generic program and copying sockets: every driver has it, none is slower.
        Skb = "skb",
    }
}

words! {
    /// Whose the stack's addresses are.
    Sharing {
        /// The kernel's if it has them on the interface, or if none is given; the stack's own else.
        Auto = "auto",
        /// The stack's alone: it answers ARP and ping for them itself.
        Own = "own",
        /// The kernel's too: routes and neighbours are its own, and it answers ARP and ping.
        Shared = "shared",
    }
}

words! {
    /// How many sockets a queue has.
    SocketsPerQueue {
        /// One for each worker: the program puts each frame into the ring of the worker whose flow it is.
        All = "all",
        /// One: its worker hands over what belongs to others. For drivers that give a queue no second socket.
        One = "one",
    }
}

words! {
    /// What a worker does when there is nothing to do.
    Strategy {
        /// Turns without pause: the least latency, a whole core always.
        Spin = "spin",
        /// Turns for `spin_us`, then sleeps until a frame or a timer.
        Adaptive = "adaptive",
        /// Sleeps at once until a frame or a timer: an idle core, some microseconds more a wake-up.
        Sleep = "sleep",
    }
}

words! {
    /// When SYNs are answered by cookies (RFC 4987 3.6).
    SynCookies {
        /// Never: when the SYN queue is full, SYNs are dropped.
        Never = "never",
        /// When the SYN queue is full.
        WhenFull = "when-full",
        /// Always: for tests.
        Always = "always",
    }
}

words! {
    /// Which threads give up their capabilities once everything is set up.
    Drop {
        /// None.
        Off = "off",
        /// The workers, each for itself after its own set-up.
        Workers = "workers",
        /// The workers, and the thread that runs the stack.
        All = "all",
    }
}

section! {
    /// `[interface]`: which interface and queues, and who the stack is there. Of several each has a table `[[interface]]`.
    Interface {
        /// Name of the network interface. It has to be given, here or on the command line.
        name: String, lend = String::new(), Rule::Any;
        /// Queues of the interface to serve, whatever the number of workers. Frames of other queues stay with the kernel.
        /// Empty: all that the interface has.
        queues: Vec<u32>, lend = Vec::new(), Rule::Any;
        /// "all" or "one": sockets that each queue has. With "all" every frame comes to the worker that owns its flow; with
        /// "one" a worker hands over what belongs to others, some 100 ns a frame.
        sockets_per_queue: SocketsPerQueue, copy = SocketsPerQueue::All, Rule::Any;
        /// "require-zerocopy", "prefer-zerocopy", "copy" or "skb". The mode in force is read back and reported.
        mode: Mode, copy = Mode::PreferZerocopy, Rule::Any;
        /// The addresses of the stack, each with its prefix length. Empty: those that the kernel has on the interface.
        address: Vec<Cidr>, lend = Vec::new(), Rule::Any;
        /// "auto", "own" or "shared": whose the addresses are. Addresses of its own the kernel must not have: the stack
        /// answers ARP and ICMP echo for them itself. Those that are shared the kernel has to have; routes, neighbours, MTU
        /// and link are the kernel's then, and followed. "auto" is what the kernel's addresses say.
        sharing: Sharing, copy = Sharing::Auto, Rule::Any;
        /// Routers for everything outside the prefixes of `address`, one for each family at most, where the addresses are
        /// the stack's own. Without one, only neighbours can be reached.
        gateway: Vec<Addr>, lend = Vec::new(), Rule::Any;
        /// Whether the ports of outgoing connections (`limits.first_port` to `last_port`) are reserved at start where the
        /// address is shared (`net.ipv4.ip_local_reserved_ports`), at most half of what the kernel chooses from, and set
        /// free at the end. Off, they are taken from those that the kernel does not choose; by default these are few.
        reserve_ports: bool, copy = false, Rule::Any;
        /// Ethernet address of the stack. Default: the interface's own.
        mac: Option<Mac>, copy = None, Rule::Any;
        /// Largest IP packet, bytes. Default: the interface's own; never more than that.
        mtu: Option<u16>, copy = None, Rule::Range(576, 3822);
        /// Whether IPv4 header checksums of what comes in are verified. Off only where the device has done it.
        verify_ip_checksum: bool, copy = true, Rule::Any;
        /// Whether TCP and ICMP checksums of what comes in are verified. Off only where the device has done it.
        verify_tcp_checksum: bool, copy = true, Rule::Any;
    }
}

section! {
    /// `[cores]`: which cores the workers run on.
    Cores {
        /// Core of each worker: there are as many workers as cores here. Empty: cores that the process may use, those of its
        /// present affinity first, whole cores before hyperthreads, the NIC's NUMA node before others.
        list: Vec<usize>, lend = Vec::new(), Rule::Range(0, 1023);
        /// How many workers there are, more or fewer than queues. Default: as many as `list` names; else one for each queue,
        /// as far as there are cores.
        workers: Option<u32>, copy = None, Rule::Range(1, 64);
        /// Whether each worker is pinned to its core. Off, the scheduler may move it: for tests and crowded machines.
        pin: bool, copy = true, Rule::Any;
        /// How the scheduler treats the workers: "normal", a nice value from -20 to 19, or "fifo N" for `SCHED_FIFO` with
        /// priority N. Real time needs `CAP_SYS_NICE` or `LimitRTPRIO=`. The kernel keeps up to 5 % of a core from real-time
        /// threads (`kernel.sched_rt_runtime_us`): one that spins is paused for up to 50 ms in each second.
        priority: Priority, copy = Priority::Inherited, Rule::Any;
    }
}

section! {
    /// `[privileges]`: what is given up once everything is set up.
    Privileges {
        /// Who drops all capabilities and takes none from later programs (`no_new_privs`), after the application's
        /// `on_start`: "off", "workers", or "all" for the workers and the thread that runs the stack. The application's other
        /// threads keep theirs in any case; a server that is nothing else than the stack wants "all".
        drop: Drop, copy = Drop::Workers, Rule::Any;
        /// Path of the UNIX socket of a `corelane setup-helper`, which loads and attaches the XDP program, makes the sockets,
        /// and changes the program's tables: then this process needs no capability. Empty: it does all that itself.
        helper: String, lend = String::new(), Rule::Any;
    }
}

section! {
    /// `[waiting]`: what a worker does when there is nothing to do.
    Waiting {
        /// "spin" (a whole core, least latency), "adaptive" (spins for `spin_us`, then sleeps) or "sleep".
        strategy: Strategy, copy = Strategy::Adaptive, Rule::Any;
        /// How long "adaptive" turns without work before it sleeps, microseconds.
        spin_us: u32, copy = 50, Rule::Range(0, 1_000_000);
        /// Longest sleep, milliseconds: how late a worker may see that it has to stop.
        sleep_max_ms: u32, copy = 100, Rule::Range(1, 500);
    }
}

section! {
    /// `[steering]`: which worker owns which flow.
    Steering {
        /// Buckets that flows fall into by their hash; a worker owns a share of them. More make finer shares. At least
        /// one for each worker.
        buckets: u32, copy = 1024, Rule::PowerOfTwo(1, 4096);
        /// Connections that can stay with their worker after their bucket has moved to another one. Where there are more,
        /// the bucket does not move.
        max_pinned: u32, copy = 65_536, Rule::Range(1, 4_000_000);
        /// How often shares are moved from the busiest worker to the idlest, milliseconds; 0: never by itself.
        rebalance_ms: u32, copy = 0, Rule::Range(0, 3_600_000);
        /// Whether a packet that comes by another interface than the one that has its destination address is dropped, and
        /// counted (the strong host of RFC 1122 3.3.4.2). Off, it is taken, and connections outlive a change of their way.
        strong_host: bool, copy = false, Rule::Any;
    }
}

section! {
    /// `[control]`: how the running stack is steered from outside.
    Control {
        /// Path of the UNIX socket that `corelane steer` talks to, such as "/run/corelane/NAME.sock". Only the user that runs
        /// the stack may use it, and root. A thread of its own serves it, which drops its capabilities as the workers do.
        /// Empty: there is none.
        socket: String, lend = String::new(), Rule::Any;
        /// Take over from the process that has this control socket, if one runs: it gets no new connections, ends when its
        /// open ones have, and no connection is refused or reset. Without such a process the stack starts as always.
        takeover: bool, copy = false, Rule::Any;
        /// How long the connections of a process that was taken over from may live on, milliseconds; those that are left
        /// are closed as at any stop.
        drain_ms: u32, copy = 60_000, Rule::Range(0, 86_400_000);
        /// How long connections may take to close when the stack stops, milliseconds; those that are left are reset. 0:
        /// all are reset at once.
        close_ms: u32, copy = 300, Rule::Range(0, 60_000);
    }
}

section! {
    /// `[memory]`: frames and rings, for each queue.
    Memory {
        /// Frames of a queue's UMEM. With 2048 bytes each, 8192 frames are 16 MiB of locked memory.
        frame_count: u32, copy = 8192, Rule::PowerOfTwo(64, 1 << 20);
        /// Bytes of a frame, 256 of which the kernel keeps. 4096 takes MTUs above 1774.
        frame_size: u32, copy = 2048, Rule::PowerOfTwo(2048, 4096);
        /// Entries of the fill ring: frames that wait for the NIC. Too few lose frames in a burst.
        fill_ring: u32, copy = 4096, Rule::PowerOfTwo(32, 1 << 16);
        /// Entries of the completion ring.
        completion_ring: u32, copy = 2048, Rule::PowerOfTwo(32, 1 << 16);
        /// Entries of the receive ring.
        rx_ring: u32, copy = 2048, Rule::PowerOfTwo(32, 1 << 16);
        /// Entries of the transmit ring.
        tx_ring: u32, copy = 2048, Rule::PowerOfTwo(32, 1 << 16);
        /// Free frames below which out-of-order data is dropped, so that one sender of holes cannot take all.
        low_water_frames: u32, copy = 256, Rule::Range(0, 1 << 20);
        /// Whether the UMEM lies in huge pages, which have fewer TLB misses: "off", "auto" (where enough are reserved by
        /// `vm.nr_hugepages`; the log and the summary say whether) or "require". `true` is "require", `false` is "off".
        huge_pages: HugePages, copy = HugePages::Auto, Rule::Any;
    }
}

section! {
    /// `[limits]`: the bounds of one worker. All is allocated at start; what exceeds a bound is refused and counted.
    Limits {
        /// Connections, those of TIME-WAIT not counted.
        connections: u32, copy = 16_384, Rule::Range(1, 4_000_000);
        /// Half-open connections: SYNs answered and not yet acknowledged. Of several listeners each has its part of one half
        /// kept for it; the other half is for whoever is asked first.
        syn_queue: u32, copy = 4096, Rule::Range(1, 1_000_000);
        /// Connections of a listener that are open and that the application has not been told of: the backlog of a
        /// listener that names none. The ACK that finds it full is dropped; the handshake goes on when there is room.
        accept_queue: u32, copy = 1024, Rule::Range(1, 1_000_000);
        /// Connections in TIME-WAIT; the oldest gives way.
        time_wait: u32, copy = 65_536, Rule::Range(1, 4_000_000);
        /// Connections of Fast Open clients whose handshake is not complete; more of them wait for theirs.
        fast_open_pending: u32, copy = 256, Rule::Range(0, 1_000_000);
        /// Servers whose Fast Open cookie is remembered.
        fast_open_servers: u32, copy = 256, Rule::Range(1, 1_000_000);
        /// Neighbours whose Ethernet address is known or asked for.
        neighbours: u16, copy = 1024, Rule::Range(1, 16_384);
        /// First port of outgoing connections (RFC 6056).
        first_port: u16, copy = 32_768, Rule::Range(1024, 65_535);
        /// Last port of outgoing connections.
        last_port: u16, copy = 60_999, Rule::Range(1024, 65_535);
        /// Stateless replies of each kind (RST, ICMP, ARP) a second; more are dropped and counted.
        replies_per_second: u32, copy = 10_000, Rule::Range(0, 10_000_000);
        /// Challenge ACKs (RFC 5961) a second for all connections, on average: each second has another limit, so that
        /// nobody can count on it.
        challenge_acks_per_second: u32, copy = 1000, Rule::Range(0, 10_000_000);
        /// When frames are scarce (`memory.low_water_frames`), a peer that has taken less than a segment of what is queued
        /// for it for so long is given up, the one that holds most frames first, seconds. Less ends honest peers that pause
        /// for longer, more lets the others starve for as long.
        hoarding_after_s: u32, copy = 60, Rule::Range(1, 86_400);
        /// Events given to the application in one turn; the rest waits for the next turn.
        events_per_turn: u32, copy = 1024, Rule::Range(1, 1_000_000);
    }
}

section! {
    /// `[tcp]`: TCP as every connection has it.
    Tcp {
        /// Most bytes received and not yet read by the application. A slow application holds that much in frames.
        recv_buffer_bytes: u32, copy = 256 * 1024, Rule::Range(4 * KIB, GIB);
        /// The receive window that a connection begins with; it grows up to `recv_buffer_bytes` as the peer fills it and
        /// the application reads. Small costs a fast peer round trips, great lets each idle peer claim that much.
        recv_buffer_initial_bytes: u32, copy = 64 * 1024, Rule::Range(4 * KIB, GIB);
        /// Most bytes taken from the application and not yet acknowledged.
        send_buffer_bytes: u32, copy = 256 * 1024, Rule::Range(4 * KIB, GIB);
        /// Largest segment, bytes. Default: what the MTU allows.
        mss_bytes: Option<u16>, copy = None, Rule::Range(536, 3782);
        /// Least segment that is sent, whatever the peer or the path asks for, bytes. Less lets a peer multiply our
        /// packets, more cuts off the smallest devices.
        min_mss_bytes: u16, copy = 88, Rule::Range(48, 536);
        /// Offer window scaling (RFC 7323). Without it no window exceeds 65,535 bytes.
        window_scaling: bool, copy = true, Rule::Any;
        /// Offer timestamps (RFC 7323): 12 bytes a segment.
        timestamps: bool, copy = true, Rule::Any;
        /// Offer selective acknowledgment (RFC 2018).
        sack: bool, copy = true, Rule::Any;
        /// Send small segments at once, that is, Nagle's algorithm off.
        nodelay: bool, copy = true, Rule::Any;
        /// Hold back what does not fill a segment, for 200 ms at most. It goes before `nodelay`.
        cork: bool, copy = false, Rule::Any;
        /// Initial window, segments (RFC 6928).
        initial_window_segments: u8, copy = 10, Rule::Range(1, 64);
        /// The congestion control: "newreno", "cubic", "bbr" or "dctcp". BBR goes by measured bandwidth and delay and paces;
        /// DCTCP is for data centres whose switches mark, and nowhere else.
        congestion: CongestionControl, copy = CongestionControl::Cubic, Rule::Any;
        /// Begin anew with the initial window when nothing was sent for longer than a retransmission time-out (RFC 5681
        /// 4.1). Off keeps what was proven for five minutes (RFC 7661).
        restart_after_idle: bool, copy = true, Rule::Any;
        /// Explicit congestion notification: "off", "passive" (what the peer asks for), "classic" (RFC 3168) or "accurate"
        /// (RFC 9768, falling back to RFC 3168). The last two ask for it, which costs a firewall's victim two time-outs.
        ecn: Ecn, copy = Ecn::Passive, Rule::Any;
        /// Space segments over the round trip. It costs a timer for each burst; BBR does so anyway.
        pacing: bool, copy = false, Rule::Any;
        /// Segments that a paced connection may send at once, after idleness or a late timer.
        pacing_burst_segments: u8, copy = 10, Rule::Range(1, 64);
        /// Send the last segment again, or a new one, when no ACK comes for two round trips (RFC 8985 7). Without it a lost
        /// tail waits for the retransmission time-out.
        tail_loss_probe: bool, copy = true, Rule::Any;
        /// By how much the tail-loss probe of a single segment waits longer, milliseconds, because the peer may hold back
        /// its ACK. How long it does so shows in the round-trip times too; more than 0 spares the first needless probes.
        peer_ack_delay_ms: u32, copy = 0, Rule::Range(0, 500);
        /// Least time to a tail-loss probe, microseconds.
        probe_min_us: u32, copy = 2000, Rule::Range(10, 1_000_000);
        /// How long an ACK may wait for company, milliseconds; under 500 (RFC 9293 3.8.6.3). 0: the end of the turn.
        delayed_ack_ms: u32, copy = 40, Rule::Range(0, 499);
        /// How long after the last of a burst of full segments its ACK leaves, microseconds; after 16 of them it does anyway.
        /// Fewer ACKs leave both sides more time for data. 0: at least every second full segment is acknowledged at the
        /// end of the turn that it came in (RFC 9293 3.8.6.3, SHLD-19).
        ack_gap_us: u32, copy = 10, Rule::Range(0, 10_000);
        /// Segments acknowledged at once at the start and after idleness, so that the peer gets up to speed.
        quick_acks: u8, copy = 16, Rule::Range(0, 255);
        /// Retransmission time-out before the first sample, milliseconds (RFC 6298 2.1).
        rto_initial_ms: u32, copy = 1000, Rule::Range(1, 60_000);
        /// Least retransmission time-out, milliseconds. RFC 6298 2.4 says 1000; data centres can't wait.
        rto_min_ms: u32, copy = 200, Rule::Range(1, 60_000);
        /// Greatest retransmission time-out, milliseconds; 60,000 or more by RFC 6298 2.5.
        rto_max_ms: u32, copy = 120_000, Rule::Range(60_000, 600_000);
        /// How often a SYN is sent again before the attempt fails (RFC 9293 3.8.3).
        syn_retries: u8, copy = 7, Rule::Range(0, 20);
        /// How often a SYN-ACK is sent again before a half-open connection is forgotten.
        syn_ack_retries: u8, copy = 7, Rule::Range(0, 7);
        /// "never", "when-full" or "always": when SYNs are answered by cookies, which remember nothing of a SYN. With
        /// "when-full" a flood of SYNs fills the queue and others still get in; a connection by cookie has its segment
        /// size rounded down, and neither window scale nor SACK unless it has timestamps.
        syn_cookies: SynCookies, copy = SynCookies::WhenFull, Rule::Any;
        /// Data in the SYN (RFC 7413), as server and as client: a round trip less for a peer that has been met before.
        /// A SYN that comes twice may repeat its request, so it is for requests that may be repeated.
        fast_open: bool, copy = false, Rule::Any;
        /// How long no segment is sent after the start, milliseconds (RFC 9293 3.4.3). Needed where the host can be up
        /// again within an MSL with the same secret and a clock that begins anew; there it should be `msl_ms`. Until it is
        /// over, what comes is dropped and connecting fails.
        quiet_time_ms: u32, copy = 0, Rule::Range(0, 600_000);
        /// Answer a connection that comes in with an IPv4 source route by the same way (RFC 9293 3.9.2.1). Off: what
        /// comes by one is dropped. On, whoever sends such packets can see the answers to addresses that are not his
        /// (RFC 7126).
        accept_source_routes: bool, copy = false, Rule::Any;
        /// After how many retransmissions of a segment the application hears of trouble and the neighbour is asked again
        /// (R1, RFC 9293 3.8.3).
        r1_retransmits: u8, copy = 3, Rule::Range(1, 15);
        /// How long data may stay unacknowledged before the connection is given up, seconds (RFC 9293 3.8.3).
        give_up_after_s: u32, copy = 900, Rule::Range(1, 86_400);
        /// How long anything handed over may wait without progress, behind a closed window too, milliseconds (the user
        /// time-out, RFC 9293 3.9.1.1). Default: `give_up_after_s` decides alone.
        user_timeout_ms: Option<u32>, copy = None, Rule::Range(1, 86_400_000);
        /// How long queued data may still go out after a close, milliseconds; the rest is given up with an RST. 0 makes
        /// every close an abort. Default: as long as `give_up_after_s` allows.
        linger_ms: Option<u32>, copy = None, Rule::Range(0, 86_400_000);
        /// Maximum segment lifetime, milliseconds; TIME-WAIT lasts twice as long (RFC 9293 3.4.2).
        msl_ms: u32, copy = 30_000, Rule::Range(1, 120_000);
        /// How long a connection closed by us waits for the peer's FIN, milliseconds.
        fin_wait_2_ms: u32, copy = 60_000, Rule::Range(1, 3_600_000);
        /// Least time between two challenge ACKs of a connection, milliseconds (RFC 5961 7).
        challenge_interval_ms: u32, copy = 500, Rule::Range(1, 60_000);
        /// Segments `SACKed`, or without SACK duplicate ACKs, that tell of a loss at once where no reordering was seen
        /// (RFC 8985 6.2, RFC 5681 3.2).
        duplicate_ack_threshold: u8, copy = 3, Rule::Range(1, 100);
        /// Ask an idle peer whether it is still there (RFC 9293 3.8.4).
        keepalive: bool, copy = false, Rule::Any;
        /// Idle time before the first such question, seconds.
        keepalive_idle_s: u32, copy = 7200, Rule::Range(1, 1_000_000);
        /// Time between such questions, seconds.
        keepalive_interval_s: u32, copy = 75, Rule::Range(1, 86_400);
        /// Unanswered questions after which the connection is given up; at least 2, for one may get lost.
        keepalive_probes: u8, copy = 10, Rule::Range(2, 255);
        /// Send a byte of garbage with each question, for peers that do not answer an empty one.
        keepalive_garbage: bool, copy = false, Rule::Any;
        /// The Differentiated Services field of what is sent (RFC 2474).
        dscp: u8, copy = 0, Rule::Range(0, 63);
        /// Time to live, or hop limit, of what is sent.
        ttl: u8, copy = 64, Rule::Range(1, 255);
        /// Tell the application of errors that end no connection: ICMP, silent neighbours (RFC 9293 3.9.1.8).
        report_soft_errors: bool, copy = true, Rule::Any;
    }
}

section! {
    /// `[impair]`: what the two impairments share. For tests only.
    Impair {
        /// Seed of the impairments' random numbers: the same seed, the same losses.
        seed: u64, copy = 1, Rule::Range(0, 1 << 62);
    }
}

section! {
    /// `[impair.rx]` and `[impair.tx]`: a bad network on purpose, for frames received or sent. For tests only.
    Impairment {
        /// Probability that a frame is lost.
        loss: f64, copy = 0.0, Rule::Fraction;
        /// Probability that a frame is overtaken by those after it.
        reorder: f64, copy = 0.0, Rule::Fraction;
        /// Probability that a frame comes twice.
        duplicate: f64, copy = 0.0, Rule::Fraction;
        /// Probability that a bit of a frame is flipped.
        corrupt: f64, copy = 0.0, Rule::Fraction;
        /// How long each frame is held back, microseconds.
        delay_us: u32, copy = 0, Rule::Range(0, 10_000_000);
    }
}

impl Impairment {
    /// Whether anything is impaired at all.
    pub fn is_active(&self) -> bool {
        *self != Self::default()
    }
}

impl From<SynCookies> for corelane_proto::endpoint::SynCookies {
    fn from(when: SynCookies) -> Self {
        match when {
            SynCookies::Never => Self::Never,
            SynCookies::WhenFull => Self::WhenFull,
            SynCookies::Always => Self::Always,
        }
    }
}

impl From<CongestionControl> for Algorithm {
    fn from(word: CongestionControl) -> Self {
        match word {
            CongestionControl::NewReno => Self::NewReno,
            CongestionControl::Cubic => Self::Cubic,
            CongestionControl::Bbr => Self::Bbr,
            CongestionControl::Dctcp => Self::Dctcp,
        }
    }
}

impl From<Ecn> for EcnSetting {
    fn from(word: Ecn) -> Self {
        match word {
            Ecn::Off => Self::Off,
            Ecn::Passive => Self::Passive,
            Ecn::Classic => Self::Classic,
            Ecn::Accurate => Self::Accurate,
        }
    }
}

impl Tcp {
    /// The settings as the protocol takes them.
    pub fn to_proto(&self) -> TcpConfig {
        let millis = |ms: u32| Duration::from_millis(ms.into());
        let seconds = |s: u32| Duration::from_secs(s.into());
        TcpConfig {
            recv_buffer: self.recv_buffer_bytes,
            recv_buffer_initial: self.recv_buffer_initial_bytes,
            send_buffer: self.send_buffer_bytes,
            mss: self.mss_bytes,
            min_mss: self.min_mss_bytes,
            window_scaling: self.window_scaling,
            timestamps: self.timestamps,
            sack: self.sack,
            nodelay: self.nodelay,
            cork: self.cork,
            initial_window_segments: self.initial_window_segments,
            congestion: self.congestion.into(),
            restart_after_idle: self.restart_after_idle,
            ecn: self.ecn.into(),
            pacing: self.pacing,
            pacing_burst_segments: self.pacing_burst_segments,
            tail_loss_probe: self.tail_loss_probe,
            peer_ack_delay: millis(self.peer_ack_delay_ms),
            probe_min: Duration::from_micros(self.probe_min_us.into()),
            delayed_ack: millis(self.delayed_ack_ms),
            ack_gap: Duration::from_micros(self.ack_gap_us.into()),
            quick_acks: self.quick_acks,
            rto_initial: millis(self.rto_initial_ms),
            rto_min: millis(self.rto_min_ms),
            rto_max: millis(self.rto_max_ms),
            syn_retries: self.syn_retries,
            r1_retransmits: self.r1_retransmits,
            give_up_after: seconds(self.give_up_after_s),
            user_timeout: self.user_timeout_ms.map(millis),
            linger: self.linger_ms.map(millis),
            msl: millis(self.msl_ms),
            fin_wait_2: millis(self.fin_wait_2_ms),
            challenge_interval: millis(self.challenge_interval_ms),
            duplicate_ack_threshold: self.duplicate_ack_threshold,
            keepalive: self.keepalive.then(|| KeepaliveConfig {
                idle: seconds(self.keepalive_idle_s),
                interval: seconds(self.keepalive_interval_s),
                probes: self.keepalive_probes,
                garbage: self.keepalive_garbage,
            }),
            dscp: self.dscp,
            ttl: self.ttl,
            report_soft_errors: self.report_soft_errors,
            fast_open: self.fast_open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_defaults_are_those_of_the_protocol() {
        // The protocol by itself keeps to the letter of SHLD-19, as the suites about RFC 9293 want it.
        let ack_gap = Duration::from_micros(10);
        assert_eq!(Tcp::default().to_proto(), TcpConfig { ack_gap, ..TcpConfig::default() });
    }

    #[test]
    fn what_is_left_out_by_default_reaches_the_protocol() {
        let tcp = Tcp { user_timeout_ms: Some(1500), linger_ms: Some(0), ..Tcp::default() };
        let proto = tcp.to_proto();
        assert_eq!(proto.user_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(proto.linger, Some(Duration::ZERO));
        assert_eq!(proto.check(), Ok(()));
    }

    #[test]
    fn a_congestion_control_has_the_name_that_the_protocol_gives_it() {
        for (word, congestion) in CongestionControl::ALL {
            assert_eq!(Algorithm::from(*congestion).name(), *word);
        }
        assert_eq!(CongestionControl::ALL.len(), Algorithm::ALL.len());
    }

    #[test]
    fn keepalive_is_one_switch_and_three_settings() {
        let tcp = Tcp { keepalive: true, ..Tcp::default() };
        assert_eq!(tcp.to_proto().keepalive, Some(KeepaliveConfig::default()));
    }
}
