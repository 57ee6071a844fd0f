//! The table on the terminal: one load, or several side by side with the ratio to the first.

use super::Loaded;
use super::result::LoadResult;
use super::units;
use std::fmt::Write;

/// The table's text.
pub fn render(loads: &[Loaded], colour: bool) -> String {
    let mut text = String::new();
    match loads {
        [one] => single(&mut text, one, colour),
        many => side_by_side(&mut text, many, colour),
    }
    text
}

/// A line in bold, where the terminal shows it.
pub(crate) fn bold(line: &str, colour: bool) -> String {
    if colour { format!("\x1b[1m{line}\x1b[0m") } else { line.to_owned() }
}

/// What was done, in a line.
pub(super) fn subject(result: &LoadResult) -> String {
    let pace = match (&result.offered_rate, &result.arrivals) {
        (Some(rate), Some(arrivals)) => format!("open loop at {}, {arrivals} gaps", units::rate(*rate)),
        _ => "closed loop".to_owned(),
    };
    let size = result.size.map(|size| format!(" of {size} B")).unwrap_or_default();
    let connections = if result.connections == 1 { "connection" } else { "connections" };
    format!(
        "{}{size} over {} to {}, {} {connections}, {pace}, {:.1} s",
        result.workload, result.transport, result.target, result.connections, result.duration_s
    )
}

/// Whether idle cores could halt, in a clause: the figure that explains most others.
pub(super) fn halting(result: &LoadResult) -> &'static str {
    if result.cpu_dma_latency_held { "held off" } else { "allowed" }
}

fn single(text: &mut String, load: &Loaded, colour: bool) {
    let result = &load.result;
    let _ = writeln!(text, "{}", bold(&subject(result), colour));
    let _ = writeln!(text, "\n{}", bold(&format!("{:<10}{:>14}{:>20}", "", "latency", "service time"), colour));
    for ((name, latency), (_, service)) in result.latency_ns.rows().iter().zip(result.service_time_ns.rows()) {
        let _ = writeln!(text, "{name:<10}{:>14}{:>20}", units::time(*latency), units::time(service));
    }
    text.push('\n');
    for (name, value) in facts(result) {
        let _ = writeln!(text, "{name:<16}{value}");
    }
    for (name, value) in over_time(load) {
        let _ = writeln!(text, "{name:<16}{value}");
    }
}

/// What belongs to the percentiles: rates, errors and the conditions.
pub(super) fn facts(result: &LoadResult) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let offered = result.offered_rate.map(|rate| format!(" of {} offered", units::rate(rate))).unwrap_or_default();
    facts.push(("achieved", format!("{}{offered}", units::rate(result.achieved_rate))));
    facts.push(("requests", units::count(result.requests)));
    let kinds: Vec<_> = result.errors_by_kind.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    facts.push(("errors", format!("{}{kinds}", units::count(result.errors))));
    facts.push(("unanswered", format!("{} sent, {} never sent", result.unanswered, result.unsent)));
    if result.reconnects > 0 {
        facts.push(("reconnects", units::count(result.reconnects)));
    }
    if result.duration_s > 0.0 {
        let sent = units::bit_rate(result.bytes_sent as f64 / result.duration_s);
        let received = units::bit_rate(result.bytes_received as f64 / result.duration_s);
        facts.push(("throughput", format!("{sent} out, {received} in")));
    }
    let spin = if result.spin { ", spinning" } else { "" };
    facts.push(("client", format!("{:.2} s of processor time{spin}, {}", result.cpu_s, result.congestion_control)));
    facts.push(("halting", format!("{} on this side", halting(result))));
    facts
}

/// The rows of a comparison: a name, a value for each load, and whether a bigger one is better.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) values: Vec<f64>,
    pub(super) show: fn(f64) -> String,
}

fn side_by_side(text: &mut String, loads: &[Loaded], colour: bool) {
    for (at, load) in loads.iter().enumerate() {
        let _ = writeln!(text, "[{}] {}: {}", at + 1, load.name, subject(&load.result));
    }
    for warning in differences(loads) {
        let _ = writeln!(text, "    {warning}");
    }
    let mut head = format!("{:<22}", "");
    for (at, load) in loads.iter().enumerate() {
        let _ = write!(head, "{:>20}", format!("[{}] {}", at + 1, short(&load.name)));
        if at > 0 {
            let _ = write!(head, "{:>9}", format!("[{}]/[1]", at + 1));
        }
    }
    let _ = writeln!(text, "\n{}", bold(&head, colour));
    for row in rows(loads) {
        let _ = write!(text, "{:<22}", row.name);
        for (at, value) in row.values.iter().enumerate() {
            let _ = write!(text, "{:>20}", (row.show)(*value));
            if at > 0 {
                let _ = write!(text, "{:>9}", ratio(*value, row.values[0]));
            }
        }
        text.push('\n');
    }
    for (at, load) in loads.iter().enumerate() {
        for (name, value) in over_time(load) {
            let _ = writeln!(text, "{:<22}{value}", format!("[{}] {name}", at + 1));
        }
    }
}

