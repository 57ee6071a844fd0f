//! Steady state allocates nothing: a counting allocator under 100,000 echo exchanges.

#![expect(unsafe_code, reason = "an allocator can only be counted by being one; this one passes everything on")]

mod common;

use common::{Echo, Pair, SERVER};
use corelane::{App, Conn, Core, Error, Rx};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

thread_local! {
    /// Allocations of this thread; the test harness has threads of its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // While a thread ends there is nothing to count with, and nothing to count.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every method hands its arguments unchanged to `System`, which keeps the contract; counting touches only a
// `Cell` that is initialized at compile time and therefore allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: `ptr` came from `System` through this allocator, with this layout.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sends 64 bytes on each connection and again whenever they have come back.
struct PingPong {
    exchanges: u64,
}

const MESSAGE: [u8; 64] = [0x5a; 64];
const CONNECTIONS: usize = 16;

impl App for PingPong {
    type State = usize;

    fn on_start(&mut self, core: &mut Core<'_, usize>) -> Result<(), Error> {
        for _ in 0..CONNECTIONS {
            core.connect(SERVER, 0)?;
        }
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) -> usize {
        0
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, _: &mut usize) {
        assert_eq!(conn.send_copy(&MESSAGE), MESSAGE.len());
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, got: &mut usize, rx: &mut Rx<'_>) {
        *got += rx.bytes().len();
        if *got == MESSAGE.len() {
            *got = 0;
            self.exchanges += 1;
            // Every other one without a copy.
            if self.exchanges.is_multiple_of(2) {
                let mut buf = conn.alloc().unwrap();
                buf.write(&MESSAGE);
                conn.send(buf).unwrap();
            } else {
                assert_eq!(conn.send_copy(&MESSAGE), MESSAGE.len());
            }
        }
    }
}

#[test]
fn a_hundred_thousand_exchanges_allocate_nothing() {
    let mut pair = Pair::new(PingPong { exchanges: 0 }, Echo::default());
    pair.run_until(Duration::from_secs(60), |pair| pair.client.app().exchanges >= 10_000);

    let before = ALLOCATIONS.get();
    pair.run_until(Duration::from_secs(600), |pair| pair.client.app().exchanges >= 110_000);
    let allocations = ALLOCATIONS.get() - before;

    assert!(before > 0, "the counter does not count");
    assert_eq!(allocations, 0, "{allocations} allocations in 100,000 exchanges");
    pair.stop();
}
