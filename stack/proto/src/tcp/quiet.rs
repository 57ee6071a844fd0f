//! The property that keeps a connection alive: with something to do it has a timer armed, with nothing to do none.
//! Two connections, a network that loses, doubles and delays, and applications that do what they like.

use super::close::CloseReason;
use super::config::{Ecn, KeepaliveConfig, TcpConfig};
use super::effects::Effects;
use super::segment::{Codepoint, Segment};
use super::seq::Seq;
use super::state::State;
use super::{Link, Step, Tcb};
use crate::memory::{Buf, Token};
use crate::time::Instant;
use alloc::sync::Arc;
use core::time::Duration;
use proptest::prelude::*;
use std::vec::Vec;

/// Whether anything is left to do that only time can bring about. It looks at no timer.
fn has_something_to_do(tcb: &Tcb) -> bool {
    match tcb.state {
        State::Closed | State::Listen => return false,
        // A SYN is out, or TIME-WAIT has to end.
        State::SynSent | State::SynReceived | State::TimeWait => return true,
        _ => {}
    }
    // Something of ours is not acknowledged, or not even sent.
    let ours = tcb.snd.outstanding() > 0 || tcb.snd.has_unsent();
    // Something of the peer's has not been acknowledged.
    let theirs = tcb.last_ack_sent != tcb.rcv.next();
    // Nobody waits for the peer's FIN.
    let alone = tcb.deaf && tcb.state == State::FinWait2;
    ours || theirs || alone || tcb.config.keepalive.is_some()
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Write(bool, u16),
    Read(bool),
    Finish(bool),
    Close(bool),
    Abort(bool),
    Configure(bool, bool),
    Unread(bool),
    /// The segment at this place on the wire arrives, and a copy of it stays there.
    Deliver(usize, bool),
    Lose(usize),
    /// The network is congested where this segment passes, whatever its sender says of it.
    Mark(usize),
    Wait(u64),
    Timer,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (any::<bool>(), 1u16..3000).prop_map(|(side, len)| Act::Write(side, len)),
        2 => any::<bool>().prop_map(Act::Read),
        1 => any::<bool>().prop_map(Act::Finish),
        1 => any::<bool>().prop_map(Act::Close),
        1 => (any::<bool>(), 0u8..10).prop_map(|(side, n)| if n == 0 { Act::Abort(side) } else { Act::Unread(side) }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(side, on)| Act::Configure(side, on)),
        14 => (0usize..4, prop::bool::weighted(0.1)).prop_map(|(at, twice)| Act::Deliver(at, twice)),
        4 => (0usize..4, any::<bool>()).prop_map(|(at, lost)| if lost { Act::Lose(at) } else { Act::Mark(at) }),
        2 => (0u64..100_000).prop_map(Act::Wait),
        4 => Just(Act::Timer),
    ]
}

struct World {
    ends: [Tcb; 2],
    wire: Vec<(usize, Segment)>,
    now: Instant,
    tokens: u32,
    fx: Effects,
}

const LINK: Link = Link { mss: 1460, default_mss: 536, ip_options: 0 };

impl World {
    /// Two ends that open to each other at once; one has a small receive buffer, so that windows close.
    fn new(config: &TcpConfig) -> Self {
        let now = Instant::from_millis(1000);
        let small = TcpConfig { recv_buffer: 4096, recv_buffer_initial: 4096, ..*config };
        let ends = [
            Tcb::connect(Arc::new(config.clamped()), LINK, Seq(u32::MAX - 1000), 1, now),
            Tcb::connect(Arc::new(small.clamped()), LINK, Seq(7), 2, now),
        ];
        Self { ends, wire: Vec::new(), now, tokens: 0, fx: Effects::default() }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token::new(self.tokens)
    }

    /// Both ends send what they have.
    fn drain(&mut self) {
        for side in 0..2 {
            for round in 0.. {
                assert!(round < 10_000, "it never stops sending: {:?}", self.ends[side]);
                let tail = Token::new(u32::MAX);
                let Some(tcb) = self.ends.get_mut(side) else { break };
                match tcb.poll_transmit(self.now, |_| false, true, true) {
                    None => break,
                    Some(Step::Send { segment, .. }) => self.wire.push((1 - side, segment)),
                    Some(Step::Posted) => unreachable!("no frame is posted here"),
                    Some(Step::Join { index }) => {
                        let _ = tcb.join(index);
                    }
                    Some(Step::Split { index, at }) => {
                        let len = tcb.chunk(index).map_or(0, |chunk| chunk.len);
                        tcb.split(index, at, Buf::new(tail, 66, len - at));
                    }
                }
            }
        }
    }

