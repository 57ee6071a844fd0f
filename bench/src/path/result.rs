//! What a comparison found: result.json.

use super::emulator::EmulatorCounts;
use super::matrix::{Cell, Matrix};
use super::sender::Transfer;
use serde::Serialize;
use std::collections::BTreeMap;

/// A whole comparison. The fields are those of result.json.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PathResult {
    /// The version of corelane-bench.
    pub version: String,
    /// The kernel's.
    pub kernel: String,
    /// When it began: seconds since 1970-01-01 UTC.
    pub started_at_s: u64,
    /// Whether `/dev/cpu_dma_latency` was held at 0, so that idle cores did not halt.
    pub cpu_dma_latency_held: bool,
    /// What was asked for.
    pub matrix: Matrix,
    /// What was measured.
    pub cells: Vec<CellResult>,
    /// The median of the ratios; null without any.
    pub median_ratio: Option<f64>,
    /// The cell with the least ratio.
    pub worst_cell: Option<String>,
    /// Its ratio.
    pub worst_ratio: Option<f64>,
}

/// Both senders in one cell.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CellResult {
    /// Its name.
    pub name: String,
    /// Its path and algorithm.
    pub cell: Cell,
    /// The kernel's sender; null when it does not have the algorithm.
    pub kernel: Option<Side>,
    /// Ours; null when it does not have the algorithm.
    pub corelane: Option<Side>,
    /// Corelane's goodput over the kernel's; null when either is missing.
    pub ratio: Option<f64>,
    /// What the reader has to know, a clause each.
    pub notes: Vec<String>,
}

/// One sender in one cell, over all rounds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Side {
    /// The congestion control that it used.
    pub algorithm: String,
    /// Bytes that the receiver read a second from the first SYN on: the median of the rounds.
    pub goodput: f64,
    /// The same of each round.
    pub goodputs: Vec<f64>,
    /// Bytes that the receiver read, each compared; all rounds together, as everything below.
    pub received_bytes: u64,
    /// Payload bytes on the wire, before anything was lost.
    pub payload_bytes: u64,
    /// Of these, bytes that passed before.
    pub retransmitted_bytes: u64,
    /// Data segments on the wire.
    pub segments: u64,
    /// Segments that reached the receiver and had nothing new.
    pub needless_segments: u64,
    /// Retransmission time-outs.
    pub time_outs: u64,
    /// Reductions of the window that were taken back; null when the sender does not count them.
    pub undone: Option<u64>,
    /// What the emulator counted, each round.
    pub path: Vec<EmulatorCounts>,
    /// The sender's own counters and readings, summed over the rounds.
    pub own: BTreeMap<String, u64>,
}

impl Side {
    /// Sums up the rounds; `None` without any.
    pub fn of(transfers: &[Transfer]) -> Option<Self> {
        let sum = |field: fn(&Transfer) -> u64| transfers.iter().map(field).sum::<u64>();
        let goodput = |transfer: &Transfer| transfer.bytes as f64 * 1e9 / transfer.duration_ns as f64;
        let goodputs: Vec<f64> = transfers.iter().map(goodput).collect();
        let mut own = BTreeMap::new();
        for (name, count) in transfers.iter().flat_map(|transfer| &transfer.counted.own) {
            *own.entry(name.clone()).or_default() += count;
        }
        Some(Self {
            algorithm: transfers.first()?.algorithm.clone(),
            goodput: median(&goodputs)?,
            goodputs,
            received_bytes: sum(|transfer| transfer.bytes),
            payload_bytes: sum(|transfer| transfer.watch.payload_bytes()),
            retransmitted_bytes: sum(|transfer| transfer.watch.retransmitted_bytes()),
            segments: sum(|transfer| transfer.watch.segments()),
            needless_segments: sum(|transfer| transfer.needless),
            time_outs: sum(|transfer| transfer.counted.time_outs),
            undone: transfers.iter().map(|transfer| transfer.counted.undone).sum(),
            path: transfers.iter().map(|transfer| transfer.path).collect(),
            own,
        })
    }

