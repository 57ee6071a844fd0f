//! Pictures of a transfer over time, as SVG: windows, round-trip time, delivery rate and the bottleneck's queue.

use super::trial::{Mark, Outcome, Sample, TrialPlan, run};
use crate::path::{Drop, Rate};
use plotters::chart::ChartContext;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    AreaSeries, BLACK, Cartesian2d, ChartBuilder, Color, Cross, DashedLineSeries, DrawingArea, FontStyle,
    IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBColor, Rectangle, SVGBackend, ShapeStyle, TRANSPARENT,
    WHITE,
};
use std::path::Path;
use std::time::Duration;

const BLUE: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const ORANGE: RGBColor = RGBColor(0xe6, 0x7e, 0x00);
const GREY: RGBColor = RGBColor(0xa0, 0xa8, 0xb0);
const GREEN: RGBColor = RGBColor(0x2a, 0x8c, 0x4a);
const RED: RGBColor = RGBColor(0xd6, 0x27, 0x28);
const PURPLE: RGBColor = RGBColor(0x6a, 0x3d, 0x9a);

/// The picture's width and height.
const SIZE: (u32, u32) = (1240, 1180);
/// Height of the headline, and of each panel's own.
const HEAD: u32 = 60;
const LEGEND: u32 = 26;
/// Room for the labels beside a panel.
const LEFT: u32 = 64;
const RIGHT: u32 = 100;
/// About so many samples make a curve.
const SAMPLES: u128 = 1500;
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// What is to be drawn.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The headline.
    pub title: String,
    /// The transfer; its first flow is drawn.
    pub plan: TrialPlan,
}

/// One curve of a panel.
struct Curve {
    name: &'static str,
    color: RGBColor,
    filled: bool,
    /// Pieces without a gap, seconds and values.
    pieces: Vec<Vec<(f64, f64)>>,
}

