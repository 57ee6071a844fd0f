//! How the shares are shown: an aligned table for people, one JSON document for programs.

use corelane::control::CoreShare;
use serde::Serialize;
use std::io::{self, Write};

/// What stands above the columns.
const HEAD: [&str; 7] = ["worker", "core", "share", "buckets", "flows", "frames", "drained"];

/// The part of new connections that a worker gets, percent.
fn percent(share: &CoreShare, shares: &[CoreShare]) -> f64 {
    let all: u32 = shares.iter().map(|share| share.buckets).sum();
    if all == 0 { 0.0 } else { f64::from(share.buckets) / f64::from(all) * 100.0 }
}

pub(super) fn text(out: &mut impl Write, shares: &[CoreShare], color: bool) -> io::Result<()> {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(shares.iter().map(|share| {
        let CoreShare { worker, core, buckets, flows, frames, drained } = share;
        [
            worker.to_string(),
            core.to_string(),
            format!("{:.1} %", percent(share, shares)),
            buckets.to_string(),
            flows.to_string(),
            frames.to_string(),
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

pub(super) fn json(out: &mut impl Write, shares: &[CoreShare]) -> io::Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        share: &'a CoreShare,
        share_percent: f64,
    }
    #[derive(Serialize)]
    struct Document<'a> {
        workers: Vec<Row<'a>>,
    }
    let workers = shares.iter().map(|share| Row { share, share_percent: percent(share, shares) }).collect();
    serde_json::to_writer_pretty(&mut *out, &Document { workers })?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapbox::str;

    fn shares() -> Vec<CoreShare> {
        vec![
            CoreShare { worker: 0, core: 2, buckets: 1024, flows: 1250, frames: 987_654_321, drained: false },
            CoreShare { worker: 1, core: 13, buckets: 0, flows: 3, frames: 12, drained: true },
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
worker  core    share  buckets  flows     frames  drained
     0     2  100.0 %     1024   1250  987654321  no
     1    13    0.0 %        0      3         12  yes

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
    fn json_is_one_document() {
        let mut out = Vec::new();
        json(&mut out, &shares()[1..]).expect("a Vec takes everything");
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
      "share_percent": 0.0
    }
  ]
}

"#]]
        );
    }
}
