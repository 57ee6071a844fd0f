//! What is compared: a matrix of paths and algorithms, from a file or built in.

use super::link::LinkConfig;
use crate::failure::Failure;
use crate::file::{load_toml, within, wrong};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A matrix as it stands in a file; `configs/path.toml` says what each setting means.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// How long each transfer is measured, seconds from its first SYN.
    pub seconds: f64,
    /// How often each cell is measured; the median counts.
    pub rounds: u32,
    /// Chooses which frames get lost or held back.
    pub seed: u64,
    /// Whether the ACKs meet loss and reordering too.
    pub both_directions: bool,
    /// How long a reordered frame is held back, as a share of the round-trip time.
    pub reorder_hold_rtts: f64,
    /// Congestion controls, the same names at both senders.
    pub algorithms: Vec<String>,
    /// Sizes of the bottleneck's queue in bandwidth-delay products.
    pub buffers_bdp: Vec<f64>,
    /// Frames lost by chance, per cent.
    pub loss_percent: Vec<f64>,
    /// Rates and round-trip times.
    pub path: Vec<PathSpec>,
    /// Cells beside the matrix, each with every algorithm.
    #[serde(default)]
    pub extra: Vec<ExtraSpec>,
}

/// A bottleneck and its distance.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathSpec {
    /// Round-trip time without queueing, milliseconds.
    pub rtt_ms: f64,
    /// The bottleneck, million bits of whole frames a second.
    pub rate_mbit: f64,
}

/// One cell that is not in the matrix.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraSpec {
    /// Round-trip time without queueing, milliseconds.
    pub rtt_ms: f64,
    /// The bottleneck, million bits of whole frames a second.
    pub rate_mbit: f64,
    /// The bottleneck's queue in bandwidth-delay products.
    pub buffer_bdp: f64,
    /// Frames lost by chance, per cent.
    #[serde(default)]
    pub loss_percent: f64,
    /// Frames held back, per cent.
    #[serde(default)]
    pub reorder_percent: f64,
}

/// One path with one algorithm.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Cell {
    /// The congestion control of both senders.
    pub algorithm: String,
    /// The bottleneck, million bits a second.
    pub rate_mbit: f64,
    /// Round-trip time without queueing, milliseconds.
    pub rtt_ms: f64,
    /// The bottleneck's queue in bandwidth-delay products.
    pub buffer_bdp: f64,
    /// Frames lost by chance, per cent.
    pub loss_percent: f64,
    /// Frames held back, per cent.
    pub reorder_percent: f64,
}

/// The least queue: one full frame waits while another is sent.
const LEAST_QUEUE: f64 = 2.0 * 1514.0;

impl Cell {
    /// Its name, as `--only` matches it: `cubic-100mbit-20ms-1bdp-loss1%`.
    pub fn name(&self) -> String {
        let Self { algorithm, rate_mbit, rtt_ms, buffer_bdp, loss_percent, reorder_percent } = self;
        let mut name = format!("{algorithm}-{rate_mbit}mbit-{rtt_ms}ms-{buffer_bdp}bdp-loss{loss_percent}%");
        if *reorder_percent > 0.0 {
            name += &format!("-reorder{reorder_percent}%");
        }
        name
    }

    /// Bytes that the bottleneck's queue holds.
    pub fn queue_bytes(&self) -> u64 {
        let bdp = self.rate_mbit * 1e6 / 8.0 * self.rtt_ms / 1e3;
        (bdp * self.buffer_bdp).max(LEAST_QUEUE) as u64
    }

