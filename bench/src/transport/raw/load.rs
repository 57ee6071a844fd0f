//! The raw client: keeps a number of frames in flight, or sends one way. One reading of the clock a turn.

use super::frame::{self, Name};
use super::{BURST, Ends, Kind};
use crate::cli::LoadArgs;
use crate::clock::{self, Clock};
use crate::cores::{self, CoreList};
use crate::dma_latency;
use crate::failure::Failure;
use crate::load::details::Details;
use crate::load::judge;
use crate::load::recorder::Pair;
use crate::report::result::{LoadResult, Percentiles};
use crate::report::{self, Loaded};
use crate::stop::Stop;
use crate::transport::TransportKind;
use crate::workload::size::Sizes;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

/// The payload of an echo when none is given: that of an echo over TCP.
const DEFAULT_PAYLOAD: usize = 64;
/// A frame that is not back after this time is lost, and another one takes its place.
const LOST_AFTER_NS: u64 = 200_000_000;
/// How often lost frames are looked for.
const LOOK_EVERY_NS: u64 = 10_000_000;
/// Frames of a request of the one-way load.
const ONE_WAY_BURST: usize = 32;
const SECOND_NS: u64 = 1_000_000_000;

/// Runs `load --transport raw`.
pub fn run_load(args: &LoadArgs) -> Result<(), Failure> {
    super::check_load(args)?;
    let Some(IpAddr::V4(target)) = args.target.map(|target| target.ip()) else {
        return Err(Failure::Usage("--transport raw writes IPv4 headers: --target is an IPv4 address".to_owned()));
    };
    let default = CoreList::last_allowed();
    let cores = args.cores.as_ref().unwrap_or(&default);
    cores.check_online()?;
    // What cannot be written is better known before the measurement than after it.
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Failure::Machine(format!("--out {}: {error}", args.out.display())))?;
    let _held = dma_latency::hold(args.hold_cpu_dma_latency)?;
    let stop = Stop::on_signals()?;
    let began = SystemTime::now();
    cores::pin(cores.as_slice()[0])?;
    let kind = args.workload.and_then(|workload| Kind::of(workload.name())).unwrap_or(Kind::Echo);
    let default = if kind == Kind::OneWay { frame::MOST_PAYLOAD } else { DEFAULT_PAYLOAD };
    let payload = size(args).map_or(default, |size| usize::try_from(size).unwrap_or(frame::MOST_PAYLOAD));
    let cpu_before_ns = clock::thread_cpu_ns();
    let client = Client::new(super::interface(&args.stack, args.spin)?, target, payload, args)?;
    let found = match kind {
        Kind::Echo => client.exchange(args.connections.unwrap_or(1), &stop)?,
        Kind::OneWay => client.send_one_way(&stop)?,
    };
    let cpu_ns = clock::thread_cpu_ns().saturating_sub(cpu_before_ns);
    let hlog = report::hlog::write(began, &found.seconds)
        .map_err(|error| Failure::Machine(format!("latency.hlog cannot be made: {error}")))?;
    let result = result(args, cores.as_slice(), &found, began, cpu_ns);
    let name = args.out.display().to_string();
    let loaded = Loaded { name, result, histograms: found.total, seconds: found.seconds };
    report::save(&args.out, &loaded, &hlog)?;
    report::print(std::slice::from_ref(&loaded), args.json)?;
    judge(args, &loaded.result)
}

fn result(args: &LoadArgs, cores: &[usize], found: &Found, began: SystemTime, cpu_ns: u64) -> LoadResult {
    let duration_s = found.measured_ns as f64 / 1e9;
    LoadResult {
        workload: args.workload.map_or("", |workload| workload.name()).to_owned(),
        transport: TransportKind::Raw.name().to_owned(),
        target: args.target.map(|target| target.to_string()).unwrap_or_default(),
        connections: args.connections.unwrap_or(1),
        pace: "closed".to_owned(),
        arrivals: None,
        offered_rate: None,
        achieved_rate: if duration_s > 0.0 { found.answered_in_time as f64 / duration_s } else { 0.0 },
        requests: found.answered,
        errors: found.lost,
        errors_by_kind: (found.lost > 0).then(|| ("timed_out".to_owned(), found.lost)).into_iter().collect(),
        unanswered: found.unanswered,
        unsent: 0,
        reconnects: 0,
        duration_s,
        warmup_s: args.warmup.as_secs_f64(),
        bytes: found.bytes_sent + found.bytes_received,
        bytes_sent: found.bytes_sent,
        bytes_received: found.bytes_received,
        size: size(args),
        seed: args.seed,
        cores: cores.to_vec(),
        cpu_s: cpu_ns as f64 / 1e9,
        cpu_dma_latency_held: args.hold_cpu_dma_latency,
        spin: true,
        congestion_control: "none".to_owned(),
        started_at_s: began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        latency_ns: Percentiles::of(&found.total.latency),
        service_time_ns: Percentiles::of(&found.total.service),
        details: Details::default(),
    }
}