/// A value that means something, and its name.
type Level = (&'static str, f64);

/// One of the panels below each other.
struct Panel {
    name: &'static str,
    curves: Vec<Curve>,
    /// What is drawn across it.
    levels: Vec<Level>,
    /// Whether drops are marked in it.
    shows_drops: bool,
}

/// A kind of drops.
struct Kind {
    name: &'static str,
    color: RGBColor,
    holds: fn(Mark) -> bool,
}

const KINDS: [Kind; 2] = [
    Kind { name: "lost on the way", color: RED, holds: |mark| mark == Mark::Dropped(Drop::Lost) },
    Kind {
        name: "dropped: queue full, or policed",
        color: ORANGE,
        holds: |mark| matches!(mark, Mark::Dropped(Drop::Full | Drop::Policed)),
    },
];

/// Runs the transfer twice, once to see how long it takes and once to look at it, and draws it into `file`.
///
/// # Errors
/// When the file can't be written, in words.
pub fn draw(picture: &Picture, file: &Path) -> Result<Outcome, String> {
    let mut plan = picture.plan.clone();
    let time = run(&plan).completion().min(Duration::from_secs(3600));
    plan.sample_every = Some(Duration::from_nanos(u64::try_from(time.as_nanos() / SAMPLES).unwrap_or(0)));
    let outcome = run(&plan);
    draw_panels(picture, &plan, &outcome, file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(outcome)
}

fn draw_panels(
    picture: &Picture,
    plan: &TrialPlan,
    outcome: &Outcome,
    file: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(HEAD);
    head.titled(&picture.title, (FONT, 22))?;
    let style = (FONT, 15).into_font().color(&BLACK.mix(0.7));
    head.draw_text(&summary(outcome), &style, (LEFT as i32, 34))?;
    let end = outcome.samples.last().map_or(1.0, |sample| sample.at.as_secs_f64()).max(1e-9);
    let panels = panels(plan, outcome);
    let last = panels.len() - 1;
    for (index, (panel, area)) in panels.iter().zip(body.split_evenly((panels.len(), 1))).enumerate() {
        draw_panel(panel, &area, end, &outcome.marks, index == last)?;
    }
    root.present()?;
    Ok(())
}

fn summary(outcome: &Outcome) -> String {
    let time = outcome.flows.first().and_then(|flow| flow.completion);
    format!(
        "{} \u{b7} resent: {} \u{b7} time-outs: {} \u{b7} lost: {} \u{b7} queue full: {} \u{b7} policed: {} \u{b7} marked: {}",
        time.map_or("not complete".to_owned(), |time| format!("{:.3} s", time.as_secs_f64())),
        outcome.retransmits(),
        outcome.time_outs(),
        outcome.forward.lost,
        outcome.forward.full,
        outcome.forward.policed,
        outcome.forward.marked,
    )
}

/// The round-trip time of the empty path and the rate of its bottleneck, in milliseconds and Mbit/s, with what they change
/// to.
fn levels_of(plan: &TrialPlan) -> (Vec<Level>, Vec<Level>) {
    let base = |forward: Duration, back: Duration| (forward + back).as_secs_f64() * 1e3;
    let megabits = |rate: Rate| rate.bits_per_second() as f64 / 1e6;
    let (forward, back) = (plan.forward.delay.base, plan.back.delay.base);
    let mut times = vec![("empty path", base(forward, back))];
    let mut rates: Vec<Level> =
        plan.forward.queue.rate.map(|rate| ("bottleneck", megabits(rate))).into_iter().collect();
    for change in &plan.forward.changes {
        let same = plan.back.changes.iter().find(|other| other.at == change.at).and_then(|other| other.delay);
        times.extend(change.delay.map(|delay| ("later", base(delay, same.unwrap_or(back)))));
        rates.extend(change.rate.map(|rate| ("later", megabits(rate))));
    }
    rates.extend(plan.forward.policer.map(|policer| ("policer", megabits(policer.rate))));
    (times, rates)
}

fn panels(plan: &TrialPlan, outcome: &Outcome) -> Vec<Panel> {
    let samples = &outcome.samples;
    let kilobytes = |bytes: u32| f64::from(bytes) / 1000.0;
    let base = plan.forward.delay.base + plan.back.delay.base;
    let rate = plan.forward.queue.rate.unwrap_or(Rate::bits(1));
    let product = rate.bytes_in(base) as f64 / 1000.0;
    let limit = plan.forward.queue.limit_bytes as f64 / 1000.0;
    let (times, rates) = levels_of(plan);
    vec![
        Panel {
            name: "window, kB",
            curves: vec![
                curve("in flight", GREY, true, samples, |s| Some(kilobytes(s.in_flight))),
                curve("ssthresh", ORANGE, false, samples, |s| (s.ssthresh < u32::MAX).then(|| kilobytes(s.ssthresh))),
                curve("cwnd", BLUE, false, samples, |s| Some(kilobytes(s.cwnd))),
            ],
            levels: vec![("BDP", product), ("BDP + buffer", product + limit)],
            shows_drops: true,
        },
        Panel {
            name: "round-trip time, ms",
            curves: vec![
                curve("of the path", GREY, true, samples, |s| Some(s.path_rtt.as_secs_f64() * 1e3)),
                curve("smoothed (srtt)", BLUE, false, samples, |s| s.srtt.map(|rtt| rtt.as_secs_f64() * 1e3)),
            ],
            levels: times,
            shows_drops: false,
        },
        Panel {
            name: "delivery rate, Mbit/s",
            curves: vec![Curve {
                name: "read by the receiver, in order",
                color: GREEN,
                filled: false,
                pieces: vec![delivery(samples, base)],
            }],
            levels: rates,
            shows_drops: false,
        },
        Panel {
            name: "queue, kB",
            curves: vec![curve("waiting", PURPLE, true, samples, |s| Some(s.queue as f64 / 1000.0))],
            levels: vec![("full", limit)],
            shows_drops: true,
        },
    ]
}

/// The samples as a curve with gaps where there is no value.
fn curve(
    name: &'static str,
    color: RGBColor,
    filled: bool,
    samples: &[Sample],
    value: impl Fn(&Sample) -> Option<f64>,
) -> Curve {
    let points: Vec<_> = samples.iter().map(|sample| value(sample).map(|y| (sample.at.as_secs_f64(), y))).collect();
    let pieces = points.split(Option::is_none).map(|piece| steps(piece.iter().copied().flatten()));
    Curve { name, color, filled, pieces: pieces.filter(|piece| !piece.is_empty()).collect() }
}

/// A value holds until the next.
fn steps(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut out: Vec<(f64, f64)> = Vec::new();
    for (x, y) in points {
        if let Some((_, before)) = out.last().copied().filter(|(_, before)| before.to_bits() != y.to_bits()) {
            out.push((x, before));
        }
        out.push((x, y));
    }
    out
}

/// Megabits a second that were read, each over a round-trip time or a two-hundredth of the whole.
fn delivery(samples: &[Sample], rtt: Duration) -> Vec<(f64, f64)> {
    let end = samples.last().map_or(Duration::ZERO, |sample| sample.at);
    let span = rtt.max(end / 200);
    let mut points = Vec::new();
    let mut from: Option<&Sample> = None;
    for sample in samples {
        let Some(before) = from else {
            from = Some(sample);
            continue;
        };
        let time = sample.at.saturating_sub(before.at);
        if time >= span && time > Duration::ZERO {
            let rate = (sample.read - before.read) as f64 * 8.0 / time.as_secs_f64() / 1e6;
            points.push((before.at.as_secs_f64(), rate));
            points.push((sample.at.as_secs_f64(), rate));
            from = Some(sample);
        }
    }
    points
}

fn draw_panel(
    panel: &Panel,
    area: &Area<'_>,
    end: f64,
    marks: &[(Duration, Mark)],
    last: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let top = top_of(panel);
    let (legend, area) = area.split_vertically(LEGEND);
    let mut chart = ChartBuilder::on(&area)
        .margin_right(RIGHT)
        .margin_bottom(if last { 4 } else { 8 })
        .y_label_area_size(LEFT)
        .x_label_area_size(if last { 42 } else { 20 })
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    let digits = if end < 0.1 {
        4
    } else if end < 10.0 {
        2
    } else {
        0
    };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.08))
        .axis_style(BLACK.mix(0.5))
        .x_labels(11)
        .y_labels(6)
        .x_label_formatter(&|x| format!("{x:.digits$}"))
        .y_label_formatter(&|y| if top < 5.0 { format!("{y:.2}") } else { format!("{y:.0}") })
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .x_desc(if last { "time since the first byte, s" } else { "" })
        .draw()?;
    draw_curves(&mut chart, panel)?;
    draw_levels(&mut chart, &area, panel, (end, top))?;
    draw_marks(&mut chart, top, marks, panel.shows_drops)?;
    draw_legend(&legend, panel, marks)
}