    /// The two directions of the path: the data's, the ACKs'. Both senders of a round meet the same.
    pub fn links(&self, matrix: &Matrix, round: u32) -> [LinkConfig; 2] {
        let rtt_ns = self.rtt_ms * 1e6;
        let data = LinkConfig {
            rate_bps: (self.rate_mbit * 1e6) as u64,
            queue_bytes: self.queue_bytes(),
            delay_ns: (rtt_ns / 2.0) as u64,
            loss: self.loss_percent / 100.0,
            reorder: self.reorder_percent / 100.0,
            hold_ns: (rtt_ns * matrix.reorder_hold_rtts) as u64,
            seed: matrix.seed.wrapping_add(u64::from(round) * 2),
        };
        let acks = LinkConfig { seed: data.seed.wrapping_add(1), ..data };
        [data, if matrix.both_directions { acks } else { LinkConfig { loss: 0.0, reorder: 0.0, ..acks } }]
    }

    /// Whether `other` is the same path with the same algorithm, and neither loses nor reorders.
    pub fn has_as_clean(&self, other: &Self) -> bool {
        *other == Self { loss_percent: 0.0, reorder_percent: 0.0, ..self.clone() }
    }
}

impl Default for Matrix {
    fn default() -> Self {
        let path = |rtt_ms, rate_mbit| PathSpec { rtt_ms, rate_mbit };
        Self {
            seconds: 4.0,
            rounds: 3,
            seed: 1,
            both_directions: true,
            reorder_hold_rtts: 0.125,
            algorithms: vec!["cubic".to_owned(), "bbr".to_owned()],
            buffers_bdp: vec![0.5, 1.0],
            loss_percent: vec![0.0, 0.1, 1.0, 3.0],
            path: vec![path(1.0, 100.0), path(20.0, 100.0), path(100.0, 20.0)],
            extra: vec![ExtraSpec {
                rtt_ms: 20.0,
                rate_mbit: 100.0,
                buffer_bdp: 1.0,
                loss_percent: 0.0,
                reorder_percent: 10.0,
            }],
        }
    }
}

impl Matrix {
    /// Four cells: clean, lossy and reordering with cubic, and lossy with bbr.
    pub fn quick() -> (Self, Vec<Cell>) {
        let matrix = Self { seconds: 2.0, rounds: 1, ..Self::default() };
        let cell = |algorithm: &str, loss_percent, reorder_percent| Cell {
            algorithm: algorithm.to_owned(),
            rate_mbit: 100.0,
            rtt_ms: 20.0,
            buffer_bdp: 1.0,
            loss_percent,
            reorder_percent,
        };
        let cells =
            vec![cell("cubic", 0.0, 0.0), cell("cubic", 1.0, 0.0), cell("cubic", 0.0, 10.0), cell("bbr", 1.0, 0.0)];
        (matrix, cells)
    }