    /// Retransmitted bytes of all payload bytes on the wire, per cent.
    pub fn retransmitted_percent(&self) -> f64 {
        if self.payload_bytes == 0 { 0.0 } else { self.retransmitted_bytes as f64 * 100.0 / self.payload_bytes as f64 }
    }

    /// Frames of either direction that left late because the machine was busy, per cent.
    pub fn late_percent(&self) -> f64 {
        let forwarded: u64 = self.path.iter().map(|path| path.data.forwarded + path.acks.forwarded).sum();
        let late: u64 = self.path.iter().map(|path| path.late).sum();
        if forwarded == 0 { 0.0 } else { late as f64 * 100.0 / forwarded as f64 }
    }
}

/// Frames late in more than this share make a cell's figures doubtful, per cent.
const LATE_PERCENT: f64 = 1.0;

impl CellResult {
    /// Compares the rounds of both senders. `notes` are those that are known already.
    pub fn new(cell: Cell, kernel: &[Transfer], corelane: &[Transfer], mut notes: Vec<String>) -> Self {
        let (kernel, corelane) = (Side::of(kernel), Side::of(corelane));
        if let Some(side) = corelane.as_ref().filter(|side| side.algorithm != cell.algorithm) {
            notes.push(format!("corelane sends with {}", side.algorithm));
        }
        let sides = [&kernel, &corelane];
        let late = sides.map(|side| side.as_ref().map_or(0.0, Side::late_percent));
        if late.iter().any(|late| *late > LATE_PERCENT) {
            notes.push(format!("machine busy: {:.1}/{:.1} % of the frames late", late[0], late[1]));
        }
        let refused = sides.into_iter().flatten().flat_map(|side| &side.path).map(|path| path.refused).sum::<u64>();
        if refused > 0 {
            notes.push(format!("{refused} frames refused by the kernel"));
        }
        let ratio = match (&kernel, &corelane) {
            (Some(kernel), Some(corelane)) if kernel.goodput > 0.0 => Some(corelane.goodput / kernel.goodput),
            _ => None,
        };
        Self { name: cell.name(), cell, kernel, corelane, ratio, notes }
    }

    /// Corelane's retransmitted share less the kernel's, in per cent of the payload.
    pub fn excess_percent(&self) -> Option<f64> {
        Some(self.corelane.as_ref()?.retransmitted_percent() - self.kernel.as_ref()?.retransmitted_percent())
    }
}

impl PathResult {
    /// The ratios of all cells that have one, the least first.
    pub fn ratios(&self) -> Vec<(f64, &CellResult)> {
        let mut ratios: Vec<_> = self.cells.iter().filter_map(|cell| Some((cell.ratio?, cell))).collect();
        ratios.sort_by(|one, other| one.0.total_cmp(&other.0));
        ratios
    }

    /// Fills in what is said of all cells together.
    #[must_use]
    pub fn summed_up(mut self) -> Self {
        let ratios = self.ratios();
        let median = median(&ratios.iter().map(|(ratio, _)| *ratio).collect::<Vec<_>>());
        let worst = ratios.first().map(|(ratio, cell)| (*ratio, cell.name.clone()));
        self.median_ratio = median;
        (self.worst_ratio, self.worst_cell) = worst.unzip();
        self
    }

    /// Each cell that only reorders beside its clean path: the kernel's share of its clean goodput, and Corelane's.
    pub fn reordering(&self) -> Vec<(&CellResult, [Option<f64>; 2])> {
        let only_reorders = |cell: &&CellResult| cell.cell.reorder_percent > 0.0 && cell.cell.loss_percent == 0.0;
        let share = |side: &Option<Side>, clean: &Option<Side>| {
            let clean = clean.as_ref().map(|clean| clean.goodput).filter(|goodput| *goodput > 0.0)?;
            Some(side.as_ref()?.goodput / clean)
        };
        let beside = |cell| {
            let clean = self.cells.iter().find(|other: &&CellResult| CellResult::is_clean_of(other, cell))?;
            Some((cell, [share(&cell.kernel, &clean.kernel), share(&cell.corelane, &clean.corelane)]))
        };
        self.cells.iter().filter(only_reorders).filter_map(beside).collect()
    }
}

