//! Charts as SVG: small, in the reader's colours, with nothing from elsewhere.
//!
//! Each is drawn in a colour that stands for "ink". In a page that becomes `currentColor`, which is dark on light and
//! light on dark; a file of its own ([`to_file`]) has dark ink on a white ground.

use super::units;
use crate::load::recorder::Pair;
use hdrhistogram::Histogram;
use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    Cartesian2d, ChartBuilder, Circle, Color, DashedLineSeries, DrawingArea, FontStyle, IntoDrawingArea, IntoFont,
    LineSeries, RGBColor, Rectangle, SVGBackend, TRANSPARENT,
};
use std::collections::BTreeMap;

/// The colours of curves, readable on both grounds; they repeat after the last.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0x2f, 0x6f, 0xde),
    RGBColor(0xd9, 0x62, 0x2b),
    RGBColor(0x2a, 0x9d, 0x5c),
    RGBColor(0xa0, 0x4f, 0xc4),
    RGBColor(0xb8, 0x86, 0x0b),
    RGBColor(0xd0, 0x3a, 0x6a),
    RGBColor(0x0e, 0x8f, 0xa3),
    RGBColor(0x7a, 0x7f, 0x87),
];
/// Stands for the colour of text.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_TEXT: &str = "\"#010203\"";
const NAMESPACE: &str = " xmlns=\"http://www.w3.org/2000/svg\"";

const WIDTH: u32 = 880;
const LEFT: u32 = 76;
const BOTTOM: u32 = 46;
/// Height of a line of the legend, and about the width of a character in it.
const LINE: i32 = 20;
const CHARACTER: i32 = 7;
/// Curves end at the quantile 1 - 10^-NINES.
const NINES: f64 = 5.0;
/// Steps of a percentile curve.
const STEPS: u32 = 200;
/// Rows of a heat map for each factor of ten.
const ROWS: f64 = 12.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What the legend says; a curve without a name is not in it.
    pub name: String,
    /// Which colour, counted from 0.
    pub colour: usize,
    /// Dashed, and thinner.
    pub dashed: bool,
    /// In the chart's coordinates.
    pub points: Vec<(f64, f64)>,
}

/// Values by the number of connections, under one name.
#[derive(Clone, PartialEq, Debug)]
pub struct ByConnections {
    /// What the legend says.
    pub name: String,
    /// Which colour, counted from 0.
    pub colour: usize,
    /// Connections and a rate a second.
    pub points: Vec<(usize, f64)>,
}

/// The CSS colour of curve `number`.
pub fn colour(number: usize) -> String {
    let RGBColor(red, green, blue) = COLOURS[number % COLOURS.len()];
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// A chart for a page as a file of its own.
pub fn to_file(svg: &str) -> String {
    let svg = svg.replace("\"currentColor\"", "\"#1c1e21\"");
    let ground = format!("<svg{NAMESPACE} style=\"background:#fff\"");
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", svg.replacen("<svg", &ground, 1))
}

/// Draws, and gives the text without what only a file of its own needs.
fn svg(height: u32, draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        // Writing into a string cannot fail; a chart that can still not be drawn is left out.
        let _ = draw(&area).and_then(|()| Ok(area.present()?));
    }
    let text = text.replace(INK_TEXT, "\"currentColor\"").replacen(NAMESPACE, "", 1);
    let size = format!("<svg width=\"{WIDTH}\" height=\"{height}\" ");
    text.replacen(&size, "<svg role=\"img\" ", 1)
}

/// What a chart's axes are.
struct Axes<'t> {
    x: (f64, f64),
    y: (f64, f64),
    x_labels: usize,
    y_labels: usize,
    x_name: &'t str,
    x_text: &'t dyn Fn(f64) -> String,
    y_text: &'t dyn Fn(f64) -> String,
}

fn with_axes<'a, 'b>(area: &'a Area<'b>, axes: &Axes<'_>) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin_right(28)
        .margin_top(8)
        .y_label_area_size(LEFT)
        .x_label_area_size(BOTTOM)
        .build_cartesian_2d(axes.x.0..axes.x.1, axes.y.0..axes.y.1)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.13))
        .axis_style(INK.mix(0.5))
        .x_labels(axes.x_labels)
        .y_labels(axes.y_labels)
        .x_label_formatter(&|x| (axes.x_text)(*x))
        .y_label_formatter(&|y| (axes.y_text)(*y))
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 13).into_font().color(&INK))
        .x_desc(axes.x_name)
        .draw()?;
    Ok(chart)
}