/// How high a panel has to be for its curves, and for its levels unless they would press the curves to the ground.
fn top_of(panel: &Panel) -> f64 {
    let values = panel.curves.iter().flat_map(|curve| curve.pieces.iter().flatten().map(|(_, y)| *y));
    let highest = values.fold(1e-9, f64::max);
    let levels = panel.levels.iter().map(|(_, y)| *y).filter(|y| *y <= 3.0 * highest);
    levels.fold(highest, f64::max) * 1.12
}

/// The panel's name, and after it what its curves and marks are.
fn draw_legend(area: &Area<'_>, panel: &Panel, marks: &[(Duration, Mark)]) -> Result<(), Box<dyn std::error::Error>> {
    let (text, baseline) = ((FONT, 14).into_font(), 6);
    let mut x = LEFT as i32;
    area.draw_text(panel.name, &(FONT, 16).into_font().style(FontStyle::Bold).color(&BLACK), (x, baseline - 1))?;
    x += width_of(panel.name, 10);
    let middle = baseline + 8;
    for curve in &panel.curves {
        let style = if curve.filled { curve.color.mix(0.45).filled() } else { curve.color.filled() };
        let half = if curve.filled { 5 } else { 1 };
        area.draw(&Rectangle::new([(x, middle - half), (x + 22, middle + half)], style))?;
        area.draw_text(curve.name, &text.color(&BLACK.mix(0.8)), (x + 28, baseline))?;
        x += 28 + width_of(curve.name, 8);
    }
    for kind in KINDS.iter().filter(|kind| panel.shows_drops && marks.iter().any(|(_, mark)| (kind.holds)(*mark))) {
        area.draw(&Cross::new((x + 6, middle), 4, kind.color.stroke_width(1)))?;
        area.draw_text(kind.name, &text.color(&BLACK.mix(0.8)), (x + 18, baseline))?;
        x += 18 + width_of(kind.name, 8);
    }
    if marks.iter().any(|(_, mark)| *mark == Mark::TimeOut) {
        area.draw(&PathElement::new(vec![(x + 6, middle - 7), (x + 6, middle + 7)], RED.mix(0.6).stroke_width(2)))?;
        area.draw_text("time-out", &text.color(&BLACK.mix(0.8)), (x + 16, baseline))?;
    }
    Ok(())
}

