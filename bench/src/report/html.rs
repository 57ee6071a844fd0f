//! report.html: one page without anything from elsewhere. What was found and what it is beside the others, the percentile
//! curve, latency and throughput over time, and the conditions. Dark where the reader's system is, light on paper.

use super::Loaded;
use super::chart;
use super::table::{differences, facts, rates, ratio, rows, short, subject};
use super::units;
use std::fmt::Write;

/// The style of every page.
pub(crate) const STYLE: &str = ":root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;\
background:light-dark(#fff,#16181c);color:light-dark(#1c1e21,#dfe2e6)}\
h1{font-size:1.5rem;margin-bottom:.3rem}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}h3{font-size:1rem;margin:1.4rem 0 .2rem}\
p{max-width:48rem}.sub{color:light-dark(#5a6068,#9aa1aa);margin-top:0}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:.22rem .9rem .22rem 0;text-align:right;vertical-align:top}\
th:first-child,td:first-child{text-align:left}.left td{text-align:left}\
thead th{border-bottom:1px solid currentColor;vertical-align:bottom}\
tbody tr+tr td{border-top:1px solid light-dark(#e6e8eb,#2a2e34)}\
.wide{overflow-x:auto}.wide table{white-space:nowrap;font-size:.84rem}.wide th,.wide td{padding-right:.75rem}\
.bars td+td,.bars th+th{white-space:nowrap}.bars td:last-child{width:11rem;padding-right:0}.bars svg{margin-top:.25rem}\
.head td{font-weight:600;padding-top:.9rem}\
.good{color:light-dark(#1a7f45,#5fd08f)}.bad{color:light-dark(#b3341c,#ff9a7a)}.faint{color:light-dark(#6b7178,#8f969f)}\
.cards{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0;padding:0}\
.cards div{border:1px solid light-dark(#d8dce1,#343941);border-radius:.5rem;padding:.5rem .9rem;min-width:7rem}\
.cards b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}\
.swatch{display:inline-block;width:.8em;height:.8em;border-radius:.15em;margin-right:.45em}\
svg{width:100%;height:auto;display:block}svg text{font-family:system-ui,sans-serif}\
figure{margin:.4rem 0}figcaption{margin-top:.3rem;color:light-dark(#5a6068,#9aa1aa);font-size:.9rem}\
svg .grid,.grid{stroke:currentColor;stroke-opacity:.15}\
.beware{color:light-dark(#9a3412,#fdba74)}\
@media print{:root{color-scheme:light}body{max-width:none;margin:0;font-size:10pt}\
h2,h3{break-after:avoid}figure,tr,.cards div{break-inside:avoid}.wide{overflow:visible}.wide table{font-size:6.8pt}\
.wide th,.wide td{padding-right:.35rem}.bars td:last-child{width:7rem}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}";

/// Begins a page.
pub(crate) fn begin(title: &str) -> String {
    let mut page = String::with_capacity(64 * 1024);
    let title = escape(title);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    page
}

/// Ends it.
pub(crate) const END: &str = "</body>\n</html>\n";