    fn act(&mut self, act: Act) {
        let now = self.now;
        let token = self.token();
        let Self { ends, wire, fx, .. } = self;
        match act {
            Act::Write(side, len) => {
                let tcb = &mut ends[usize::from(side)];
                let len = len.min(tcb.mss());
                if tcb.send_room() >= u32::from(len) {
                    tcb.push(Buf::new(token, 66, len));
                }
            }
            Act::Read(side) => {
                while let Some(buf) = ends[usize::from(side)].recv() {
                    ends[usize::from(side)].consumed(now, buf.len.into());
                }
            }
            Act::Unread(side) => {
                if let Some(buf) = ends[usize::from(side)].recv() {
                    ends[usize::from(side)].unread(buf);
                }
            }
            Act::Finish(side) => ends[usize::from(side)].shutdown_write(now),
            Act::Close(side) => ends[usize::from(side)].close(now, fx),
            Act::Abort(side) => ends[usize::from(side)].abort(now, fx),
            Act::Configure(side, on) => {
                let config = *ends[usize::from(side)].config();
                let config = TcpConfig { cork: on, nodelay: !on, ..config };
                ends[usize::from(side)].configure(now, &config);
            }
            Act::Deliver(at, twice) if at < wire.len() => {
                let (to, segment) = if twice { wire[at] } else { wire.remove(at) };
                let payload = (segment.len > 0).then(|| Buf::new(token, 66, segment.len));
                ends[to].on_segment(now, &segment, payload, fx);
                if let Some(reply) = fx.reply.take() {
                    wire.push((1 - to, reply));
                }
            }
            Act::Lose(at) if at < wire.len() => drop(wire.remove(at)),
            Act::Mark(at) if at < wire.len() => wire[at].1.ecn = Codepoint::Ce,
            Act::Deliver(..) | Act::Lose(_) | Act::Mark(_) => {}
            Act::Wait(micros) => self.elapse(now + Duration::from_micros(micros)),
            Act::Timer => {
                let next = self.ends.iter().filter_map(Tcb::deadline).min();
                self.elapse(next.unwrap_or(now).max(now));
            }
        }
        // The RST of an abort gets lost: what the other end then does by itself is the question.
        self.fx.reply = None;
        self.fx.freed.clear();
    }

    fn elapse(&mut self, until: Instant) {
        self.now = until;
        for tcb in &mut self.ends {
            if tcb.deadline().is_some_and(|at| at <= until) {
                tcb.on_time(until, &mut self.fx);
            }
        }
    }

    /// One act after the other and then the end, each followed by what the two send, and by the property.
    fn live(&mut self, acts: impl IntoIterator<Item = Act>) -> Result<(), TestCaseError> {
        self.drain();
        self.check()?;
        for act in acts {
            self.act(act);
            self.drain();
            self.check()?;
        }
        // In the end both applications go, and so does everything else, whatever the network did.
        for side in [false, true] {
            self.act(Act::Close(side));
        }
        for _ in 0..5000 {
            self.drain();
            self.check()?;
            let next = if self.wire.is_empty() { Act::Timer } else { Act::Deliver(0, false) };
            if self.wire.is_empty() && self.ends.iter().all(|tcb| tcb.deadline().is_none()) {
                break;
            }
            self.act(next);
        }
        for tcb in &self.ends {
            prop_assert_eq!(tcb.state, State::Closed);
            prop_assert!(tcb.ended != Some(CloseReason::Stopped));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (side, tcb) in self.ends.iter().enumerate() {
            let to_do = has_something_to_do(tcb);
            prop_assert_eq!(tcb.deadline().is_some(), to_do, "side {}: {:?}", side, tcb);
            prop_assert!(tcb.deadline().is_none_or(|at| at > self.now), "side {} is overdue: {:?}", side, tcb);
        }
        Ok(())
    }
}

fn config() -> impl Strategy<Value = TcpConfig> {
    let times = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let sending = (any::<bool>(), any::<bool>());
    let ecn = prop::sample::select(&[Ecn::Off, Ecn::Passive, Ecn::Classic, Ecn::Accurate][..]);
    (times, any::<bool>(), sending, 0u64..3, ecn).prop_map(|(times, sack, (nodelay, pacing), delay, ecn)| {
        let (keepalive, user_timeout, linger, timestamps) = times;
        TcpConfig {
            keepalive: keepalive.then(KeepaliveConfig::default),
            user_timeout: user_timeout.then_some(Duration::from_secs(30)),
            linger: linger.then_some(Duration::from_secs(5)),
            delayed_ack: Duration::from_millis(40 * delay),
            give_up_after: Duration::from_secs(60),
            timestamps,
            sack,
            nodelay,
            pacing,
            ecn,
            ..TcpConfig::default()
        }
    })
}

/// What waits for the pacer may be acknowledged before its time comes, when a copy of it arrives late.
#[test]
fn what_is_acknowledged_waits_for_no_pacer() {
    use Act::{Configure, Deliver, Lose, Mark, Timer, Unread, Wait, Write};
    let config = TcpConfig {
        timestamps: false,
        nodelay: false,
        ecn: Ecn::Classic,
        delayed_ack: Duration::ZERO,
        give_up_after: Duration::from_secs(60),
        ..TcpConfig::default()
    };
    let first = |at| Deliver(at, false);
    let acts = [
        Deliver(1, true),
        Wait(1),
        first(2),
        Write(true, 1),
        Lose(3),
        Write(true, 1460),
        first(0),
        Wait(2000),
        first(1),
        first(0),
        Timer,
        Timer,
        first(0),
        first(0),
        Mark(2),
        Unread(false),
        first(2),
        first(1),
        first(3),
        Write(true, 1460),
        Configure(true, false),
        first(0),
        Write(false, 1),
        Write(false, 1),
        first(0),
        first(0),
        Unread(false),
        first(0),
        first(0),
        first(2),
    ];
    World::new(&config).live(acts).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn something_to_do_has_a_timer_and_nothing_to_do_has_none(
        config in config(), acts in prop::collection::vec(act(), 1..200),
    ) {
        World::new(&config).live(acts)?;
    }
}