/// About how far a text goes and the space behind it: nobody knows the font of whoever looks at it.
fn width_of(text: &str, character: i32) -> i32 {
    i32::try_from(text.len()).unwrap_or(0) * character + 18
}

fn draw_curves(chart: &mut Chart<'_, '_>, panel: &Panel) -> Result<(), Box<dyn std::error::Error>> {
    for curve in &panel.curves {
        let color = curve.color;
        for piece in &curve.pieces {
            let points = piece.iter().copied();
            if curve.filled {
                chart.draw_series(AreaSeries::new(points, 0.0, color.mix(0.35)).border_style(color.mix(0.7)))?;
            } else {
                chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
            }
        }
    }
    Ok(())
}

/// A level is a dashed line with its name behind its right end.
fn draw_levels(
    chart: &mut Chart<'_, '_>,
    area: &Area<'_>,
    panel: &Panel,
    (end, top): (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let style = ShapeStyle { color: BLACK.mix(0.55), filled: false, stroke_width: 1 };
    for (name, y) in panel.levels.iter().filter(|(_, y)| *y < top) {
        chart.draw_series(DashedLineSeries::new([(0.0, *y), (end, *y)], 6, 5, style))?;
        let ((x, y), (left, above)) = (chart.backend_coord(&(end, *y)), area.get_base_pixel());
        let text = (FONT, 13).into_font().color(&BLACK.mix(0.7));
        area.draw_text(name, &text, (x - left + 6, y - above - 7))?;
    }
    Ok(())
}

/// Drops are crosses at the top of the panel, time-outs are lines across it.
fn draw_marks(
    chart: &mut Chart<'_, '_>,
    top: f64,
    marks: &[(Duration, Mark)],
    drops: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    for kind in KINDS.iter().filter(|_| drops) {
        let at = marks.iter().filter(|(_, mark)| (kind.holds)(*mark)).map(|(at, _)| (at.as_secs_f64(), top * 0.965));
        chart.draw_series(at.map(|at| Cross::new(at, 3, kind.color.stroke_width(1))))?;
    }
    let time_outs = marks.iter().filter(|(_, mark)| *mark == Mark::TimeOut).map(|(at, _)| at.as_secs_f64());
    chart.draw_series(time_outs.map(|x| PathElement::new(vec![(x, 0.0), (x, top)], RED.mix(0.45))))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{Algorithm, Impairment};

    #[test]
    fn a_curve_holds_its_value_and_has_gaps() {
        let sample = |ms, ssthresh| Sample {
            at: Duration::from_millis(ms),
            cwnd: 1,
            ssthresh,
            in_flight: 0,
            srtt: None,
            path_rtt: Duration::ZERO,
            read: 0,
            queue: 0,
        };
        let samples = [sample(0, 5), sample(1000, 7), sample(2000, u32::MAX), sample(3000, 3)];
        let curve = curve("", BLUE, false, &samples, |s| (s.ssthresh < u32::MAX).then(|| f64::from(s.ssthresh)));
        assert_eq!(curve.pieces, [vec![(0.0, 5.0), (1.0, 5.0), (1.0, 7.0)], vec![(3.0, 3.0)]]);
    }

    #[test]
    fn a_picture_has_its_panels_and_the_same_bytes_twice() {
        let folder = std::env::temp_dir().join(format!("corelane-plot-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the pictures");
        let plan = Impairment::named("bursts").expect("there is one").plan(Algorithm::NewReno, 1);
        let picture = Picture { title: "a title".to_owned(), plan };
        let texts = ["one.svg", "two.svg"].map(|name| {
            draw(&picture, &folder.join(name)).expect("it can be drawn");
            std::fs::read_to_string(folder.join(name)).expect("it was written")
        });
        std::fs::remove_dir_all(&folder).expect("the folder goes again");
        assert_eq!(texts[0], texts[1]);
        for word in ["a title", "cwnd", "ssthresh", "round-trip time", "delivery rate", "queue", "lost on the way"] {
            assert!(texts[0].contains(word), "{word}");
        }
    }
}