/// The page for one load or several.
pub fn page(loads: &[Loaded]) -> String {
    let mut page = begin(&match loads {
        [one] => format!("{} over {}", one.result.workload, one.result.transport),
        many => format!("{} loads side by side", many.len()),
    });
    if let [one] = loads {
        let _ = writeln!(page, "<p class=\"sub\">{}</p>", escape(&subject(&one.result)));
        cards(&mut page, one);
    } else {
        page.push_str("<table class=\"left\">\n");
        for (at, load) in loads.iter().enumerate() {
            let _ = writeln!(
                page,
                "<tr><td><span class=\"swatch\" style=\"background:{}\"></span><b>{}</b></td><td>{}</td></tr>",
                chart::colour(at),
                escape(&load.name),
                escape(&subject(&load.result))
            );
        }
        page.push_str("</table>\n");
    }
    for warning in differences(loads) {
        let _ = writeln!(page, "<p class=\"beware\">{}</p>", escape(&warning));
    }
    if loads.len() > 1 {
        comparison(&mut page, loads);
    }
    let mut charts = charts(loads).into_iter();
    let mut figure = |page: &mut String, caption: &str| {
        if let Some((_, svg)) = charts.next() {
            let _ = writeln!(page, "<figure>{svg}<figcaption>{caption}</figcaption></figure>");
        }
    };
    page.push_str("<h2>Latency by percentile</h2>\n");
    figure(
        &mut page,
        "Solid: latency, from the time at which a request was due. Dashed: service time, from its real send. A curve \
         ends where there are no more values.",
    );
    page.push_str("<h2>Throughput over time</h2>\n");
    figure(&mut page, "Answers in each second.");
    page.push_str("<h2>Latency over time</h2>\n");
    for load in loads {
        if loads.len() > 1 {
            let _ = writeln!(page, "<h3>{}</h3>", escape(&load.name));
        }
        figure(&mut page, "The stronger the colour, the more answers of that second took that long.");
    }
    percentiles(&mut page, loads);
    page.push_str("<h2>Conditions</h2>\n");
    for load in loads {
        let _ = writeln!(page, "<h3>{}</h3>\n<table class=\"left\">", escape(&load.name));
        for (name, value) in facts(&load.result) {
            let _ = writeln!(page, "<tr><td>{name}</td><td>{}</td></tr>", escape(&value));
        }
        page.push_str("</table>\n");
    }
    page.push_str(END);
    page
}

/// Each chart of a page with the name of its file, in their order.
pub fn charts(loads: &[Loaded]) -> Vec<(String, String)> {
    let is_closed = |load: &Loaded| load.result.offered_rate.is_none();
    let mut distributions = Vec::new();
    for (at, load) in loads.iter().enumerate() {
        // In a closed loop both times are the same.
        if !is_closed(load) {
            distributions.push((String::new(), at, true, &load.histograms.service));
        }
        distributions.push((load.name.clone(), at, false, &load.histograms.latency));
    }
    let rates: Vec<_> = loads.iter().enumerate().map(|(at, load)| (load.name.clone(), at, rates(load))).collect();
    let mut charts = vec![
        ("percentiles".to_owned(), chart::percentiles(&distributions)),
        ("throughput".to_owned(), chart::throughput(&rates)),
    ];
    for (at, load) in loads.iter().enumerate() {
        charts.push((format!("heat-map-{}", at + 1), chart::heat_map(&load.seconds)));
    }
    charts
}

/// The figures that most people come for.
fn cards(page: &mut String, load: &Loaded) {
    let result = &load.result;
    let latency = &result.latency_ns;
    let errors = result.errors + result.unanswered + result.unsent;
    let cards = [
        ("achieved", units::rate(result.achieved_rate)),
        ("p50", units::time(latency.p50 as f64)),
        ("p99", units::time(latency.p99 as f64)),
        ("p99.9", units::time(latency.p99_9 as f64)),
        ("max", units::time(latency.max as f64)),
        ("errors, unanswered", units::count(errors)),
    ];
    page.push_str("<div class=\"cards\">\n");
    for (name, value) in cards {
        let _ = writeln!(page, "<div><b>{}</b>{name}</div>", escape(&value));
    }
    page.push_str("</div>\n");
}

