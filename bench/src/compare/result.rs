//! result.json of a comparison: every run, and for each cell the medians, the spread and the ratios.

use super::bars::{Bar, bars};
use super::cpu::CoreTime;
use super::matrix::{Cell, Matrix, Workload};
use super::pair::{End, Pair};
use crate::path::result::median;
use serde::{Deserialize, Serialize};

/// The document. Rates are exchanges a second, connections a second, or for bulk bits a second; times are nanoseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CompareResult {
    /// Tells it from other results.
    pub kind: Kind,
    /// The machines and how they were set, one for each comparison that is in here.
    pub environment: Vec<Environment>,
    /// What was asked for; of the first, when several were put together.
    pub matrix: Matrix,
    /// The cells in the matrix's order.
    pub rows: Vec<Row>,
    /// What the project promises, beside what was measured.
    pub bars: Vec<Bar>,
}

/// The only one there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Of `corelane-bench compare`.
    Compare,
}

/// A machine, and how it was set while it measured.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Of this program.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// Whether the machine is a virtual one.
    pub is_virtual: bool,
    /// The cores that this process may run on.
    pub cores: Vec<usize>,
    /// Where the clients ran.
    pub client_core: usize,
    /// Where the servers ran.
    pub server_core: usize,
    /// Whether `/dev/cpu_dma_latency` was held at 0, so that idle cores did not halt.
    pub cpu_dma_latency_held: bool,
    /// The congestion control of the kernel's sockets.
    pub congestion_control: String,
    /// That of Corelane's, which is what it comes with.
    pub corelane_congestion_control: String,
    /// Runnable and running processes over the last minute, before.
    pub load_before: f64,
    /// The same after; more than the two cores that this command uses means that others ran too.
    pub load_after: f64,
    /// When it began, seconds since 1970-01-01 UTC.
    pub started_at_s: u64,
    /// How long all of it took, seconds.
    pub took_s: f64,
    /// Whether the matrix was run to its end.
    pub complete: bool,
}

/// A cell once.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Which round: ratios are between runs of the same one.
    pub round: u32,
    /// Exchanges, connections or bits a second.
    pub rate: f64,
    /// Latency; null for bulk.
    pub p50_ns: Option<u64>,
    /// Latency; null for bulk.
    pub p99_ns: Option<u64>,
    /// What failed, of all kinds.
    pub errors: u64,
    /// The client's core, all that ran on it.
    pub client_core: CoreTime,
    /// The server's core, all that ran on it.
    pub server_core: CoreTime,
    /// Frames that the server's socket received and sent, for each exchange; null where the kernel serves, and for bulk
    /// for each 64 KiB.
    pub frames_per_exchange: Option<f64>,
    /// System calls that had the kernel send, for each exchange or 64 KiB.
    pub kicks_per_exchange: Option<f64>,
}

/// The middle of several values, and how far they lie apart.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Of nothing there is none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        median(values).map(|median| Self { median, least, most })
    }
}

/// A cell in all its rounds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What `--only` matches.
    pub name: String,
    /// What was run.
    pub cell: Cell,
    /// Each round.
    pub runs: Vec<Run>,
    /// Over the rounds.
    pub rate: Option<Spread>,
    /// Over the rounds, nanoseconds.
    pub p50_ns: Option<Spread>,
    /// Over the rounds, nanoseconds.
    pub p99_ns: Option<Spread>,
    /// The rate by that of bare frames, as many in flight; for what is not an echo by that of an echo of 64 bytes.
    pub over_raw: Option<f64>,
    /// The rate by that of the kernel on both sides.
    pub over_kernel: Option<f64>,
    /// The rate by that of a kernel's server under the same client.
    pub over_same_client: Option<f64>,
    /// Why rounds are missing, a sentence each.
    pub notes: Vec<String>,
}

impl Row {
    /// Without a run.
    pub fn new(cell: Cell) -> Self {
        Self {
            name: cell.name(),
            cell,
            runs: Vec::new(),
            rate: None,
            p50_ns: None,
            p99_ns: None,
            over_raw: None,
            over_kernel: None,
            over_same_client: None,
            notes: Vec::new(),
        }
    }

    fn sum_up(&mut self) {
        let of =
            |value: &dyn Fn(&Run) -> Option<f64>| Spread::of(&self.runs.iter().filter_map(value).collect::<Vec<_>>());
        self.rate = of(&|run| Some(run.rate));
        self.p50_ns = of(&|run| run.p50_ns.map(|ns| ns as f64));
        self.p99_ns = of(&|run| run.p99_ns.map(|ns| ns as f64));
    }

