//! Many seeds on several threads, each caught when it panics, some of them run twice.

use crate::coverage::Met;
use crate::world::{Outcome, Sabotage, run};
use corelane_proto::tcp::coverage;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Of so many seeds one is run twice, to see whether its trace is the same.
const TWICE: u64 = 50;

thread_local! {
    /// What the last panic of this thread said, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A seed's outcome and how long it took.
#[derive(Clone, Debug)]
pub struct Timed {
    /// What came of it.
    pub outcome: Outcome,
    /// Time by the clock.
    pub wall: Duration,
}

/// Runs one seed; a panic is a failure with its message.
pub fn run_caught(seed: u64, keep_trace: bool, sabotage: Sabotage) -> Outcome {
    keep_panics_quiet();
    panic::catch_unwind(AssertUnwindSafe(|| run(seed, keep_trace, sabotage))).unwrap_or_else(|_| {
        let said = PANIC.with(|cell| cell.borrow_mut().take()).unwrap_or_else(|| "nothing".to_owned());
        panicked(seed, format!("panic: {said}"))
    })
}

fn panicked(seed: u64, failure: String) -> Outcome {
    Outcome {
        seed,
        failure: Some(failure),
        hash: 0,
        virtual_time: Duration::ZERO,
        connections: 0,
        link: Default::default(),
        starved: 0,
        retransmits: 0,
        rto_fired: 0,
        fast_retransmits: 0,
        early: 0,
        bytes: 0,
        lines: Vec::new(),
    }
}

/// A panic is a result here: it is kept instead of printed. Panics of threads that run no seed are printed as ever.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panic::set_hook(Box::new(|info| {
            PANIC.with(|cell| *cell.borrow_mut() = Some(info.to_string().replace('\n', " ")));
        }));
    });
}

/// What many seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// Each seed's outcome, in their order.
    pub all: Vec<Timed>,
    /// What they met together.
    pub met: Met,
}

/// Runs `seeds` seeds from `first` on, on `jobs` threads; `each` is told of every one as it ends. They come back in
/// the order of their seeds.
pub fn run_many(first: u64, seeds: u64, jobs: usize, mut each: impl FnMut(&Timed)) -> Runs {
    let next = AtomicU64::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut all = Vec::new();
    coverage::take();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let offset = next.fetch_add(1, Ordering::Relaxed);
                    if offset >= seeds || sender.send(run_timed(first.wrapping_add(offset))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for timed in receiver {
            each(&timed);
            all.push(timed);
        }
    });
    all.sort_by_key(|timed: &Timed| timed.outcome.seed.wrapping_sub(first));
    Runs { all, met: Met(coverage::take()) }
}

fn run_timed(seed: u64) -> Timed {
    let start = Instant::now();
    let mut outcome = run_caught(seed, false, Sabotage::default());
    let wall = start.elapsed();
    if outcome.failure.is_none() && seed.is_multiple_of(TWICE) {
        let again = run_caught(seed, false, Sabotage::default());
        if again.hash != outcome.hash {
            outcome.failure = Some(format!("two runs differ: {:016x} and {:016x}", outcome.hash, again.hash));
        }
    }
    Timed { outcome, wall }
}
