//! What is compared: workloads, connections, sizes and pairs of transports, from a file or built in.

use super::pair::Pair;
use crate::failure::Failure;
use crate::file::{load_toml, within, wrong};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A matrix as it stands in a file; `configs/compare.toml` says what each setting means.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// How long each run is measured, seconds.
    pub seconds: f64,
    /// How long it runs before, seconds.
    pub warmup_seconds: f64,
    /// How often each cell is run; the medians count.
    pub rounds: u32,
    /// The cells, a product of lists each.
    pub group: Vec<Group>,
}

/// Every pair with every number of connections and every size.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What is asked.
    pub workload: Workload,
    /// Connections, or frames in flight.
    pub connections: Vec<usize>,
    /// Bytes of a message or a body; empty is the workload's default.
    #[serde(default)]
    pub sizes: Vec<u64>,
    /// `CLIENT-to-SERVER`.
    pub pairs: Vec<Pair>,
}

/// What a client asks of a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// A message goes there and comes back.
    Echo,
    /// GET / or GET /bytes/B.
    Http,
    /// A connection for each message.
    Churn,
    /// Bytes to the server without end.
    BulkSend,
    /// Bytes from the server without end.
    BulkRecv,
}

impl Workload {
    /// The name in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Http => "http",
            Self::Churn => "churn",
            Self::BulkSend => "bulk-send",
            Self::BulkRecv => "bulk-recv",
        }
    }

    /// What `load --workload` calls it.
    pub const fn load_name(self) -> &'static str {
        match self {
            Self::Churn => "echo",
            Self::Echo | Self::Http | Self::BulkSend | Self::BulkRecv => self.name(),
        }
    }

    /// What `serve --workload` calls the other side of it.
    pub const fn serve_name(self) -> &'static str {
        match self {
            Self::Echo | Self::Churn => "echo",
            Self::Http => "http",
            Self::BulkSend => "sink",
            Self::BulkRecv => "source",
        }
    }

    /// Whether what counts is bytes, not exchanges.
    pub const fn is_bulk(self) -> bool {
        matches!(self, Self::BulkSend | Self::BulkRecv)
    }

    /// The size that the cell has when none is given; `None` leaves it to the generator.
    const fn default_size(self) -> Option<u64> {
        match self {
            Self::Echo | Self::Churn => Some(64),
            Self::Http | Self::BulkSend | Self::BulkRecv => None,
        }
    }
}

/// One thing to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// What is asked.
    pub workload: Workload,
    /// Bytes of a message or body.
    pub size: Option<u64>,
    /// Connections, or frames in flight.
    pub connections: usize,
    /// Who asks whom.
    pub pair: Pair,
}

impl Cell {
    /// Its name, as `--only` matches it: `echo-64b-16c-corelane-to-kernel`.
    pub fn name(&self) -> String {
        let Self { workload, size, connections, pair } = self;
        let size = size.map(|size| format!("-{size}b")).unwrap_or_default();
        format!("{}{size}-{connections}c-{pair}", workload.name())
    }
}

const MOST_CONNECTIONS: usize = 1 << 16;
const MOST_SIZE: u64 = 1 << 30;

impl Matrix {
    /// The whole of it.
    pub fn full() -> Self {
        let pairs = |names: &[&str]| names.iter().filter_map(|name| name.parse().ok()).collect::<Vec<Pair>>();
        let group = |workload, connections: &[usize], sizes: &[u64], names: &[&str]| Group {
            workload,
            connections: connections.to_vec(),
            sizes: sizes.to_vec(),
            pairs: pairs(names),
        };
        let all = [
            "raw-to-raw",
            "corelane-to-corelane",
            "corelane-to-kernel",
            "kernel-to-corelane",
            "kernel-spin-to-corelane",
            "kernel-to-kernel",
            "kernel-spin-to-kernel-spin",
            "kernel-uring-to-kernel-uring",
        ];
        let large =
            ["raw-to-raw", "corelane-to-corelane", "corelane-to-kernel", "kernel-to-corelane", "kernel-to-kernel"];
        let tcp = ["corelane-to-corelane", "corelane-to-kernel", "kernel-to-corelane", "kernel-to-kernel"];
        let bulk = [
            "raw-to-raw",
            "corelane-to-corelane",
            "kernel-to-corelane",
            "kernel-to-kernel",
            "kernel-plain-to-kernel-plain",
        ];
        Self {
            seconds: 1.5,
            warmup_seconds: 0.3,
            rounds: 5,
            group: vec![
                group(Workload::Echo, &[1, 16, 64, 512, 4096], &[64], &all),
                group(Workload::Echo, &[1, 64], &[1448], &large),
                group(Workload::Http, &[16, 512], &[], &tcp),
                group(Workload::Churn, &[64], &[64], &tcp),
                group(Workload::BulkSend, &[1, 16], &[], &bulk),
                group(Workload::BulkRecv, &[1, 16], &[], &bulk[1..]),
            ],
        }
    }

    /// Less of everything.
    pub fn quick() -> Self {
        let mut matrix = Self { seconds: 0.5, warmup_seconds: 0.1, rounds: 3, ..Self::full() };
        matrix.group.remove(1);
        for group in &mut matrix.group {
            group.connections = match group.workload {
                Workload::Echo => vec![1, 64],
                Workload::Http | Workload::Churn => vec![64],
                Workload::BulkSend | Workload::BulkRecv => vec![1],
            };
        }
        matrix
    }

