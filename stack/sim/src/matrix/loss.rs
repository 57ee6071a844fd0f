//! The table of losses: goodput and completion time over loss, round-trip time and buffer, for each algorithm.

use super::algorithm::Algorithm;
use super::cell::{self, Cell, SEGMENT};
use super::text::{Table, percent, seconds};
use super::trial::Outcome;
use std::time::Duration;

/// Probabilities of loss, with their names in per cent.
const LOSSES: [(&str, f64); 6] = [("0", 0.0), ("0.01", 0.000_1), ("0.1", 0.001), ("1", 0.01), ("3", 0.03), ("10", 0.1)];
/// Round-trip times, with their names in milliseconds.
const RTTS: [(&str, Duration); 4] = [
    ("0.1", Duration::from_micros(100)),
    ("1", Duration::from_millis(1)),
    ("20", Duration::from_millis(20)),
    ("100", Duration::from_millis(100)),
];
/// Buffers in tenths of a bandwidth-delay product.
const BUFFERS: [u64; 3] = [1, 10, 40];

const HEAD: &str = "\
Goodput and completion time of one transfer over a bottleneck with random loss

goodput   payload bits a second of the whole transfer, in per cent of the bottleneck's rate; headers take 4.4 of 100
time      from the first byte written to the last byte read, seconds, the connection being open before
loss      of data packets, behind the queue; ACKs are not lost
buffer    drop-tail, in bandwidth-delay products (BDP), beside the frame on the wire; one frame at least
The sender's own link is as fast as it likes: what it may send at once comes to the bottleneck as one burst.
A cell is the median of 1 transfer (no loss), 3 (below 0.5 %) or 5, each with a seed of its own.";

/// A row: a loss and a round-trip time for an algorithm.
#[derive(Clone, Copy)]
struct Row {
    algorithm: Algorithm,
    loss: usize,
    rtt: usize,
}

impl Row {
    fn cells(self) -> [Cell; 3] {
        let (algorithm, loss, rtt) = (self.algorithm, LOSSES[self.loss].1, RTTS[self.rtt].1);
        BUFFERS.map(|buffer_tenths| Cell { algorithm, loss, rtt, buffer_tenths })
    }

    fn line(self, outcomes: &[Outcome]) -> String {
        let [cell, ..] = self.cells();
        let rate = cell.rate().bits_per_second();
        let bits = u128::from(cell.segments() * SEGMENT * 8);
        let mut line = format!(
            "{:>6} {:>7} {:>7} {:>9}",
            LOSSES[self.loss].0,
            RTTS[self.rtt].0,
            rate / 1_000_000,
            cell.segments()
        );
        for outcome in outcomes {
            let time = outcome.completion();
            let most = u128::from(rate) * time.as_nanos() / 1_000_000_000;
            line += &format!("   {:>9} {:>9}", percent(bits, most), seconds(time));
        }
        line
    }
}

/// The whole table.
pub(super) fn table(jobs: usize) -> Table {
    some(jobs, |_| true)
}

/// One row in six: each loss with one round-trip time, the cheap ones.
pub(super) fn sample(jobs: usize) -> Table {
    some(jobs, |row| row.loss == 5 - row.rtt)
}

fn some(jobs: usize, wanted: impl Fn(&Row) -> bool) -> Table {
    let rows: Vec<Row> = Algorithm::ALL.iter().flat_map(|algorithm| rows(*algorithm)).collect();
    let chosen: Vec<Row> = rows.iter().copied().filter(|row| wanted(row)).collect();
    let mut lines = measured(jobs, &chosen).into_iter();
    let mut table = Table::new("loss");
    table.push(HEAD);
    for (index, row) in rows.iter().enumerate() {
        if index % (LOSSES.len() * RTTS.len()) == 0 {
            push_head(&mut table, row.algorithm);
        } else if row.rtt == 0 {
            table.push("");
        }
        match wanted(row).then(|| lines.next()).flatten() {
            Some(line) => table.push(&line),
            None => table.skip(),
        }
    }
    table
}

fn rows(algorithm: Algorithm) -> impl Iterator<Item = Row> {
    (0..LOSSES.len()).flat_map(move |loss| (0..RTTS.len()).map(move |rtt| Row { algorithm, loss, rtt }))
}

fn push_head(table: &mut Table, algorithm: Algorithm) {
    let mut names = format!("\n{:<32}", algorithm.name());
    let mut units = format!("{:>6} {:>7} {:>7} {:>9}", "loss %", "RTT ms", "Mbit/s", "segments");
    for tenths in BUFFERS {
        let bdp = if tenths < 10 { format!("0.{tenths}") } else { (tenths / 10).to_string() };
        names += &format!("   {:>19}", format!("buffer {bdp} BDP"));
        units += &format!("   {:>9} {:>9}", "goodput %", "time s");
    }
    table.push(&names);
    table.push(&units);
}

/// The lines of `rows`.
fn measured(jobs: usize, rows: &[Row]) -> Vec<String> {
    let cells: Vec<Cell> = rows.iter().flat_map(|row| row.cells()).collect();
    let medians = cell::medians(jobs, &cells, |cell| (1..=cell.trials()).map(|seed| cell.plan(seed)).collect());
    rows.iter().zip(medians.chunks_exact(BUFFERS.len())).map(|(row, outcomes)| row.line(outcomes)).collect()
}