impl CellResult {
    fn is_clean_of(&self, other: &Self) -> bool {
        other.cell.has_as_clean(&self.cell)
    }
}

/// The middle value, or the mean of the two in the middle; `None` without any.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::path::sender::Counted;
    use crate::path::watch::Watch;

    pub(in crate::path) fn transfer(bytes: u64) -> Transfer {
        Transfer {
            algorithm: "cubic".to_owned(),
            bytes,
            duration_ns: 2_000_000_000,
            watch: Watch::default(),
            path: EmulatorCounts::default(),
            needless: 1,
            counted: Counted { time_outs: 2, undone: Some(1), own: [("rto".to_owned(), 2)].into() },
        }
    }

    /// The quick cells, each with `bytes` of the kernel and of ours.
    pub(in crate::path) fn result(bytes: [(u64, u64); 4]) -> PathResult {
        let (matrix, cells) = Matrix::quick();
        let cells = cells.into_iter().zip(bytes).map(|(cell, (kernel, corelane))| {
            let algorithm = cell.algorithm.clone();
            let one = |bytes| [Transfer { algorithm: algorithm.clone(), ..transfer(bytes) }];
            CellResult::new(cell, &one(kernel), &one(corelane), Vec::new())
        });
        let cells = cells.collect();
        PathResult {
            version: "0".to_owned(),
            kernel: "6".to_owned(),
            started_at_s: 0,
            cpu_dma_latency_held: true,
            matrix,
            cells,
            median_ratio: None,
            worst_cell: None,
            worst_ratio: None,
        }
        .summed_up()
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn rounds_are_summed_and_their_goodput_is_the_median() {
        let side = Side::of(&[transfer(2), transfer(200), transfer(20)]).unwrap();
        assert_eq!((side.goodput, side.goodputs.len(), side.received_bytes), (10.0, 3, 222));
        assert_eq!((side.needless_segments, side.time_outs, side.undone, side.own["rto"]), (3, 6, Some(3), 6));
        let mut silent = transfer(1);
        silent.counted.undone = None;
        assert_eq!(Side::of(&[transfer(1), silent]).unwrap().undone, None);
        assert_eq!(Side::of(&[]), None);
    }

    #[test]
    fn ratios_and_the_worst_cell() {
        let result = result([(100, 100), (100, 50), (80, 95), (100, 0)]);
        assert_eq!((result.median_ratio, result.worst_ratio), (Some(0.75), Some(0.0)));
        assert_eq!(result.worst_cell, Some(result.cells[3].name.clone()));
        let reordering = result.reordering();
        assert_eq!(reordering.len(), 1);
        assert_eq!(reordering[0].1, [Some(0.8), Some(0.95)]);
    }

    #[test]
    fn what_is_missing_or_other_than_asked_for_is_noted() {
        let cell = &Matrix::quick().1[3];
        let found = CellResult::new(cell.clone(), &[], &[transfer(1)], vec!["the kernel has no bbr".to_owned()]);
        assert_eq!((found.ratio, found.kernel), (None, None));
        assert_eq!(found.notes, ["the kernel has no bbr", "corelane sends with cubic"]);
        let mut late = transfer(1);
        (late.path.data.forwarded, late.path.late, late.path.refused) = (100, 2, 3);
        let cell = Cell { algorithm: "cubic".to_owned(), ..cell.clone() };
        let found = CellResult::new(cell, &[late], &[transfer(1)], Vec::new());
        assert_eq!(found.notes, ["machine busy: 2.0/0.0 % of the frames late", "3 frames refused by the kernel"]);
    }
}
