//! The whole stack as a receiver: each frame goes through the worker to the protocol, which finds its checksum wrong.

use super::link::{Link, OWN, PORT, RECEIVER_IF};
use super::result::Measured;
use super::sender::Sender;
use super::ways::WARM_UP;
use crate::failure::Failure;
use crate::transport::corelane::failure;
use corelane::config::{Config, Mode, Strategy};
use corelane::{App, Conn, Core, Error, Instant as Now, Rx, Stack, StopHandle, Summary};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the stack may take to start.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked at until then.
const PACE: Duration = Duration::from_millis(5);

/// Listens, and tells how many frames came.
struct Counting<'s> {
    frames: &'s AtomicU64,
}

impl App for Counting<'_> {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        core.listen_port(PORT)
    }

    fn on_accept(&mut self, _conn: &mut Conn<'_>) {}

    fn on_recv(&mut self, _conn: &mut Conn<'_>, (): &mut (), _rx: &mut Rx<'_>) {}

    fn on_turn(&mut self, core: &mut Core<'_, ()>) -> Option<Now> {
        self.frames.store(core.counters().frames_in, Ordering::Relaxed);
        None
    }
}

/// Runs a stack on `core` and counts its frames for `time`.
pub(super) fn measure(link: &Link, sender: &Sender, core: usize, time: Duration) -> Result<Measured, Failure> {
    let config = Config::builder()
        .interface(RECEIVER_IF)
        .address(&format!("{OWN}/24"))
        .mode(Mode::Copy)
        .waiting(Strategy::Spin)
        .set("cores.list", vec![i64::try_from(core).unwrap_or(0)])
        .build()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let (frames, stop) = (AtomicU64::new(0), StopHandle::new());
    std::thread::scope(|scope| {
        let work = || -> Result<Summary, Failure> {
            link.receiver.enter()?;
            let app = |_worker| Counting { frames: &frames };
            Stack::builder(config).stop_handle(&stop).signals(false).run(app).map_err(|error| failure(&error))
        };
        let running = scope.spawn(work);
        sender.send(true);
        let began = Instant::now();
        while frames.load(Ordering::Relaxed) == 0 && !running.is_finished() && began.elapsed() < START_WITHIN {
            std::thread::sleep(PACE);
        }
        std::thread::sleep(WARM_UP);
        let (began, (sent, cpu_ns), before) = (Instant::now(), sender.spent(), frames.load(Ordering::Relaxed));
        std::thread::sleep(time);
        let (received, passed) = (frames.load(Ordering::Relaxed) - before, began.elapsed());
        let (sent_now, cpu_now) = sender.spent();
        sender.send(false);
        stop.stop();
        running.join().map_err(|_| Failure::Machine("the stack's thread panicked".to_owned()))??;
        Ok(Measured {
            received,
            sent: sent_now - sent,
            sender_cpu_ns: cpu_now - cpu_ns,
            seconds: passed.as_secs_f64(),
            program_ns: None,
        })
    })
}