/// How the names of the curves fall into lines: for each its place.
fn places(names: &[&str]) -> (Vec<(i32, i32)>, i32) {
    let (mut x, mut y, mut places) = (LEFT as i32, 0, Vec::new());
    for name in names {
        let width = 40 + CHARACTER * i32::try_from(name.chars().count()).unwrap_or(0);
        if x + width > WIDTH as i32 && x > LEFT as i32 {
            (x, y) = (LEFT as i32, y + LINE);
        }
        places.push((x, y));
        x += width;
    }
    (places, if names.is_empty() { 0 } else { y + LINE + 4 })
}

fn legend(area: &Area<'_>, curves: &[&Curve], places: &[(i32, i32)]) -> Drawn {
    let text = ("sans-serif", 13).into_font().style(FontStyle::Normal).color(&INK);
    for (curve, (x, y)) in curves.iter().zip(places) {
        let colour = COLOURS[curve.colour % COLOURS.len()];
        area.draw(&Rectangle::new([(*x, y + 8), (x + 20, y + 11)], colour.filled()))?;
        area.draw_text(&curve.name, &text, (x + 26, y + 3))?;
    }
    Ok(())
}

/// Curves over common axes, with a legend above.
fn curves_chart(height: u32, curves: &[Curve], axes: &Axes<'_>, dots: bool) -> String {
    let named: Vec<&Curve> = curves.iter().filter(|curve| !curve.name.is_empty()).collect();
    let names: Vec<&str> = named.iter().map(|curve| curve.name.as_str()).collect();
    let (places, above) = places(&names);
    svg(height + above.unsigned_abs(), |area| {
        let (head, body) = area.split_vertically(above);
        legend(&head, &named, &places)?;
        let mut chart = with_axes(&body, axes)?;
        for Curve { colour, dashed, points, .. } in curves {
            let colour = COLOURS[colour % COLOURS.len()];
            let points = points.iter().copied();
            if *dashed {
                chart.draw_series(DashedLineSeries::new(points, 5, 4, colour.mix(0.8).stroke_width(1)))?;
                continue;
            }
            chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
            if dots {
                chart.draw_series(points.map(|at| Circle::new(at, 3, colour.filled())))?;
            }
        }
        Ok(())
    })
}

/// The quantile that lies `nines` to the right: equal steps for 90, 99, 99.9 per cent.
fn quantile(nines: f64) -> f64 {
    1.0 - 10f64.powf(-nines)
}

fn percent(nines: f64) -> String {
    let digits = (nines.round() as usize).saturating_sub(2);
    format!("{:.digits$}%", quantile(nines.round()) * 100.0)
}

/// A time of so many powers of ten of nanoseconds.
fn time_of(power: f64) -> String {
    units::time(10f64.powf(power)).replace(".00", "").replace(".0 ", " ")
}

/// A rate as a label.
fn rate_of(rate: f64) -> String {
    if rate <= 0.0 { "0".to_owned() } else { units::rate(rate).replace(".00", "").replace(".0 ", " ") }
}

/// The decades that hold all values, and how many lines they have.
fn decades(least: f64, most: f64) -> ((f64, f64), usize) {
    let low = least.max(1.0).log10().floor();
    let high = most.max(1.0).log10().ceil().max(low + 1.0);
    ((low, high), (high - low) as usize + 1)
}