/// What the terminal's table has: each figure, and its ratio to the first load's.
fn comparison(page: &mut String, loads: &[Loaded]) {
    page.push_str("<h2>Comparison</h2>\n<div class=\"wide\"><table>\n<thead><tr><th></th>");
    for (at, load) in loads.iter().enumerate() {
        let _ = write!(page, "<th>{}</th>", escape(&short(&load.name)));
        if at > 0 {
            let _ = write!(page, "<th>by {}</th>", escape(&short(&loads[0].name)));
        }
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows(loads) {
        let _ = write!(page, "<tr><td>{}</td>", row.name);
        for (at, value) in row.values.iter().enumerate() {
            let _ = write!(page, "<td>{}</td>", (row.show)(*value));
            if at > 0 {
                let _ = write!(page, "<td>{}</td>", ratio(*value, row.values[0]));
            }
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn percentiles(page: &mut String, loads: &[Loaded]) {
    page.push_str("<h2>Percentiles</h2>\n<div class=\"wide\"><table>\n<thead><tr><th></th>");
    for load in loads {
        let name = if loads.len() > 1 { format!("{}: ", escape(&short(&load.name))) } else { String::new() };
        let _ = write!(page, "<th>{name}latency</th><th>service time</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    let names = super::result::Percentiles::default().rows().map(|(name, _)| name);
    for (at, name) in names.into_iter().enumerate() {
        let _ = write!(page, "<tr><td>{name}</td>");
        for load in loads {
            let (latency, service) = (load.result.latency_ns.rows()[at].1, load.result.service_time_ns.rows()[at].1);
            let _ = write!(page, "<td>{}</td><td>{}</td>", units::time(latency), units::time(service));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

/// Text as it stands in a page.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::report::hlog;
    use crate::report::table::tests::load;

    /// Fails unless every element that begins ends, in the right order, and nothing comes from elsewhere.
    #[track_caller]
    pub(crate) fn expect_well_formed(page: &str) {
        let mut open: Vec<&str> = Vec::new();
        let body = page.strip_prefix("<!doctype html>\n").expect("a doctype");
        let mut rest = body;
        while let Some(at) = rest.find('<') {
            rest = &rest[at + 1..];
            let end = rest.find('>').expect("a tag ends");
            let tag = &rest[..end];
            rest = &rest[end + 1..];
            let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap_or_default();
            assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "a stray <: <{tag}>");
            assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "</{name}> closes another element; open are {open:?}");
            } else if !tag.ends_with('/') && name != "meta" {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "never closed: {open:?}");
        for foreign in ["http:", "https:", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign} in the page");
        }
    }

    fn loads() -> Vec<Loaded> {
        let mut loads = vec![load("out/<kernel> & \"co\"", 20_000, 1000.0), load("out/corelane", 5_000, 990.0)];
        for load in &mut loads {
            for second in 0..2 {
                let mut pair = hlog::empty();
                pair.latency.record_n(10_000, 1000).unwrap();
                pair.service.record_n(9_000, 1000).unwrap();
                load.histograms.add(&pair);
                load.seconds.insert(second, pair);
            }
        }
        loads
    }

    const SECTIONS: [&str; 5] =
        ["Latency by percentile", "Throughput over time", "Latency over time", "Percentiles", "Conditions"];

    #[test]
    fn a_page_has_every_section_is_well_formed_and_escapes_names() {
        let loads = loads();
        let both = page(&loads);
        expect_well_formed(&both);
        for section in SECTIONS.into_iter().chain(["Comparison"]) {
            assert!(both.contains(&format!("<h2>{section}</h2>")), "{section}");
        }
        assert_eq!(both.matches("<svg ").count(), 4, "a curve, a throughput and two heat maps");
        assert!(both.contains("out/&lt;kernel&gt; &amp; &quot;co&quot;") && !both.contains("<kernel>"), "{both}");
        assert!(both.contains("<td>0.25x</td>"), "the ratio of p99");
        assert!(both.contains("@media print") && both.contains("color-scheme:light dark"));
        let one = page(&loads[..1]);
        expect_well_formed(&one);
        assert!(SECTIONS.iter().all(|section| one.contains(&format!("<h2>{section}</h2>"))));
        assert!(one.contains("<b>1.00 k/s</b>achieved") && !one.contains("<h2>Comparison"), "{one}");
    }

    #[test]
    fn a_load_without_answers_has_a_page_too() {
        expect_well_formed(&page(&[load("out", 0, 0.0)]));
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
    }
}
