//! The stack that waits: an echo server that notes when it sees a request.

use super::link::{Link, OWN, PORT, SERVER_IF};
use super::result::Idle;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::load::recorder::histogram;
use crate::stop::Stop;
use crate::transport::corelane::failure;
use corelane::config::{Config, Mode, Strategy};
use corelane::{App, Conn, Core, Error, Instant, Rx, Stack, StopHandle, Summary};
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

/// How long the stack may take to start.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How often it is asked whether the time is over.
const PACE: Duration = Duration::from_millis(50);

/// What the stack's core and the measuring thread share.
struct Shared {
    /// The worker's thread, as /proc names it; 0 before its first turn.
    thread: AtomicI32,
    turns: AtomicU64,
    /// From a request's sending to the application.
    seen: Mutex<Histogram<u64>>,
}

/// A stack on its own thread.
pub(super) struct Server<'scope> {
    stop: StopHandle,
    shared: Arc<Shared>,
    thread: ScopedJoinHandle<'scope, Result<Summary, Failure>>,
}

impl<'scope> Server<'scope> {
    pub(super) fn start<'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        link: &'env Link,
        strategy: Strategy,
        clock: &Clock,
    ) -> Result<Self, Failure> {
        let stop = StopHandle::new();
        let seen = Mutex::new(histogram());
        let shared = Arc::new(Shared { thread: AtomicI32::new(0), turns: AtomicU64::new(0), seen });
        let config = config(strategy)?;
        let (handle, ours, clock) = (stop.clone(), Arc::clone(&shared), clock.clone());
        let work = move || {
            link.server.enter()?;
            let app = |_worker| Echo { shared: &ours, clock: &clock };
            Stack::builder(config).stop_handle(&handle).signals(false).run(app).map_err(|error| failure(&error))
        };
        Ok(Self { stop, shared, thread: scope.spawn(work) })
    }

    /// Waits until packets reach it. One that fails to start is not waited for; [`stop`](Self::stop) says why.
    pub(super) fn ready(&self) -> Result<(), Failure> {
        let mut waited = Duration::ZERO;
        while self.shared.thread.load(Ordering::Acquire) == 0 {
            if self.thread.is_finished() || waited > START_WITHIN {
                return Err(Failure::Machine("the stack did not start".to_owned()));
            }
            std::thread::sleep(PACE);
            waited += PACE;
        }
        Ok(())
    }

    /// Lets it be for `time`; `None` when told to stop.
    pub(super) fn idle_for(&self, time: Duration, stop: &Stop) -> Result<Option<Idle>, Failure> {
        let clock = Clock::new();
        let (turns, cpu) = (self.turns(), self.cpu_ns()?);
        let began = clock.now();
        let wanted = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let passed = clock.now() - began;
            if passed >= wanted {
                return Ok(Some(Idle { passed_ns: passed, cpu_ns: self.cpu_ns()? - cpu, turns: self.turns() - turns }));
            }
            if stop.is_raised() {
                return Ok(None);
            }
            std::thread::sleep(PACE.min(Duration::from_nanos(wanted - passed)));
        }
    }

    fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
    }

    /// Processor time of the worker's thread: the first field of its `schedstat` (kernel doc `sched-stats`), which the
    /// scheduler keeps in nanoseconds, where `stat` counts ticks.
    fn cpu_ns(&self) -> Result<u64, Failure> {
        let path = format!("/proc/self/task/{}/schedstat", self.shared.thread.load(Ordering::Acquire));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let first = text.split_whitespace().next().and_then(|field| field.parse().ok());
        first.ok_or_else(|| {
            Failure::Machine(format!("{path} tells no processor time: boot a kernel with CONFIG_SCHED_INFO=y"))
        })
    }

    /// Ends it; gives what it counted, and the times from a request's sending to the application.
    pub(super) fn stop(self) -> Result<(Summary, Histogram<u64>), Failure> {
        let Self { stop, shared, thread } = self;
        stop.stop();
        let summary = thread.join().map_err(|_| Failure::Machine("the stack's thread panicked".to_owned()))??;
        if !summary.all_frames_accounted_for() {
            return Err(Failure::Threshold(format!("the stack has lost frames, which is a bug to report:\n{summary}")));
        }
        let seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((summary, seen))
    }
}

/// The defaults, but for the interface: what is measured is what is delivered.
fn config(strategy: Strategy) -> Result<Config, Failure> {
    Config::builder()
        .interface(SERVER_IF)
        .address(&format!("{OWN}/24"))
        .mode(Mode::Copy)
        .waiting(strategy)
        .build()
        .map_err(|error| Failure::Usage(error.to_string()))
}

struct Echo<'s> {
    shared: &'s Shared,
    clock: &'s Clock,
}

impl App for Echo<'_> {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        core.listen_port(PORT)
    }

    fn on_accept(&mut self, _conn: &mut Conn<'_>) {}

    fn on_recv(&mut self, conn: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        let now = self.clock.now();
        if let Some(sent) = rx.bytes().first_chunk() {
            let took = now.saturating_sub(u64::from_le_bytes(*sent));
            self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took);
        }
        let taken = conn.send_copy(rx.bytes());
        rx.consume(taken);
    }

    fn on_peer_closed(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        conn.close();
    }

    fn on_turn(&mut self, _core: &mut Core<'_, ()>) -> Option<Instant> {
        if self.shared.turns.fetch_add(1, Ordering::Relaxed) == 0 {
            self.shared.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Release);
        }
        None
    }
}