/// Answers a second and their latency over time, as sparklines; nothing when there is but one second.
fn over_time(load: &Loaded) -> Vec<(&'static str, String)> {
    let rates = rates(load);
    if rates.len() < 2 {
        return Vec::new();
    }
    let p99 = |second: u64| load.seconds.get(&second).map_or(0, |pair| pair.latency.value_at_quantile(0.99)) as f64;
    let times: Vec<f64> = (0..rates.len() as u64).map(p99).collect();
    let line = |values: &[f64], show: fn(f64) -> String| {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        format!("{}  {} to {}", sparkline(values), show(least), show(most))
    };
    vec![("rate over time", line(&rates, units::rate)), ("p99 over time", line(&times, units::time))]
}

/// Answers a second in each second of the measurement; the last one may be a part of a second.
pub(super) fn rates(load: &Loaded) -> Vec<f64> {
    let count = (load.result.duration_s - 0.05).ceil().max(0.0) as u64;
    let of = |second: u64| {
        let part = (load.result.duration_s - second as f64).min(1.0);
        load.seconds.get(&second).map_or(0, |pair| pair.latency.len()) as f64 / part
    };
    // More seconds than anybody looks at come of a file that somebody has touched.
    (0..count.min(100_000)).map(of).collect()
}

/// At most so many characters are as wide as a terminal.
const SPARKS: usize = 60;

/// Values as eighths of a line, from 0 to the greatest; of many, several share a character.
pub(super) fn sparkline(values: &[f64]) -> String {
    const EIGHTHS: [char; 8] =
        ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let spark = |group: &[f64]| {
        let mean = group.iter().sum::<f64>() / group.len() as f64;
        let eighth = if most > 0.0 { (mean / most * 8.0).ceil() as usize } else { 0 };
        EIGHTHS[eighth.clamp(1, 8) - 1]
    };
    values.chunks(values.len().div_ceil(SPARKS).max(1)).map(spark).collect()
}

/// The last part of a directory's name, as far as it fits a column.
pub(super) fn short(name: &str) -> String {
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
    last.chars().take(15).collect()
}

pub(super) fn ratio(value: f64, base: f64) -> String {
    if base > 0.0 { format!("{:.2}x", value / base) } else { "-".to_owned() }
}

pub(super) fn rows(loads: &[Loaded]) -> Vec<Row> {
    const LATENCY: [&str; 9] = [
        "latency min",
        "latency mean",
        "latency p50",
        "latency p90",
        "latency p99",
        "latency p99.9",
        "latency p99.99",
        "latency p99.999",
        "latency max",
    ];
    let of = |field: fn(&LoadResult) -> f64| loads.iter().map(|load| field(&load.result)).collect::<Vec<f64>>();
    let mut rows = vec![
        Row { name: "achieved rate", values: of(|result| result.achieved_rate), show: units::rate },
        Row { name: "requests", values: of(|result| result.requests as f64), show: count },
        Row { name: "errors", values: of(|result| result.errors as f64), show: count },
        Row {
            name: "unanswered, unsent",
            values: of(|result| (result.unanswered + result.unsent) as f64),
            show: count,
        },
    ];
    for (at, name) in LATENCY.into_iter().enumerate() {
        let values = loads.iter().map(|load| load.result.latency_ns.rows()[at].1).collect();
        rows.push(Row { name, values, show: units::time });
    }
    rows.push(Row { name: "service p50", values: of(|result| result.service_time_ns.p50 as f64), show: units::time });
    rows.push(Row { name: "service p99", values: of(|result| result.service_time_ns.p99 as f64), show: units::time });
    rows.push(Row { name: "client processor", values: of(|result| result.cpu_s * 1e9), show: units::time });
    rows
}

fn count(value: f64) -> String {
    units::count(value as u64)
}

