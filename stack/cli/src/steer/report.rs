//! How the shares are shown: an aligned table for people, one JSON document for programs.

use corelane::control::CoreShare;
use serde::Serialize;
use std::io::{self, Write};

/// What stands above the columns.
const HEAD: [&str; 9] = ["worker", "core", "share", "buckets", "flows", "frames", "moved in", "moved out", "drained"];

/// The part of new connections that a worker gets, percent.
fn percent(share: &CoreShare, shares: &[CoreShare]) -> f64 {
    let all: u32 = shares.iter().map(|share| share.buckets).sum();
    if all == 0 { 0.0 } else { f64::from(share.buckets) / f64::from(all) * 100.0 }
}

pub(super) fn text(out: &mut impl Write, shares: &[CoreShare], color: bool) -> io::Result<()> {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(shares.iter().map(|share| {
        let CoreShare { worker, core, buckets, flows, frames, drained, moved_out, moved_in, busy: _, kept: _ } = share;
        [
            worker.to_string(),
            core.to_string(),
            format!("{:.1} %", percent(share, shares)),
            buckets.to_string(),
            flows.to_string(),
            frames.to_string(),
            moved_in.to_string(),
            moved_out.to_string(),
            if *drained { "yes" } else { "no" }.to_owned(),
        ]
    }));
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or(0)).collect();
    for row in &rows {
        // The last column holds words, which stand at the left and have nothing after them.
        let (words, numbers) = (&row[HEAD.len() - 1], &row[..HEAD.len() - 1]);
        for (cell, width) in numbers.iter().zip(&widths) {
            write!(out, "{cell:>width$}  ")?;
        }
        if color && words == "yes" {
            writeln!(out, "\x1b[33m{words}\x1b[0m")?;
        } else {
            writeln!(out, "{words}")?;
        }
    }
    Ok(())
}

/// What became of the connections of a worker that is drained.
pub(super) fn drained(share: &CoreShare) -> String {
    let CoreShare { worker, flows, moved_out, busy, kept, .. } = share;
    let mut line = format!("worker {worker}: {moved_out} connections moved since the start, {flows} left");
    let reasons: Vec<String> = [(*busy, "busy when they were to move"), (*kept, "kept by the application")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
    if *flows > 0 && !reasons.is_empty() {
        line = format!("{line} ({} at the last attempt)", reasons.join(", "));
    }
    line
}

/// Of a drain: its worker and how many connections it has moved since the stack started.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Moved {
    pub(super) worker: usize,
    pub(super) moved: u64,
    pub(super) left: usize,
}

pub(super) fn json(out: &mut impl Write, shares: &[CoreShare], drain: Option<Moved>) -> io::Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        share: &'a CoreShare,
        share_percent: f64,
    }
    #[derive(Serialize)]
    struct Document<'a> {
        workers: Vec<Row<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        drain: Option<Moved>,
    }
    let workers = shares.iter().map(|share| Row { share, share_percent: percent(share, shares) }).collect();
    serde_json::to_writer_pretty(&mut *out, &Document { workers, drain })?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapbox::str;

    fn shares() -> Vec<CoreShare> {
        vec![
            CoreShare {
                worker: 0,
                core: 2,
                buckets: 1024,
                flows: 1250,
                frames: 987_654_321,
                drained: false,
                moved_out: 0,
                moved_in: 240,
                busy: 0,
                kept: 0,
            },
            CoreShare {
                worker: 1,
                core: 13,
                buckets: 0,
                flows: 3,
                frames: 12,
                drained: true,
                moved_out: 240,
                moved_in: 0,
                busy: 1,
                kept: 2,
            },
        ]
    }

    fn shown(shares: &[CoreShare], color: bool) -> String {
        let mut out = Vec::new();
        text(&mut out, shares, color).expect("a Vec takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_are_aligned() {
        snapbox::assert_data_eq!(
            shown(&shares(), false),
            str![[r#"
worker  core    share  buckets  flows     frames  moved in  moved out  drained
     0     2  100.0 %     1024   1250  987654321       240          0  no
     1    13    0.0 %        0      3         12         0        240  yes

"#]]
        );
        assert_eq!(shown(&[], false).lines().count(), 1);
    }

    #[test]
    fn color_is_only_at_what_is_drained() {
        let color = shown(&shares(), true);
        assert_eq!(color.matches("\x1b[33myes\x1b[0m").count(), 1);
        assert_eq!(color.replace("\x1b[33m", "").replace("\x1b[0m", ""), shown(&shares(), false));
    }

    #[test]
    fn a_drain_says_what_moved_and_why_the_rest_did_not() {
        let shares = shares();
        assert_eq!(
            drained(&shares[1]),
            "worker 1: 240 connections moved since the start, 3 left \
             (1 busy when they were to move, 2 kept by the application at the last attempt)"
        );
        let done = CoreShare { flows: 0, busy: 0, kept: 0, ..shares[1] };
        assert_eq!(drained(&done), "worker 1: 240 connections moved since the start, 0 left");
        let waits = CoreShare { flows: 2, ..done };
        assert_eq!(drained(&waits), "worker 1: 240 connections moved since the start, 2 left");
    }

    #[test]
    fn json_is_one_document() {
        let mut out = Vec::new();
        json(&mut out, &shares()[1..], Some(Moved { worker: 1, moved: 240, left: 3 })).expect("a Vec takes everything");
        snapbox::assert_data_eq!(
            String::from_utf8(out).expect("text"),
            str![[r#"
{
  "workers": [
    {
      "worker": 1,
      "core": 13,
      "buckets": 0,
      "flows": 3,
      "frames": 12,
      "drained": true,
      "moved_out": 240,
      "moved_in": 0,
      "busy": 1,
      "kept": 2,
      "share_percent": 0.0
    }
  ],
  "drain": {
    "worker": 1,
    "moved": 240,
    "left": 3
  }
}

"#]]
        );
    }
}
