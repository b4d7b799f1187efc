//! The report as one page that needs nothing else, and its charts as files.

mod bars;
mod lines;
mod setup;
mod svg;

use std::fmt::Write as _;

use crate::bench::{
    page::svg::escape,
    quantity::{Better, Unit},
    report::{Figure, Report},
    table::{columns, groups, heading, title},
};

/// A chart with the name of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// The file's name, without directory.
    pub name: String,
    /// What it shows, for who cannot see it.
    pub heading: String,
    /// The whole file.
    pub svg: String,
}

/// A chart of each quantity and path. What was lost is told beside what arrived.
pub fn charts(report: &Report) -> Vec<Chart> {
    let shown = groups(report).into_iter().filter(|group| !is_loss(group[0]));
    let charts = shown.map(|group| {
        let first = group[0];
        let heading = heading(first);
        let better = match first.better {
            Better::Higher => "longer is better",
            Better::Lower => "shorter is better",
        };
        let name = name_of(first);
        let svg = if group.iter().any(|figure| figure.children.is_some()) && sizes(&group) > 1 {
            lines::draw(report, &name, &heading, &group)
        } else {
            bars::draw(report, &name, &heading, better, &group)
        };
        Chart { name: format!("{name}.svg"), heading, svg }
    });
    charts.collect()
}

fn name_of(figure: &Figure) -> String {
    match figure.path {
        Some(path) => format!("{}-{}", path.as_str(), figure.workload),
        None => figure.workload.to_owned(),
    }
}

fn is_loss(figure: &Figure) -> bool {
    figure.unit == Unit::Share && figure.better == Better::Lower
}

/// Different numbers of children in a group.
fn sizes(group: &[&Figure]) -> usize {
    let mut sizes: Vec<_> = group.iter().map(|figure| figure.children).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.len()
}

/// The page: well-formed XML, so that any tool can read it.
pub fn page(report: &Report) -> String {
    let mut page = String::from(HEAD);
    // A string takes whatever is written.
    let _ = writeln!(page, "<style>{STYLE}</style></head><body><main>");
    let _ = writeln!(page, "<h1>macvlan-ctl bench</h1><p class=\"lead\">{}</p>", escape(&lead(report)));
    let _ = writeln!(page, "<pre>$ {}</pre>", escape(&report.command));
    let _ = writeln!(page, "<h2>The setup</h2><div class=\"setup\">{}</div>{SETUP}", setup::draw());
    let _ = writeln!(page, "<h2>How to read it</h2>{READING}");
    for (name, title) in CHAPTERS {
        let charts: Vec<Chart> =
            charts(report).into_iter().filter(|chart| chapter(&chart.name) == name).collect();
        if charts.is_empty() {
            continue;
        }
        let _ = writeln!(page, "<h2>{title}</h2><div class=\"charts\">");
        for chart in charts {
            let _ = writeln!(page, "<figure>{}</figure>", chart.svg);
        }
        page += "</div>\n";
    }
    page += &tables(report);
    page += &absent(report);
    page += &machine(report);
    page += "</main></body></html>\n";
    page
}

/// The page's chapters: paths, then what is about none.
const CHAPTERS: [(&str, &str); 7] = [
    ("host-child", "Host to child"),
    ("child-host", "Child to host"),
    ("child-child", "Child to child"),
    ("wire-child", "Wire to child"),
    ("child-wire", "Child to wire"),
    ("flood", "Floods"),
    ("control", "Commands and memory"),
];

/// Which chapter a chart's file belongs to.
fn chapter(name: &str) -> &str {
    let known = CHAPTERS.iter().map(|(chapter, _)| *chapter).find(|chapter| name.starts_with(chapter));
    known.unwrap_or("control")
}

fn lead(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "macvlan-ctl {} on {}, Linux {}, {} x {}{}: {} rounds or more in {:.0} s.",
        report.version,
        report.date,
        machine.kernel,
        machine.cpus,
        machine.cpu,
        if machine.virtualized { " (virtual machine)" } else { "" },
        report.rounds,
        report.took
    )
}

/// Every figure in numbers.
fn tables(report: &Report) -> String {
    let mut tables = String::from("<h2>The figures</h2>");
    for group in groups(report) {
        let _ = write!(
            tables,
            "<div class=\"wide\"><table class=\"figures\"><caption>{}</caption>",
            escape(&heading(group[0]))
        );
        let mut records = columns(report, &group).into_iter();
        let mut row = |cell: &str, cells: Vec<String>| {
            let cells: String =
                cells.iter().map(|text| format!("<{cell}>{}</{cell}>", escape(text))).collect();
            let _ = write!(tables, "<tr>{cells}</tr>");
        };
        row("th", records.next().unwrap_or_default());
        records.for_each(|cells| row("td", cells));
        tables += "</table></div>";
    }
    tables + "\n"
}