/// What makes the loads hard to compare, a sentence each.
pub(super) fn differences(loads: &[Loaded]) -> Vec<String> {
    let differ = |name: &str, of: &dyn Fn(&LoadResult) -> String| {
        let mut values: Vec<String> = loads.iter().map(|load| of(&load.result)).collect();
        values.dedup();
        (values.len() > 1).then(|| format!("beware: they differ in {name} ({})", values.join(", ")))
    };
    let text = |value: Option<f64>| value.map_or("closed loop".to_owned(), units::rate);
    [
        differ("workload", &|result| result.workload.clone()),
        differ("size", &|result| result.size.map_or("default".to_owned(), |size| size.to_string())),
        differ("connections", &|result| result.connections.to_string()),
        differ("offered rate", &|result| text(result.offered_rate)),
        differ("halting of idle cores", &|result| halting(result).to_owned()),
        differ("client", &|result| if result.spin { "spinning" } else { "sleeping" }.to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::recorder::Pair;
    use crate::report::result::Percentiles;
    use std::collections::BTreeMap;

    /// The result of a load, as its file has it.
    pub(crate) fn document() -> serde_json::Value {
        let json = r#"{"workload":"http","transport":"kernel","target":"10.0.0.1:80","connections":1,"loop":"open",
            "arrivals":"constant","offered_rate":1000.0,"achieved_rate":0.0,"requests":12345,"errors":2,
            "errors_by_kind":{"reset":2},"unanswered":1,"unsent":0,"reconnects":0,"duration_s":2.0,"warmup_s":0.0,
            "bytes":0,"bytes_sent":0,"bytes_received":0,"size":null,"seed":1,"cores":[0],"cpu_s":1.0,
            "cpu_dma_latency_held":true,"spin":false,"congestion_control":"cubic","started_at_s":0,"version":"0",
            "latency_ns":{"min":0,"p50":0,"p90":0,"p99":0,"p99_9":0,"p99_99":0,"p99_999":0,"max":0,"mean":0.0},
            "service_time_ns":{"min":0,"p50":0,"p90":0,"p99":0,"p99_9":0,"p99_99":0,"p99_999":0,"max":0,"mean":0.0}}"#;
        serde_json::from_str(json).unwrap()
    }

    pub(crate) fn load(name: &str, p99: u64, rate: f64) -> Loaded {
        let mut result: LoadResult = serde_json::from_value(document()).unwrap();
        result.achieved_rate = rate;
        result.latency_ns = Percentiles { p99, ..Percentiles::default() };
        Loaded { name: name.to_owned(), result, histograms: Pair::new(), seconds: BTreeMap::new() }
    }

    #[test]
    fn two_loads_stand_side_by_side_with_their_ratio() {
        let mut loads = vec![load("out/kernel", 20_000, 1000.0), load("out/corelane/", 5_000, 990.0)];
        let text = render(&loads, false);
        let words = |start: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line[22..].split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(words("                      "), ["[1]", "kernel", "[2]", "corelane", "[2]/[1]"]);
        assert_eq!(words("latency p99 "), ["20.0", "us", "5.00", "us", "0.25x"]);
        assert_eq!(words("latency p50 "), ["0", "ns", "0", "ns", "-"]);
        assert_eq!(words("achieved rate"), ["1.00", "k/s", "990/s", "0.99x"]);
        assert!(!text.contains("beware") && !text.contains('\x1b'), "{text}");
        loads[1].result.cpu_dma_latency_held = false;
        assert!(render(&loads, false).contains("beware: they differ in halting of idle cores (held off, allowed)"));
    }

    #[test]
    fn one_load_shows_both_times_and_what_went_wrong() {
        let text = render(&[load("out", 20_000, 1000.0)], true);
        assert!(
            text.starts_with("\x1b[1mhttp over kernel to 10.0.0.1:80, 1 connection, open loop at 1.00 k/s"),
            "{text}"
        );
        assert!(text.lines().any(|line| line.split_whitespace().eq(["p99", "20.0", "us", "0", "ns"])), "{text}");
        assert!(text.contains("errors          2 (reset 2)\n") && text.contains("1 sent, 0 never sent"), "{text}");
    }

    #[test]
    fn seconds_are_sparks() {
        assert_eq!(sparkline(&[0.0, 1.0, 4.0, 8.0]), "\u{2581}\u{2581}\u{2584}\u{2588}");
        assert_eq!(sparkline(&[0.0]), "\u{2581}");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[5.0; 601]).chars().count(), 55);
        let mut load = load("out", 0, 100.0);
        load.result.duration_s = 1.5;
        for (second, count) in [(0, 1000), (1, 250), (2, 9)] {
            let mut pair = Pair::new();
            pair.latency.record_n(1000, count).unwrap();
            load.seconds.insert(second, pair);
        }
        // What came after the end, in the drain, is no rate.
        assert_eq!(rates(&load), [1000.0, 500.0]);
        let text = render(std::slice::from_ref(&load), false);
        assert!(text.contains("rate over time  \u{2588}\u{2584}  500/s to 1.00 k/s\n"), "{text}");
        load.result.duration_s = 1.0;
        assert!(!render(&[load], false).contains("over time"));
    }
}
