//! What all charts share: sizes, colours, escaping.

use std::fmt::Write as _;

use crate::bench::report::Report;

/// Units across a chart: at this width, text is as large as in the page around it.
pub const WIDTH: f64 = 360.0;

/// Colours and text, in each file: it stands for itself, on a light and on a dark screen.
pub const STYLE: &str = "\
text{font-family:system-ui,'DejaVu Sans',sans-serif;fill:#1c2330}\
.h{font-size:14px;font-weight:700}.t{font-size:12px}.v{font-size:12px;font-weight:600}\
.n{font-size:10.5px;fill:#5a6475}.a{stroke:#d5dae3;stroke-width:1}\
.e{stroke:#1c2330;stroke-width:1.4;fill:none}.l{fill:none;stroke-width:2}\
.b{fill:#fff}.ours{fill:#6ea8dc}.other{fill:#e0a458}.p{fill:#eef0f4}.q{fill:#b6becb}\
@media(prefers-color-scheme:dark){text{fill:#e4e8f0}.n{fill:#a3adbd}.a{stroke:#39414f}\
.e{stroke:#e4e8f0}.b{fill:#161b24}.ours{fill:#3f7fb8}.other{fill:#a8702a}.p{fill:#232a36}.q{fill:#566173}}";

/// The beginning of a file of this height. `name` is the chart's: several are in one page, and what each defines
/// is called after it.
pub fn open(name: &str, height: f64, heading: &str) -> String {
    let mut svg = String::new();
    // A string takes whatever is written.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" role=\"img\"><title>{heading}</title><style>{STYLE}</style>\
         <defs><pattern id=\"limit-{name}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect class=\"p\" width=\"6\" height=\"6\"/>\
         <rect class=\"q\" width=\"2\" height=\"6\"/></pattern></defs>\
         <rect class=\"b\" width=\"{WIDTH}\" height=\"{height:.0}\"/>\
         <text class=\"h\" x=\"0\" y=\"14\">{heading}</text>",
        name = escape(name),
        heading = escape(heading),
    );
    svg
}

/// What fills the bar of a contender in the chart of this name, as an attribute.
pub fn fill(report: &Report, chart: &str, name: &str) -> String {
    match report.contenders.iter().find(|contender| contender.name == name) {
        Some(contender) if contender.ours => "class=\"ours\"".into(),
        Some(contender) if contender.limit => format!("fill=\"url(#limit-{})\"", escape(chart)),
        _ => "class=\"other\"".into(),
    }
}

/// Text as it stands between tags and in attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            // XML has no other control characters, not even escaped.
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_text_can_end_it() {
        assert_eq!(escape("<a b=\"c\">&\u{1b}"), "&lt;a b=&quot;c&quot;&gt;&amp;?");
    }
}
