//! A bar for each contender, with its spread.

use std::fmt::Write as _;

use crate::bench::{
    contender::BASES,
    page::svg::{WIDTH, escape, fill, open},
    quantity::{Better, Unit, short, told},
    report::{Figure, Report},
    table::title,
};

/// Height of a heading, of the axis, of a contender, and of its bar.
const HEAD: f64 = 44.0;

const AXIS: f64 = 20.0;

const ROW: f64 = 50.0;

const BAR: f64 = 14.0;

/// A whole chart.
pub fn draw(report: &Report, name: &str, heading: &str, better: &str, group: &[&Figure]) -> String {
    let end = HEAD + ROW * group.len() as f64;
    let mut svg = open(name, end + AXIS, heading);
    // A string takes whatever is written.
    let _ = write!(svg, "<text class=\"n\" x=\"0\" y=\"31\">{}</text>", escape(better));
    let longest = longest(group);
    axis(&mut svg, group, end, longest);
    for (place, figure) in group.iter().enumerate() {
        row(&mut svg, report, name, figure, HEAD + ROW * place as f64, longest);
    }
    svg + "</svg>"
}

/// What the whole width stands for: the most of all, unless that is a single stray round.
fn longest(group: &[&Figure]) -> f64 {
    const STRAY: f64 = 1.6;
    let most = group.iter().map(|figure| figure.spread.most).fold(0.0, f64::max);
    let median = group.iter().map(|figure| figure.spread.median).fold(0.0, f64::max);
    most.min(median * STRAY).max(f64::MIN_POSITIVE)
}

/// A value for every quarter of the width, below the bars, and a line through them.
fn axis(svg: &mut String, group: &[&Figure], end: f64, longest: f64) {
    const STEPS: i32 = 4;
    let Some(first) = group.first() else { return };
    for step in 0..=STEPS {
        let share = f64::from(step) / f64::from(STEPS);
        let anchor = match step {
            0 => "start",
            STEPS => "end",
            _ => "middle",
        };
        let x = share * (WIDTH - 1.0);
        let _ = write!(
            svg,
            "<path class=\"a\" d=\"M{x:.1} {HEAD}V{end:.1}\"/>\
             <text class=\"n\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            end + 13.0,
            if step == 0 { "0".into() } else { escape(&short(longest * share, first.unit)) },
        );
    }
}

fn row(svg: &mut String, report: &Report, name: &str, figure: &Figure, top: f64, longest: f64) {
    // The end of a line that goes all the way is still in the chart.
    let across = |value: f64| (value / longest).clamp(0.0, 1.0) * (WIDTH - 1.0);
    let spread = figure.spread;
    let (median, least, most) = (across(spread.median), across(spread.least), across(spread.most));
    let middle = top + 17.0 + BAR / 2.0;
    // A line without an end leaves the chart.
    let end = if spread.most > longest { String::new() } else { format!("M{most:.1} {:.1}v6", middle - 3.0) };
    let bar = top + 17.0;
    let _ = write!(
        svg,
        "<g><title>{}: {}</title><text class=\"t\" x=\"0\" y=\"{:.1}\">{}</text>\
         <text class=\"v\" x=\"{WIDTH}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <rect x=\"0\" y=\"{bar:.1}\" width=\"{median:.1}\" height=\"{BAR}\" rx=\"2\" {}/>\
         <path class=\"e\" d=\"M{least:.1} {middle:.1}H{most:.1}M{least:.1} {:.1}v6{end}\"/></g>",
        escape(title(report, figure.contender)),
        escape(&told(spread, figure.unit)),
        top + 12.0,
        escape(title(report, figure.contender)),
        top + 12.0,
        escape(&short(spread.median, figure.unit)),
        fill(report, name, figure.contender),
        middle - 3.0,
    );
    let _ = write!(
        svg,
        "<text class=\"n\" x=\"0\" y=\"{:.1}\">{}</text>",
        top + 42.0,
        escape(&note(report, figure))
    );
}

/// What the bars of both would give, where that is another ratio than that within the rounds.
fn bars_say(report: &Report, figure: &Figure, base: &str, ratio: f64) -> String {
    const SAME: f64 = 0.02;
    let key = |figure: &Figure| (figure.workload, figure.path, figure.children);
    let is_base = |other: &&Figure| other.contender == base && key(other) == key(figure);
    let Some(base) = report.figures.iter().find(is_base) else { return String::new() };
    let by_bars = figure.spread.median / base.spread.median;
    if (by_bars / ratio - 1.0).abs() <= SAME { String::new() } else { format!(" (bars: {by_bars:.2})") }
}

/// Ratios, and what was lost.
fn note(report: &Report, figure: &Figure) -> String {
    // In the order of the bases, so that it is the same in each row.
    let ratios = BASES.iter().filter_map(|base| Some((*base, figure.ratios.get(base)?)));
    let mut notes: Vec<String> = ratios
        .map(|(base, ratio)| {
            format!("{:.2} of {base}{}", ratio.median, bars_say(report, figure, base, ratio.median))
        })
        .collect();
    let lost = |other: &&Figure| {
        other.workload == format!("{}-lost", figure.workload)
            && (other.path, other.contender) == (figure.path, figure.contender)
    };
    if let Some(lost) = report.figures.iter().find(lost)
        && lost.better == Better::Lower
        && lost.unit == Unit::Share
    {
        notes.push(format!("{} lost", short(lost.spread.median, lost.unit)));
    }
    notes.join(" · ")
}
