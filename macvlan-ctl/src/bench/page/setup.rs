//! The setup, drawn.

use std::fmt::Write as _;

/// Boxes: left, top, width, what is in bold, what is below it.
const BOXES: [(u16, u16, u16, &str, &str); 5] = [
    (10, 12, 150, "host", "10.97.0.1"),
    (240, 12, 150, "child", "10.97.0.11"),
    (470, 12, 150, "child", "10.97.0.12"),
    (125, 118, 380, "what is compared", "macvlan, bridge, routes, ..."),
    (240, 224, 150, "wire", "10.97.0.2"),
];

/// Lines between them: from, to.
const LINES: [((u16, u16), (u16, u16)); 4] =
    [((85, 64), (180, 118)), ((315, 64), (315, 118)), ((545, 64), (450, 118)), ((315, 170), (315, 224))];

/// The drawing.
pub fn draw() -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 630 290\" role=\"img\">\
         <title>Host and two children are joined with a machine on the wire by what is compared</title>",
    );
    for ((x1, y1), (x2, y2)) in LINES {
        // A string takes whatever is written.
        let _ = write!(svg, "<path d=\"M{x1} {y1}L{x2} {y2}\" stroke=\"#4a5568\" stroke-width=\"2\"/>");
    }
    for (x, y, width, name, address) in BOXES {
        let compared = width > 200;
        let (fill, middle) = (if compared { "#dbeafe" } else { "#f3f5f9" }, x + width / 2);
        let _ = write!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"52\" rx=\"6\" fill=\"{fill}\" stroke=\"#8a94a6\"/>\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-size=\"18\" font-weight=\"600\" \
             fill=\"#1c2330\">{name}</text>\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-size=\"15\" fill=\"#4a5568\">{address}</text>",
            y + 23,
            y + 43,
        );
    }
    let _ = write!(
        svg,
        "<text x=\"330\" y=\"203\" font-size=\"15\" fill=\"#4a5568\">master, a veth pair</text></svg>"
    );
    svg
}