/// Latency by percentile, both logarithmic. Solid, or dashed where the flag says so.
pub fn percentiles(distributions: &[(String, usize, bool, &Histogram<u64>)]) -> String {
    let full = distributions.iter().filter(|(.., histogram)| !histogram.is_empty());
    let least = full.clone().map(|(.., histogram)| histogram.min()).min().unwrap_or(1);
    let most = full.clone().map(|(.., histogram)| histogram.value_at_quantile(quantile(NINES))).max().unwrap_or(1);
    let curves: Vec<Curve> = full
        .map(|(name, colour, dashed, histogram)| {
            // As far to the right as there are values for it.
            let reach = (histogram.len() as f64).log10().clamp(1.0, NINES);
            let points = (0..=STEPS).map(|step| {
                let nines = reach * f64::from(step) / f64::from(STEPS);
                (nines, (histogram.value_at_quantile(quantile(nines)) as f64).max(1.0).log10())
            });
            Curve { name: name.clone(), colour: *colour, dashed: *dashed, points: points.collect() }
        })
        .collect();
    let (y, y_labels) = decades(least as f64, most as f64);
    let axes = Axes {
        x: (0.0, NINES),
        y,
        x_labels: NINES as usize + 1,
        y_labels,
        x_name: "percentile",
        x_text: &percent,
        y_text: &time_of,
    };
    curves_chart(360, &curves, &axes, false)
}

/// Answers a second over time, each second a step.
pub fn throughput(series: &[(String, usize, Vec<f64>)]) -> String {
    let curves: Vec<Curve> = series
        .iter()
        .map(|(name, colour, rates)| {
            let steps = rates.iter().zip(0u32..);
            let points = steps.flat_map(|(rate, second)| [second, second + 1].map(|at| (f64::from(at), *rate)));
            Curve { name: name.clone(), colour: *colour, dashed: false, points: points.collect() }
        })
        .collect();
    let seconds = series.iter().map(|(.., rates)| rates.len()).max().unwrap_or(0).max(1);
    let most = series.iter().flat_map(|(.., rates)| rates).copied().fold(1.0, f64::max);
    let axes = Axes {
        x: (0.0, seconds as f64),
        y: (0.0, most * 1.1),
        x_labels: seconds.min(12) + 1,
        y_labels: 6,
        x_name: "seconds since the measurement began",
        x_text: &|x| format!("{x:.0}"),
        y_text: &rate_of,
    };
    curves_chart(240, &curves, &axes, false)
}

/// Latency over time: the stronger the colour, the more answers of a second took that long.
pub fn heat_map(seconds: &BTreeMap<u64, Pair>) -> String {
    let counts = cells(seconds);
    let most = counts.values().copied().max().unwrap_or(1).max(2) as f64;
    let least_row = counts.keys().map(|(_, row)| *row).min().unwrap_or(0);
    let most_row = counts.keys().map(|(_, row)| *row + 1).max().unwrap_or(1);
    let columns = counts.keys().map(|(second, _)| *second + 1).max().unwrap_or(1);
    let edge = |row: i64| row as f64 / ROWS;
    let (y, y_labels) = decades(10f64.powf(edge(least_row)), 10f64.powf(edge(most_row)));
    let axes = Axes {
        x: (0.0, columns as f64),
        y,
        x_labels: usize::try_from(columns.min(12)).unwrap_or(12) + 1,
        y_labels,
        x_name: "seconds since the measurement began",
        x_text: &|x| format!("{x:.0}"),
        y_text: &time_of,
    };
    let map = svg(260, |area| {
        let mut chart = with_axes(area, &axes)?;
        chart.draw_series(counts.iter().map(|((second, row), count)| {
            // A single answer is to be seen beside a million.
            let shade = 0.12 + 0.88 * (*count as f64).ln() / most.ln();
            let corners = [(*second as f64, edge(*row)), ((*second + 1) as f64, edge(*row + 1))];
            Rectangle::new(corners, COLOURS[0].mix(shade.clamp(0.0, 1.0)).filled())
        }))?;
        Ok(())
    });
    // Neighbours are to touch, without a seam and without an overlap.
    map.replacen("<svg ", "<svg shape-rendering=\"crispEdges\" ", 1)
}

/// How many answers of a second fell into a row of the heat map.
fn cells(seconds: &BTreeMap<u64, Pair>) -> BTreeMap<(u64, i64), u64> {
    let mut counts = BTreeMap::new();
    for (second, pair) in seconds {
        for value in pair.latency.iter_recorded() {
            let row = ((value.value_iterated_to().max(1) as f64).log10() * ROWS).floor() as i64;
            *counts.entry((*second, row)).or_default() += value.count_at_value();
        }
    }
    counts
}

