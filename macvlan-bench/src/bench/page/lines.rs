//! A line for each contender, against the number of children.

use std::fmt::Write as _;

use crate::bench::{
    page::svg::{WIDTH, escape, open},
    quantity::{short, told},
    report::{Figure, Report},
    table::title,
};

/// The plot's place in the chart.
const LEFT: f64 = 58.0;

const RIGHT: f64 = WIDTH - 12.0;

const TOP: f64 = 44.0;

const BOTTOM: f64 = 224.0;

/// Height of the legend's lines.
const LINE: f64 = 18.0;

/// Colours that differ also to who sees no red or green.
const COLOURS: [&str; 6] = ["#2b6cb0", "#d97706", "#0f766e", "#7c3aed", "#b91c1c", "#4a5568"];

/// Values further apart than this are drawn by their logarithms.
const WIDE: f64 = 30.0;

/// A whole chart.
pub fn draw(report: &Report, name: &str, heading: &str, group: &[&Figure]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for figure in group {
        if !names.contains(&figure.contender) {
            names.push(figure.contender);
        }
    }
    let height = BOTTOM + 44.0 + LINE * names.len() as f64;
    let mut svg = open(name, height, heading);
    let scale = Scale::of(group);
    scale.axes(&mut svg, group);
    for (number, name) in names.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points: Vec<&Figure> = group.iter().copied().filter(|figure| figure.contender == *name).collect();
        line(&mut svg, report, &scale, &points, colour);
        let y = BOTTOM + 50.0 + LINE * number as f64;
        // A string takes whatever is written.
        let _ = write!(
            svg,
            "<rect x=\"0\" y=\"{:.1}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>\
             <text class=\"t\" x=\"20\" y=\"{y:.1}\">{}</text>\
             <text class=\"v\" x=\"{WIDTH}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>",
            y - 6.0,
            escape(title(report, name)),
            escape(&ends(&points)),
        );
    }
    svg + "</svg>"
}

/// The first and the last value of a line.
fn ends(points: &[&Figure]) -> String {
    let value = |figure: &&&Figure| short(figure.spread.median, figure.unit);
    match (points.first(), points.last()) {
        (Some(first), Some(last)) if points.len() > 1 => format!("{} … {}", value(&first), value(&last)),
        (Some(only), _) => value(&only),
        _ => String::new(),
    }
}

/// Where values are drawn.
struct Scale {
    fewest: f64,
    most: f64,
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    fn of(group: &[&Figure]) -> Self {
        let children = || group.iter().filter_map(|figure| figure.children).map(f64::from);
        let medians = || group.iter().map(|figure| figure.spread.median);
        let least = medians().fold(f64::INFINITY, f64::min);
        let high = medians().fold(0.0, f64::max) * 1.15;
        let logarithmic = least > 0.0 && high / least > WIDE;
        Self {
            fewest: children().fold(f64::INFINITY, f64::min).max(1.0),
            most: children().fold(1.0, f64::max),
            low: if logarithmic { least / 1.3 } else { 0.0 },
            high: high.max(f64::MIN_POSITIVE),
            logarithmic,
        }
    }

    fn x(&self, children: f64) -> f64 {
        let whole = (self.most / self.fewest).ln();
        let share = if whole > 0.0 { (children / self.fewest).ln() / whole } else { 0.5 };
        LEFT + share * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            value / self.high
        };
        BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - TOP)
    }

    /// What a height stands for.
    fn value(&self, share: f64) -> f64 {
        if self.logarithmic { self.low * (self.high / self.low).powf(share) } else { self.high * share }
    }

    fn axes(&self, svg: &mut String, group: &[&Figure]) {
        let Some(first) = group.first() else { return };
        for step in 0..=4 {
            let value = self.value(f64::from(step) / 4.0);
            let y = self.y(value);
            let _ = write!(
                svg,
                "<path class=\"a\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>\
                 <text class=\"n\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 5.0,
                y + 3.5,
                escape(&short(value, first.unit)),
            );
        }
        let mut sizes: Vec<u32> = group.iter().filter_map(|figure| figure.children).collect();
        sizes.sort_unstable();
        sizes.dedup();
        for size in sizes {
            let _ = write!(
                svg,
                "<text class=\"n\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{size}</text>",
                self.x(size.into()),
                BOTTOM + 15.0,
            );
        }
        let _ = write!(svg, "<text class=\"n\" x=\"{LEFT}\" y=\"{:.1}\">children</text>", BOTTOM + 30.0);
    }
}

fn line(svg: &mut String, report: &Report, scale: &Scale, points: &[&Figure], colour: &str) {
    let place = |figure: &Figure| scale.x(figure.children.unwrap_or(1).into());
    let path: Vec<String> = points
        .iter()
        .map(|figure| format!("{:.1} {:.1}", place(figure), scale.y(figure.spread.median)))
        .collect();
    let _ = write!(svg, "<path class=\"l\" stroke=\"{colour}\" d=\"M{}\"/>", path.join("L"));
    for figure in points {
        let (x, spread) = (place(figure), figure.spread);
        let (top, bottom) = (scale.y(spread.most), scale.y(spread.least));
        let _ = write!(
            svg,
            "<g><title>{}, {} children: {}</title>\
             <path stroke=\"{colour}\" stroke-width=\"1.2\" d=\"M{x:.1} {top:.1}V{bottom:.1}M{:.1} {top:.1}h6M{:.1} {bottom:.1}h6\"/>\
             <circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"2.6\" fill=\"{colour}\"/></g>",
            escape(title(report, figure.contender)),
            figure.children.unwrap_or(1),
            escape(&told(spread, figure.unit)),
            x - 3.0,
            x - 3.0,
            scale.y(spread.median),
        );
    }
}