    /// Reads a file; an error names it, and the place where it is wrong.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let matrix: Self = load_toml(path)?;
        matrix.check().map_err(|what| wrong(path, &what))?;
        Ok(matrix)
    }

    /// Whether everything is within its bounds; the error is a clause.
    pub fn check(&self) -> Result<(), String> {
        let Self { seconds, warmup_seconds, rounds, group } = self;
        within("seconds", *seconds, 0.1, 600.0)?;
        within("warmup_seconds", *warmup_seconds, 0.0, 60.0)?;
        within("rounds", f64::from(*rounds), 1.0, 99.0)?;
        for (number, Group { workload, connections, sizes, pairs }) in group.iter().enumerate() {
            let place = format!("group {} ({})", number + 1, workload.name());
            if connections.is_empty() || pairs.is_empty() {
                return Err(format!("{place} has no connections or no pairs, so it measures nothing"));
            }
            if let Some(count) = connections.iter().find(|count| !(1..=MOST_CONNECTIONS).contains(*count)) {
                return Err(format!("{place}: {count} connections are not from 1 to {MOST_CONNECTIONS}"));
            }
            if let Some(size) = sizes.iter().find(|size| !(1..=MOST_SIZE).contains(*size)) {
                return Err(format!("{place}: a size of {size} bytes is not from 1 to {MOST_SIZE}"));
            }
            if pairs.iter().any(|pair| pair.is_raw()) && !matches!(workload, Workload::Echo | Workload::BulkSend) {
                return Err(format!("{place}: raw-to-raw has echo and bulk-send alone, since the rest needs TCP"));
            }
        }
        if self.cells().is_empty() { Err("it has no cell".to_owned()) } else { Ok(()) }
    }

    /// Every cell once, in the order of a table: what is to be compared stands together.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for Group { workload, connections, sizes, pairs } in &self.group {
            let sizes: Vec<Option<u64>> = if sizes.is_empty() {
                vec![workload.default_size()]
            } else {
                sizes.iter().copied().map(Some).collect()
            };
            for size in sizes {
                for &connections in connections {
                    for &pair in pairs {
                        let cell = Cell { workload: *workload, size, connections, pair };
                        if !cells.contains(&cell) {
                            cells.push(cell);
                        }
                    }
                }
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_file_in_configs_is_what_is_built_in() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/compare.toml");
        assert_eq!(Matrix::load(&path).unwrap(), Matrix::full());
        assert!(Matrix::quick().check().is_ok());
    }

    #[test]
    fn both_have_what_the_bars_need() {
        for matrix in [Matrix::full(), Matrix::quick()] {
            let names: Vec<String> = matrix.cells().iter().map(Cell::name).collect();
            for name in [
                "echo-64b-1c-raw-to-raw",
                "echo-64b-1c-kernel-spin-to-corelane",
                "echo-64b-64c-corelane-to-kernel",
                "churn-64b-64c-kernel-to-kernel",
                "bulk-recv-1c-kernel-plain-to-kernel-plain",
            ] {
                assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
            }
            assert!(!names.iter().any(|name| name == "bulk-recv-1c-raw-to-raw"));
        }
    }

    #[track_caller]
    fn wrong(text: &str) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let failure = Matrix::load(file.path()).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        let text = failure.to_string();
        text.strip_prefix(&file.path().display().to_string()).expect("the file's name first").to_owned()
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_its_place() {
        let head = "seconds = 1.0\nwarmup_seconds = 0.1\nrounds = 1\n";
        let group = |rest: &str| format!("{head}[[group]]\nworkload = \"echo\"\n{rest}");
        let ok = "connections = [1]\npairs = [\"raw-to-raw\"]\n";
        assert!(wrong("").contains("missing field `seconds`"));
        assert!(wrong(&group(&format!("{ok}speed = 1\n"))).starts_with(":8: unknown field `speed`"));
        assert!(wrong(&group("connections = [1]\npairs = [\"raw\"]\n")).contains(":7: `raw` is not CLIENT-to-SERVER"));
        assert!(wrong(&group("connections = [1]\npairs = [\"raw-to-kernel\"]\n")).contains("raw goes with raw only"));
        assert!(wrong(&group("connections = []\npairs = [\"raw-to-raw\"]\n")).contains("group 1 (echo) has no conn"));
        assert!(
            wrong(&group("connections = [0]\npairs = [\"raw-to-raw\"]\n")).contains("0 connections are not from 1")
        );
        assert!(wrong(&group(&format!("{ok}sizes = [0]\n"))).contains("a size of 0 bytes is not from 1"));
        assert!(wrong(&group(ok).replace("echo", "tea")).contains(":5: unknown variant `tea`"));
        assert!(wrong(&group(ok).replace("echo", "http")).contains("raw-to-raw has echo and bulk-send alone"));
        assert!(wrong(&group(ok).replace("seconds = 1.0", "seconds = 0")).contains("seconds: 0 is not from 0.1"));
        assert!(wrong("seconds = 1.0\nwarmup_seconds = 0.1\nrounds = 1\ngroup = []\n").contains("it has no cell"));
    }
}