/// A value by the number of connections, which doubles from step to step.
pub fn by_connections(series: &[ByConnections]) -> String {
    let all = || series.iter().flat_map(|one| &one.points);
    let low = all().map(|(count, _)| *count).min().unwrap_or(1) as f64;
    let high = all().map(|(count, _)| *count).max().unwrap_or(2) as f64;
    let most = all().map(|(_, value)| *value).fold(1.0, f64::max);
    let x = (low.log2(), high.log2().max(low.log2() + 1.0));
    let curves: Vec<Curve> = series
        .iter()
        .map(|ByConnections { name, colour, points }| {
            let points = points.iter().map(|(count, value)| ((*count as f64).log2(), *value));
            Curve { name: name.clone(), colour: *colour, dashed: false, points: points.collect() }
        })
        .collect();
    let axes = Axes {
        x,
        y: (0.0, most * 1.1),
        x_labels: (x.1 - x.0).round() as usize + 1,
        y_labels: 6,
        x_name: "connections, or frames in flight",
        x_text: &|x| format!("{:.0}", x.exp2()),
        y_text: &rate_of,
    };
    curves_chart(320, &curves, &axes, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorder::histogram;
    use crate::report::hlog;

    #[test]
    fn every_chart_has_its_labels_and_no_ink() {
        let mut of = histogram();
        of.record_n(10_000, 90).unwrap();
        of.record_n(2_000_000, 10).unwrap();
        let mut seconds = BTreeMap::new();
        for second in 0..3 {
            let mut pair = hlog::empty();
            pair.latency.add(&of).unwrap();
            seconds.insert(second, pair);
        }
        let name = || "a <b> & c".to_owned();
        let charts = [
            (percentiles(&[(name(), 0, false, &of), (String::new(), 0, true, &of)]), "99.9%", "10 us"),
            (throughput(&[(name(), 1, vec![1000.0, 2000.0])]), "seconds since", "k/s"),
            (heat_map(&seconds), "seconds since", "100 us"),
            (
                by_connections(&[ByConnections { name: name(), colour: 2, points: vec![(1, 10.0), (64, 500.0)] }]),
                ">\n64\n<",
                "500/s",
            ),
        ];
        for (svg, one, other) in &charts {
            assert!(svg.contains(one) && svg.contains(other), "{one}, {other}: {svg}");
            assert!(svg.contains("role=\"img\" viewBox=") && svg.contains("currentColor"), "{svg}");
            assert!(!svg.contains("#010203") && !svg.contains("http:") && !svg.contains("<b>"), "{svg}");
        }
        assert!(charts[0].0.contains("a &lt;b&gt; &amp; c"), "{}", charts[0].0);
        let file = to_file(&charts[1].0);
        assert!(file.contains(NAMESPACE) && !file.contains("currentColor") && file.starts_with("<?xml"), "{file}");
    }

    #[test]
    fn a_chart_of_nothing_is_no_panic() {
        for svg in [percentiles(&[]), throughput(&[]), heat_map(&BTreeMap::new()), by_connections(&[])] {
            assert!(svg.starts_with("<svg"), "{svg}");
        }
    }

    #[test]
    fn the_heat_map_counts_every_answer_where_it_belongs() {
        let mut pair = hlog::empty();
        pair.latency.record_n(1_000, 5).unwrap();
        pair.latency.record_n(1_000_000, 2).unwrap();
        let counts = cells(&BTreeMap::from([(7, pair)]));
        let rows = |power: f64| (power * ROWS) as i64;
        assert_eq!(counts, BTreeMap::from([((7, rows(3.0)), 5), ((7, rows(6.0)), 2)]));
    }

    #[test]
    fn percentiles_are_named_as_people_write_them() {
        let names: Vec<String> = (0..=5).map(|nines| percent(f64::from(nines))).collect();
        assert_eq!(names, ["0%", "90%", "99%", "99.9%", "99.99%", "99.999%"]);
        assert_eq!((time_of(3.0), time_of(6.0), time_of(4.0)), ("1 us".into(), "1 ms".into(), "10 us".into()));
    }
}