    /// The median over the rounds of a value of the runs.
    pub fn middle(&self, value: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        median(&self.runs.iter().filter_map(value).collect::<Vec<_>>())
    }
}

/// The median over the rounds that both have of `value` in one row by `value` in the other in the same round, so that what
/// slows a whole round down does not count.
pub(super) fn ratio(row: &Row, base: &Row, value: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
    let ratios = row.runs.iter().filter_map(|run| {
        let other = base.runs.iter().find(|other| other.round == run.round)?;
        let (own, base) = (value(run)?, value(other)?);
        (base > 0.0).then_some(own / base)
    });
    median(&ratios.collect::<Vec<_>>())
}

impl CompareResult {
    /// The row of a cell.
    pub fn row(&self, cell: &Cell) -> Option<&Row> {
        self.rows.iter().find(|row| row.cell == *cell)
    }

    /// With the medians, ratios and bars that follow from the runs.
    #[must_use]
    pub fn summed_up(mut self) -> Self {
        for row in &mut self.rows {
            row.sum_up();
        }
        let rate = |run: &Run| Some(run.rate);
        for at in 0..self.rows.len() {
            let row = &self.rows[at];
            let over = |base: Option<&Row>| base.and_then(|base| ratio(row, base, rate));
            let with = |pair| self.row(&Cell { pair, ..row.cell });
            let server =
                if row.cell.pair.link() == super::pair::LinkKind::Plain { End::KernelPlain } else { End::Kernel };
            let raw = over(self.row(&raw_of(&row.cell)));
            let kernel = over(with(Pair::KERNEL));
            let same_client = over(with(Pair { client: row.cell.pair.client, server }));
            let row = &mut self.rows[at];
            (row.over_raw, row.over_kernel, row.over_same_client) = (raw, kernel, same_client);
        }
        self.bars = bars(&self);
        self
    }

    /// Several in one: their runs are added to each other's, and only runs of one and the same are compared.
    #[must_use]
    pub fn merged(results: Vec<Self>) -> Option<Self> {
        let mut results = results.into_iter();
        let mut all = results.next()?;
        for Self { kind: _, environment, matrix: _, rows, bars: _ } in results {
            let offset = all.rows.iter().flat_map(|row| &row.runs).map(|run| run.round + 1).max().unwrap_or(0);
            all.environment.extend(environment);
            for mut row in rows {
                row.runs.iter_mut().for_each(|run| run.round += offset);
                match all.rows.iter_mut().find(|known| known.cell == row.cell) {
                    None => all.rows.push(row),
                    Some(known) => {
                        known.runs.append(&mut row.runs);
                        for note in row.notes {
                            if !known.notes.contains(&note) {
                                known.notes.push(note);
                            }
                        }
                    }
                }
            }
        }
        Some(all.summed_up())
    }
}