fn size(args: &LoadArgs) -> Option<u64> {
    args.size.as_ref().and_then(Sizes::fixed)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// What a run found.
#[derive(Default)]
struct Found {
    total: Pair,
    seconds: BTreeMap<u64, Pair>,
    /// The second under way.
    second: u64,
    current: Pair,
    sent: u64,
    answered: u64,
    answered_in_time: u64,
    unanswered: u64,
    lost: u64,
    bytes_sent: u64,
    bytes_received: u64,
    measured_ns: u64,
}

impl Found {
    /// An answer came `now_ns` after the measurement began, and took `took_ns`.
    fn record(&mut self, now_ns: u64, took_ns: u64) {
        if now_ns / SECOND_NS != self.second {
            self.turn_over(now_ns / SECOND_NS);
        }
        self.current.latency.saturating_record(took_ns.max(1));
        self.answered += 1;
    }

    /// Puts the second under way to the others.
    fn turn_over(&mut self, next: u64) {
        // What was due is what was sent: both times are the same.
        let _ = self.current.service.add(&self.current.latency);
        self.total.add(&self.current);
        if !self.current.latency.is_empty() {
            self.seconds.entry(self.second).or_default().add(&self.current);
        }
        self.current.clear();
        self.second = next;
    }
}

/// One frame in flight.
#[derive(Clone, Copy, Default)]
struct Flight {
    sent_ns: u64,
    generation: u32,
    is_out: bool,
}

struct Client {
    ends: Ends,
    clock: Clock,
    template: Vec<u8>,
    payload: u64,
    found: Found,
    begin: u64,
    end: u64,
    drain_end: u64,
}

impl Client {
    /// The measurement begins now, with the warm-up.
    fn new(interface: &str, target: Ipv4Addr, payload: usize, args: &LoadArgs) -> Result<Self, Failure> {
        let (ends, clock) = (Ends::open(interface)?, Clock::new());
        let template = frame::template(ends.mac, Ipv4Addr::UNSPECIFIED, target, payload);
        let begin = clock.now() + nanos(args.warmup);
        let end = begin + nanos(args.duration.unwrap_or_default());
        let (payload, found, drain_end) = (payload as u64, Found::default(), end + nanos(args.drain));
        Ok(Self { ends, clock, template, payload, found, begin, end, drain_end })
    }

    /// Keeps `count` frames in flight.
    fn exchange(mut self, count: usize, stop: &Stop) -> Result<Found, Failure> {
        let mut flights = vec![Flight::default(); count];
        let mut ready: Vec<u32> = (0..count as u32).collect();
        let (mut received, mut to_send, mut done) =
            (Vec::with_capacity(BURST), VecDeque::with_capacity(BURST), Vec::with_capacity(BURST));
        let mut look_at = 0;
        loop {
            self.ends.port.rx_burst(&mut received, BURST);
            let now = self.clock.now();
            for frame in received.drain(..) {
                self.on_frame(frame.bytes(), now, &mut flights, &mut ready);
            }
            if stop.is_raised() {
                (self.end, self.drain_end) = (self.end.min(now), now);
            }
            let is_sending = now < self.end;
            if !is_sending && (now >= self.drain_end || ready.len() == count) {
                break;
            }
            if now >= look_at && is_sending {
                look_at = now + LOOK_EVERY_NS;
                self.find_lost(now, &mut flights, &mut ready);
            }
            while is_sending && to_send.len() < BURST {
                let Some(slot) = ready.pop() else { break };
                let Some(mut frame) = self.ends.port.pool().alloc() else {
                    ready.push(slot);
                    break;
                };
                let flight = &mut flights[slot as usize];
                *flight = Flight { sent_ns: now, generation: flight.generation.wrapping_add(1), is_out: true };
                frame.buffer_mut()[..self.template.len()].copy_from_slice(&self.template);
                frame::set_name(frame.buffer_mut(), Name { slot, generation: flight.generation });
                frame.set_len(self.template.len());
                self.found.sent += u64::from(now >= self.begin);
                to_send.push_back(frame);
            }
            self.push(&mut to_send)?;
            self.ends.port.reclaim(&mut done);
            done.clear();
            self.ends.port.refill();
        }
        let begin = self.begin;
        let is_missing = |flight: &&Flight| flight.is_out && flight.sent_ns >= begin;
        self.found.unanswered = flights.iter().filter(is_missing).count() as u64;
        self.found.bytes_sent = self.found.sent * self.payload;
        self.found.bytes_received = self.found.answered * self.payload;
        Ok(self.finish())
    }

    fn on_frame(&mut self, bytes: &[u8], now: u64, flights: &mut [Flight], ready: &mut Vec<u32>) {
        let Some(Name { slot, generation }) = frame::name(bytes) else { return };
        let Some(flight) = flights.get_mut(slot as usize) else { return };
        if !flight.is_out || flight.generation != generation || bytes.len() != self.template.len() {
            return;
        }
        flight.is_out = false;
        ready.push(slot);
        if flight.sent_ns >= self.begin {
            self.found.record(now - self.begin, now - flight.sent_ns);
            self.found.answered_in_time += u64::from(now <= self.end);
        }
    }

    fn find_lost(&mut self, now: u64, flights: &mut [Flight], ready: &mut Vec<u32>) {
        for (slot, flight) in (0..).zip(flights) {
            if flight.is_out && now.saturating_sub(flight.sent_ns) > LOST_AFTER_NS {
                flight.is_out = false;
                ready.push(slot);
                self.found.lost += 1;
            }
        }
    }

    /// Sends as fast as it goes. A request is [`ONE_WAY_BURST`] frames, and answered when the kernel has sent them.
    fn send_one_way(mut self, stop: &Stop) -> Result<Found, Failure> {
        let (mut to_send, mut done) = (VecDeque::with_capacity(ONE_WAY_BURST), Vec::with_capacity(ONE_WAY_BURST));
        loop {
            let now = self.clock.now();
            if now >= self.end || stop.is_raised() {
                self.end = self.end.min(now);
                break;
            }
            while to_send.len() < ONE_WAY_BURST {
                let Some(mut frame) = self.ends.port.pool().alloc() else { break };
                frame.buffer_mut()[..self.template.len()].copy_from_slice(&self.template);
                frame.set_len(self.template.len());
                to_send.push_back(frame);
            }
            let sent = to_send.len() as u64;
            self.push(&mut to_send)?;
            while self.ends.port.reclaim(&mut done) > 0 {
                done.clear();
            }
            if now >= self.begin && to_send.is_empty() {
                self.found.record(now - self.begin, self.clock.now() - now);
                self.found.sent += 1;
                self.found.answered_in_time += 1;
                self.found.bytes_sent += sent * self.payload;
            }
        }
        Ok(self.finish())
    }

    fn push(&mut self, to_send: &mut VecDeque<corelane_xdp::Frame>) -> Result<(), Failure> {
        if !to_send.is_empty() {
            self.ends.port.tx_burst(to_send);
        }
        self.ends.port.kick().map_err(|error| Failure::Machine(format!("sending failed: {error}")))
    }

    fn finish(mut self) -> Found {
        self.found.turn_over(0);
        self.found.measured_ns = self.end.saturating_sub(self.begin);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_their_sum_hold_every_answer() {
        let mut found = Found::default();
        for (now_ns, took_ns) in [(10, 1_000), (SECOND_NS - 1, 2_000), (SECOND_NS, 3_000), (3 * SECOND_NS, 4_000)] {
            found.record(now_ns, took_ns);
        }
        found.turn_over(0);
        let counts = |pair: &Pair| (pair.latency.len(), pair.service.len());
        let seconds: Vec<_> = found.seconds.iter().map(|(second, pair)| (*second, counts(pair))).collect();
        assert_eq!(seconds, [(0, (2, 2)), (1, (1, 1)), (3, (1, 1))]);
        assert_eq!((counts(&found.total), found.answered), ((4, 4), 4));
        assert_eq!(found.total.latency.min(), 1_000);
    }
}