/// What is not in the charts, and why.
fn absent(report: &Report) -> String {
    let missing = report.contenders.iter().filter_map(|contender| {
        let reason = contender.missing.as_ref()?;
        Some(format!("<li>{} took no part: {}</li>", escape(contender.title), escape(reason)))
    });
    let failed = report.failures.iter().map(|failure| {
        let path = failure.path.map_or_else(String::new, |path| format!(", {}", path.title()));
        let children = failure.children.map_or_else(String::new, |count| format!(", {count} children"));
        let what = format!("{}{path}{children}, of {}", failure.workload, title(report, failure.contender));
        format!("<li>{}: {}</li>", escape(&what), escape(&failure.reason))
    });
    let lines: String = missing.chain(failed).collect();
    if lines.is_empty() { lines } else { format!("<h2>Not measured</h2><ul>{lines}</ul>\n") }
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let mut rows = vec![
        ("Processor", format!("{} x {}", machine.cpus, machine.cpu)),
        ("Memory", format!("{} MiB", machine.memory >> 20)),
        ("Kernel", format!("{} {} {}", machine.kernel, machine.kernel_version, machine.arch)),
        ("Driver of the master", machine.driver.clone().unwrap_or_else(|| "unknown".into())),
        ("Offloads that are on", machine.offloads.join(", ")),
    ];
    rows.extend(machine.load.map(|load| ("Load before", format!("{load:.2}"))));
    let mut table = String::from("<h2>The machine</h2><div class=\"wide\"><table>");
    let mut row = |name: &str, value: &str| {
        let _ = write!(table, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    };
    rows.iter().for_each(|(name, value)| row(name, value));
    machine.settings.iter().for_each(|(name, value)| row(name, value));
    machine.mitigations.iter().for_each(|(name, value)| row(&name.replace('_', " "), value));
    table + "</table></div>\n"
}

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\"><head><meta charset=\"utf-8\"/>
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>
<title>macvlan-ctl bench</title>
";

/// The charts bring their own.
const STYLE: &str = "
:root{color-scheme:light dark;--back:#fff;--text:#1c2330;--soft:#4a5568;--line:#d5dae3;--box:#f3f5f9;--middle:#dbeafe}
@media(prefers-color-scheme:dark){:root{--back:#161b24;--text:#e4e8f0;--soft:#a3adbd;--line:#39414f;--box:#232a36;--middle:#1f3a5c}}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,'DejaVu Sans',sans-serif}
main{max-width:1200px;margin:0 auto;padding:24px 16px 48px}
h1{font-size:28px;margin:0 0 8px}
h2{font-size:20px;margin:36px 0 12px;border-bottom:1px solid var(--line);padding-bottom:4px}
.lead{margin:0 0 12px;color:var(--soft)}
pre{background:var(--box);border-radius:6px;padding:10px 12px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:14px}
p,ul{max-width:75ch}
.setup svg{display:block;width:100%;max-width:480px;height:auto}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:16px}
figure{margin:0;border:1px solid var(--line);border-radius:8px;padding:12px}
figure svg{display:block;width:100%;height:auto}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:14px}
th{text-align:left;font-weight:600;padding:4px 16px 4px 0;vertical-align:top;white-space:nowrap}
td{padding:4px 0;overflow-wrap:anywhere}
caption{text-align:left;font-weight:600;padding:12px 0 4px}
.figures td{padding-right:16px;white-space:nowrap}
@media(max-width:600px){th,td{display:block;padding:0}td{padding-bottom:8px}}
";

const SETUP: &str = "<p>Each contender has namespaces of its own: a host that owns the master, a \
machine beyond the master, and two children. What joins them differs: macvlan with our programs on the \
master, plain macvlan, a macvlan shim in the host's namespace, a bridge with a veth for each child, \
routes over veths, ipvlan. The limits have no switch at all: a veth pair between every two, or a \
program that drops every frame. All traffic stays in the kernel: no wire limits it.</p>";

const READING: &str = "<ul>\
<li>A bar ends at the median of all rounds; the line across it goes from the least round to the most. \
Bars whose lines overlap do not differ for certain; a line without an end leaves the chart.</li>\
<li>In each round all contenders run one after the other, each time another one first; a ratio is made \
within a round, and its median is shown. So a machine that gets slower or faster meanwhile does so for all. \
The medians of two bars may be of different rounds: where they would give another ratio, it stands beside, after \
\"bars\"; believe the one of the rounds.</li>\
<li>Rates are what arrived at the receiver. What was lost on the way is told beside them.</li>\
<li>Sender and receiver have a processor each, where there are two. How these keep up with each other differs from \
round to round: where it says \"one CPU\" both \
share one, and what is measured is all the work on a stream, which differs less. The generator sends and receives in \
one context of the kernel, so time for each of its frames is what both cost together.</li>\
<li>Ours is blue, a limit is hatched: nothing that uses the same devices can be better, and it is not something \
to use.</li></ul>";

#[cfg(test)]
mod tests;