/// The floor of a cell: as many frames in flight.
fn raw_of(cell: &Cell) -> Cell {
    let (workload, size) = match cell.workload {
        Workload::BulkSend | Workload::BulkRecv => (Workload::BulkSend, None),
        Workload::Echo => (Workload::Echo, cell.size),
        Workload::Http | Workload::Churn => (Workload::Echo, Some(64)),
    };
    Cell { workload, size, connections: cell.connections, pair: Pair::RAW }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::compare) fn row(workload: Workload, connections: usize, pair: &str, runs: &[(u32, f64, u64)]) -> Row {
        let size = matches!(workload, Workload::Echo | Workload::Churn).then_some(64);
        let mut row = Row::new(Cell { workload, size, connections, pair: pair.parse().unwrap() });
        row.runs = runs
            .iter()
            .map(|&(round, rate, p50)| Run {
                round,
                rate,
                p50_ns: (!workload.is_bulk()).then_some(p50),
                p99_ns: (!workload.is_bulk()).then_some(2 * p50),
                errors: 0,
                client_core: CoreTime { busy: 0.9, softirq: 0.5 },
                server_core: CoreTime { busy: 0.8, softirq: 0.1 },
                frames_per_exchange: Some(2.0),
                kicks_per_exchange: Some(0.5),
            })
            .collect();
        row
    }

    pub(in crate::compare) fn result(rows: Vec<Row>) -> CompareResult {
        let environment = Environment { processor: "<b>a & b".to_owned(), complete: true, ..Environment::default() };
        let matrix = Matrix::quick();
        CompareResult { kind: Kind::Compare, environment: vec![environment], matrix, rows, bars: vec![] }.summed_up()
    }

    fn near(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-9), "{found:?}, not {expected}");
    }

    #[test]
    fn ratios_are_of_the_same_round_and_medians_over_them() {
        let result = result(vec![
            // The second round was slow for all.
            row(Workload::Echo, 16, "raw-to-raw", &[(0, 1000.0, 10), (1, 500.0, 20), (2, 1200.0, 9)]),
            row(Workload::Echo, 16, "corelane-to-corelane", &[(0, 900.0, 12), (1, 460.0, 22), (2, 960.0, 11)]),
            row(Workload::Echo, 16, "corelane-to-kernel", &[(0, 450.0, 30), (1, 200.0, 60), (2, 480.0, 28)]),
            row(Workload::Echo, 16, "kernel-to-kernel", &[(0, 300.0, 40), (2, 320.0, 50)]),
        ]);
        let row = &result.rows[1];
        // 0.9, 0.92, 0.8; 2, 2.3, 2; 3, 3.
        near(row.over_raw, 0.9);
        near(row.over_same_client, 2.0);
        near(row.over_kernel, 3.0);
        let rate = row.rate.unwrap();
        assert_eq!((rate.median, rate.least, rate.most), (900.0, 460.0, 960.0));
        assert_eq!(row.p50_ns.unwrap().median, 12.0);
        near(result.rows[0].over_raw, 1.0);
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, 3.0]).unwrap().median, 2.0);
    }

    #[test]
    fn without_a_base_or_a_common_round_there_is_no_ratio() {
        let result = result(vec![
            row(Workload::Echo, 16, "raw-to-raw", &[(0, 1000.0, 10)]),
            row(Workload::Echo, 16, "corelane-to-corelane", &[(1, 900.0, 12)]),
            row(Workload::Echo, 64, "corelane-to-corelane", &[(0, 900.0, 12)]),
            row(Workload::Echo, 16, "kernel-to-kernel", &[(1, 0.0, 12)]),
        ]);
        assert_eq!((result.rows[1].over_raw, result.rows[2].over_raw, result.rows[1].over_kernel), (None, None, None));
    }

    #[test]
    fn bulk_and_requests_have_a_floor_too() {
        let result = result(vec![
            row(Workload::BulkSend, 1, "raw-to-raw", &[(0, 10e9, 0)]),
            row(Workload::BulkRecv, 1, "kernel-to-corelane", &[(0, 5e9, 0)]),
            row(Workload::Echo, 16, "raw-to-raw", &[(0, 1000.0, 10)]),
            row(Workload::Http, 16, "kernel-to-corelane", &[(0, 250.0, 12)]),
        ]);
        near(result.rows[1].over_raw, 0.5);
        near(result.rows[3].over_raw, 0.25);
        assert_eq!(result.rows[0].p50_ns, None);
    }

    #[test]
    fn results_of_two_machines_keep_their_rounds_apart() {
        let one = result(vec![
            row(Workload::Echo, 1, "raw-to-raw", &[(0, 100.0, 10), (1, 100.0, 10)]),
            row(Workload::Echo, 1, "corelane-to-corelane", &[(0, 80.0, 10), (1, 80.0, 10)]),
        ]);
        let other = result(vec![
            row(Workload::Echo, 1, "raw-to-raw", &[(0, 1000.0, 10)]),
            row(Workload::Echo, 1, "corelane-to-corelane", &[(0, 900.0, 10)]),
            row(Workload::Churn, 64, "kernel-to-kernel", &[(0, 9.0, 10)]),
        ]);
        let all = CompareResult::merged(vec![one, other]).unwrap();
        assert_eq!((all.environment.len(), all.rows.len(), all.rows[1].runs.len()), (2, 3, 3));
        // 0.8, 0.8, 0.9: never a rate of one machine by that of another.
        near(all.rows[1].over_raw, 0.8);
        assert_eq!(all.rows[1].runs.iter().map(|run| run.round).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(CompareResult::merged(vec![]), None);
    }

    #[test]
    fn the_document_is_read_back_as_it_was() {
        let result = result(vec![row(Workload::Echo, 1, "raw-to-raw", &[(0, 100.5, 10)])]);
        let text = serde_json::to_string(&result).unwrap();
        assert_eq!(serde_json::from_str::<CompareResult>(&text).unwrap(), result);
    }
}