    /// Reads a file; an error names it, and the place where it is wrong.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let matrix: Self = load_toml(path)?;
        matrix.check().map_err(|what| wrong(path, &what))?;
        Ok(matrix)
    }

    /// Whether everything is within its bounds; the error is a clause.
    pub fn check(&self) -> Result<(), String> {
        let Self { seconds, rounds, seed: _, both_directions: _, reorder_hold_rtts, algorithms, .. } = self;
        within("seconds", *seconds, 0.5, 600.0)?;
        within("rounds", f64::from(*rounds), 1.0, 99.0)?;
        within("reorder_hold_rtts", *reorder_hold_rtts, 0.0, 10.0)?;
        let plain = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if let Some(name) = algorithms.iter().find(|name| !plain(name)) {
            return Err(format!("algorithms: `{name}` is not the name of a congestion control, such as cubic"));
        }
        for Cell { algorithm: _, rate_mbit, rtt_ms, buffer_bdp, loss_percent, reorder_percent } in self.cells() {
            within("rate_mbit", rate_mbit, 0.1, 10_000.0)?;
            within("rtt_ms", rtt_ms, 0.1, 2000.0)?;
            within("buffer_bdp", buffer_bdp, 0.01, 100.0)?;
            within("loss_percent", loss_percent, 0.0, 50.0)?;
            within("reorder_percent", reorder_percent, 0.0, 100.0)?;
        }
        if self.cells().is_empty() { Err("it has no cell".to_owned()) } else { Ok(()) }
    }

    /// Every cell, algorithm by algorithm, path by path; the extra ones last.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for algorithm in &self.algorithms {
            for PathSpec { rtt_ms, rate_mbit } in &self.path {
                for buffer_bdp in &self.buffers_bdp {
                    cells.extend(self.loss_percent.iter().map(|loss_percent| Cell {
                        algorithm: algorithm.clone(),
                        rate_mbit: *rate_mbit,
                        rtt_ms: *rtt_ms,
                        buffer_bdp: *buffer_bdp,
                        loss_percent: *loss_percent,
                        reorder_percent: 0.0,
                    }));
                }
            }
        }
        for algorithm in &self.algorithms {
            cells.extend(self.extra.iter().map(|extra| Cell {
                algorithm: algorithm.clone(),
                rate_mbit: extra.rate_mbit,
                rtt_ms: extra.rtt_ms,
                buffer_bdp: extra.buffer_bdp,
                loss_percent: extra.loss_percent,
                reorder_percent: extra.reorder_percent,
            }));
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Matrix, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Matrix::load(file.path())
    }

    #[test]
    fn the_file_in_configs_is_what_is_built_in() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/path.toml");
        assert_eq!(Matrix::load(&path).unwrap(), Matrix::default());
    }

    #[test]
    fn the_built_in_matrix_has_every_cell_once() {
        let mut names: Vec<String> = Matrix::default().cells().iter().map(Cell::name).collect();
        assert_eq!(names.len(), 2 * (4 * 3 * 2 + 1));
        assert!(names.contains(&"bbr-20mbit-100ms-0.5bdp-loss0.1%".to_owned()), "{names:?}");
        assert!(names.contains(&"cubic-100mbit-20ms-1bdp-loss0%-reorder10%".to_owned()), "{names:?}");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 50);
    }

    #[test]
    fn a_cell_is_two_links() {
        let cell = &Matrix::quick().1[1];
        let [data, acks] = cell.links(&Matrix::default(), 2);
        assert_eq!((data.rate_bps, data.delay_ns, data.queue_bytes), (100_000_000, 10_000_000, 250_000));
        assert_eq!((data.loss, data.reorder, data.hold_ns), (0.01, 0.0, 2_500_000));
        assert_eq!(acks, LinkConfig { seed: data.seed + 1, ..data });
        let [data, acks] = cell.links(&Matrix { both_directions: false, ..Matrix::default() }, 2);
        assert_eq!((data.loss, acks.loss), (0.01, 0.0));
        assert_eq!(Cell { buffer_bdp: 0.001, ..cell.clone() }.queue_bytes(), 3028);
    }

    #[test]
    fn the_clean_path_of_a_cell_is_found() {
        let cells = Matrix::quick().1;
        let clean = |cell: &Cell| cells.iter().find(|other| cell.has_as_clean(other)).map(Cell::name);
        assert_eq!(clean(&cells[2]), Some(cells[0].name()));
        assert_eq!(clean(&cells[3]), None);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named() {
        let whole = toml::to_string(&Matrix::default()).unwrap();
        assert_eq!(load(&whole).unwrap(), Matrix::default());
        for (from, to, says) in [
            ("rounds = 3", "rounds = 0", "rounds: 0 is not from 1 to 99"),
            ("rounds = 3", "ronds = 3", ":2: unknown field `ronds`"),
            ("seconds = 4.0", "seconds = inf", "seconds: inf is not"),
            ("\"cubic\"", "\"a/b\"", "`a/b` is not the name of a congestion control"),
            ("rtt_ms = 1.0", "rtt_ms = 0.0", "rtt_ms: 0 is not from 0.1 to 2000"),
            ("algorithms = [\"cubic\", \"bbr\"]", "algorithms = []", "it has no cell"),
        ] {
            let text = whole.replacen(from, to, 1);
            assert_ne!(text, whole, "{from}");
            let error = load(&text).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
