//! The setup, drawn.

use std::fmt::Write as _;

/// Boxes: left, top, width, what is in bold, what is below it.
const BOXES: [(u16, u16, u16, &str, &str); 5] = [
    (1, 1, 110, "host", "10.97.0.1"),
    (125, 1, 110, "child", "10.97.0.11"),
    (249, 1, 110, "child", "10.97.0.12"),
    (40, 97, 280, "what is compared", "macvlan, bridge, routes, ..."),
    (125, 193, 110, "wire", "10.97.0.2"),
];

/// Lines between them: from, to.
const LINES: [((u16, u16), (u16, u16)); 4] =
    [((56, 53), (90, 97)), ((180, 53), (180, 97)), ((304, 53), (270, 97)), ((180, 149), (180, 193))];

/// The drawing, in the page's colours: as wide as a narrow screen, so that its text is not smaller there than it says.
pub fn draw() -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 360 246\" role=\"img\">\
         <title>Host and two children are joined with a machine on the wire by what is compared</title>",
    );
    for ((x1, y1), (x2, y2)) in LINES {
        // A string takes whatever is written.
        let _ =
            write!(svg, "<path d=\"M{x1} {y1}L{x2} {y2}\" style=\"stroke:var(--soft)\" stroke-width=\"2\"/>");
    }
    for (x, y, width, name, address) in BOXES {
        let compared = width > 200;
        let (fill, middle) = (if compared { "--middle" } else { "--box" }, x + width / 2);
        let _ = write!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"52\" rx=\"6\" style=\"fill:var({fill})\" stroke=\"#8a94a6\"/>\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-size=\"16\" font-weight=\"600\" \
             style=\"fill:var(--text)\">{name}</text>\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-size=\"14\" style=\"fill:var(--soft)\">{address}</text>",
            y + 23,
            y + 43,
        );
    }
    let _ = write!(
        svg,
        "<text x=\"190\" y=\"176\" font-size=\"14\" style=\"fill:var(--soft)\">master, a veth pair</text></svg>"
    );
    svg
}
