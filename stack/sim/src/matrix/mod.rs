//! The bottleneck laboratory: transfers over [paths](crate::path) in virtual time, as tables that are kept as snapshots.
//!
//! Each table is a function of nothing but the code: the same bytes on every machine. The snapshots lie in
//! `stack/sim/golden`, so a change of the stack that changes a cell shows in the diff. A cell is one or more
//! trials of real endpoints with real frames; the receiver reads at once, and the buffers are so large that only the
//! network and the sender's congestion control decide.

mod algorithm;
mod cell;
mod fairness;
pub mod golden;
mod impaired;
mod loss;
mod node;
mod plot;
mod pool;
mod short;
mod text;
mod tile;
mod trial;

pub use algorithm::Algorithm;
pub use cell::{Cell, SEGMENT, rate_for};
pub use impaired::{Impairment, of_clean};
pub use plot::{Picture, draw};
pub use short::{LostPart, ShortFlow};
pub use text::Table;
pub use trial::{FlowOutcome, FlowPlan, Mark, Outcome, Sample, TrialPlan, run};

/// Makes a table on so many threads.
type Make = fn(usize) -> Table;

/// The tables, by the names of their snapshots.
const TABLES: &[(&str, Make)] = &[
    ("loss", loss::table),
    ("impaired", impaired::table),
    ("short_flows", short::table),
    ("fairness", fairness::table),
];

/// The names of all tables, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|(name, _)| *name)
}

/// The table of that name, made on `jobs` threads.
pub fn table(name: &str, jobs: usize) -> Option<Table> {
    TABLES.iter().find(|(known, _)| *known == name).map(|(_, make)| make(jobs))
}

/// One row in six of the table of losses, so that each loss and each round-trip time but the cheapest is among them: for
/// tests, whose build is slow.
pub fn sample_of_losses(jobs: usize) -> Table {
    loss::sample(jobs)
}
