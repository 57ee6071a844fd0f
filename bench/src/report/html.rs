//! report.html: one page without anything from elsewhere. A percentile curve and a table; light, dark where the
//! reader's system is.

use super::Loaded;
use super::table::{differences, facts, subject};
use super::units;
use std::fmt::Write;

/// The colours of the curves, readable on both grounds; they repeat after the last.
const COLOURS: [&str; 6] = ["#2f6fde", "#d9622b", "#2a9d5c", "#a04fc4", "#b8860b", "#d03a6a"];

/// The style of every page.
pub(crate) const STYLE: &str = ":root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
background:light-dark(#fff,#16181c);color:light-dark(#1c1e21,#dfe2e6)}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:.2rem .9rem .2rem 0;text-align:right}th:first-child,td:first-child{text-align:left}\
thead th{border-bottom:1px solid currentColor}\
svg{width:100%;height:auto}svg text{fill:currentColor;font:12px system-ui,sans-serif}\
.grid{stroke:currentColor;stroke-opacity:.15}.service{stroke-dasharray:5 4}\
.beware{color:light-dark(#9a3412,#fdba74)}";

/// The page for one load or several.
pub fn page(loads: &[Loaded]) -> String {
    let mut page = String::with_capacity(32 * 1024);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>corelane-bench</title>\n\
         <style>{STYLE}</style>\n<h1>Latency</h1>\n<ol>\n"
    );
    for (at, load) in loads.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let _ = writeln!(
            page,
            "<li><b style=\"color:{colour}\">{}</b>: {}</li>",
            escape(&load.name),
            escape(&subject(&load.result))
        );
    }
    page.push_str("</ol>\n");
    for warning in differences(loads) {
        let _ = writeln!(page, "<p class=\"beware\">{}</p>", escape(&warning));
    }
    curve(&mut page, loads);
    page.push_str(
        "<p>Solid: latency, from the time at which a request was due. Dashed: service time, from its real send.</p>\n",
    );
    percentiles(&mut page, loads);
    for load in loads {
        let _ = writeln!(page, "<h2>{}</h2>\n<table>", escape(&load.name));
        for (name, value) in facts(&load.result) {
            let _ = writeln!(page, "<tr><td>{name}</td><td>{}</td></tr>", escape(&value));
        }
        page.push_str("</table>\n");
    }
    page.push_str("</html>\n");
    page
}

fn percentiles(page: &mut String, loads: &[Loaded]) {
    page.push_str("<h2>Percentiles</h2>\n<table>\n<thead><tr><th></th>");
    for load in loads {
        let name = escape(&load.name);
        let _ = write!(page, "<th>{name}: latency</th><th>service time</th>");
    }
    page.push_str("</tr></thead>\n");
    let names = super::result::Percentiles::default().rows().map(|(name, _)| name);
    for (at, name) in names.into_iter().enumerate() {
        let _ = write!(page, "<tr><td>{name}</td>");
        for load in loads {
            let (latency, service) = (load.result.latency_ns.rows()[at].1, load.result.service_time_ns.rows()[at].1);
            let _ = write!(page, "<td>{}</td><td>{}</td>", units::time(latency), units::time(service));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

/// The figure's frame in its own units.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 15.0;
const BOTTOM: f64 = 35.0;
/// The curve ends at the quantile 1 - 10^-NINES.
const NINES: f64 = 5.0;

/// How far right a quantile lies, 0 to 1: equal steps for 90, 99, 99.9 per cent.
fn across(quantile: f64) -> f64 {
    (-(1.0 - quantile).max(10f64.powf(-NINES)).log10() / NINES).clamp(0.0, 1.0)
}

fn curve(page: &mut String, loads: &[Loaded]) {
    let lows = loads.iter().flat_map(|load| [load.result.latency_ns.min, load.result.service_time_ns.min]);
    let low = decade(lows.filter(|low| *low > 0).min().unwrap_or(1) as f64, f64::floor);
    let highs = loads.iter().map(|load| load.result.latency_ns.max.max(load.result.service_time_ns.max));
    let high = decade(highs.max().unwrap_or(1).max(1) as f64, f64::ceil).max(low + 1.0);
    let x = |quantile: f64| LEFT + across(quantile) * (WIDTH - LEFT - RIGHT);
    let y = |ns: f64| HEIGHT - BOTTOM - (ns.max(1.0).log10() - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let _ = writeln!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"latency by percentile, logarithmic\">"
    );
    for quantile in [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999] {
        let at = x(quantile);
        let name = format!("{:.3}", quantile * 100.0);
        let name = name.trim_end_matches('0').trim_end_matches('.');
        let _ = writeln!(
            page,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}%</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 20.0
        );
    }
    for power in low as i32..=high as i32 {
        let ns = 10f64.powi(power);
        let at = y(ns);
        let _ = writeln!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            units::time(ns).replace(".00", "").replace(".0", "")
        );
    }
    for (at, load) in loads.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        for (histogram, class) in [(&load.histograms.service, "service"), (&load.histograms.latency, "latency")] {
            if histogram.is_empty() {
                continue;
            }
            let points: Vec<String> = (0..=200)
                .map(|step| {
                    let quantile = 1.0 - 10f64.powf(-NINES * f64::from(step) / 200.0);
                    format!("{:.1},{:.1}", x(quantile), y(histogram.value_at_quantile(quantile) as f64))
                })
                .collect();
            let _ = writeln!(
                page,
                "<polyline class=\"{class}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                points.join(" ")
            );
        }
    }
    page.push_str("</svg>\n");
}

fn decade(ns: f64, round: fn(f64) -> f64) -> f64 {
    round(ns.log10())
}

/// Text as it stands in a page.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_go_right_and_names_are_escaped() {
        assert_eq!(across(0.0), 0.0);
        assert!((across(0.9) - 0.2).abs() < 1e-9);
        assert!((across(0.99999) - 1.0).abs() < 1e-9);
        assert_eq!(across(1.0), 1.0);
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
    }
}
