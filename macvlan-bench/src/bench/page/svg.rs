//! What all charts share: sizes, colours, escaping.

use std::fmt::Write as _;

use crate::bench::report::Report;

/// Units across a chart: at this width, text is as large as in the page around it.
pub const WIDTH: f64 = 360.0;

/// Colours and text, in each file: it stands for itself.
pub const STYLE: &str = "\
text{font-family:system-ui,'DejaVu Sans',sans-serif;fill:#1c2330}\
.h{font-size:14px;font-weight:700}.t{font-size:12px}.v{font-size:12px;font-weight:600}\
.n{font-size:10.5px;fill:#5a6475}.a{stroke:#d5dae3;stroke-width:1}\
.e{stroke:#1c2330;stroke-width:1.4;fill:none}.l{fill:none;stroke-width:2}";

/// The beginning of a file of this height.
pub fn open(height: f64, heading: &str) -> String {
    let mut svg = String::new();
    // A string takes whatever is written.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" role=\"img\"><title>{heading}</title><style>{STYLE}</style>\
         <defs><pattern id=\"floor\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#eef0f4\"/>\
         <rect width=\"2\" height=\"6\" fill=\"#b6becb\"/></pattern></defs>\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#fff\"/>\
         <text class=\"h\" x=\"0\" y=\"14\">{heading}</text>",
        heading = escape(heading),
    );
    svg
}

/// What fills the bar of a contender.
pub fn fill(report: &Report, name: &str) -> &'static str {
    match report.contenders.iter().find(|contender| contender.name == name) {
        Some(contender) if contender.ours => "#6ea8dc",
        Some(contender) if contender.floor => "url(#floor)",
        _ => "#e0a458",
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
