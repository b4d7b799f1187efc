//! The report as text.

use std::fmt::Write as _;

use tabled::{
    builder::Builder,
    settings::{Alignment, Style, object::Columns},
};

use crate::bench::{
    quantity::short,
    report::{Figure, Report},
    rounds::Spread,
};

/// Figures of one quantity and path, which were measured in the same rounds.
pub fn groups(report: &Report) -> Vec<Vec<&Figure>> {
    let mut groups: Vec<Vec<&Figure>> = Vec::new();
    for figure in &report.figures {
        let same = |group: &&mut Vec<&Figure>| {
            group.first().is_some_and(|first| (first.workload, first.path) == (figure.workload, figure.path))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(figure),
            None => groups.push(vec![figure]),
        }
    }
    groups
}

/// A group's heading.
pub fn heading(figure: &Figure) -> String {
    match figure.path {
        Some(path) => format!("{}: {}", path.title(), figure.title),
        None => figure.title.to_owned(),
    }
}

/// Every figure with its spread and its ratios.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    for group in groups(report) {
        let Some(first) = group.first() else { continue };
        // A string takes whatever is written.
        let _ = writeln!(text, "{} ({:?} is better)", heading(first), first.better);
        let _ = writeln!(text, "{}\n", rows(report, &group));
    }
    for failure in &report.failures {
        let _ =
            writeln!(text, "not measured: {} of {}: {}", failure.workload, failure.contender, failure.reason);
    }
    for missing in &report.contenders {
        if let Some(reason) = &missing.missing {
            let _ = writeln!(text, "took no part: {}: {reason}", missing.title);
        }
    }
    let machine = &report.machine;
    let _ = writeln!(
        text,
        "{} rounds or more in {:.0} s on {} x {}, Linux {}, {} master",
        report.rounds,
        report.took,
        machine.cpus,
        machine.cpu,
        machine.kernel,
        machine.driver.as_deref().unwrap_or("unknown")
    );
    text
}

fn rows(report: &Report, group: &[&Figure]) -> String {
    let records = columns(report, group);
    let last = records.first().map_or(0, Vec::len).saturating_sub(1);
    let mut table = Builder::from_iter(records).build();
    table.with(Style::blank());
    table.modify(Columns::new(1..last), Alignment::right());
    table.to_string()
}

/// A group in rows of text, the first one their headings.
pub fn columns(report: &Report, group: &[&Figure]) -> Vec<Vec<String>> {
    let with_children = group.iter().any(|figure| figure.children.is_some());
    let mut head = vec![String::new()];
    head.extend(with_children.then(|| "children".to_owned()));
    head.extend(["median", "least", "most", "ratios by round: median (least to most)"].map(String::from));
    let rows = group.iter().map(|figure| {
        let mut row = vec![title(report, figure.contender).to_owned()];
        row.extend(
            with_children.then(|| figure.children.map_or_else(String::new, |children| children.to_string())),
        );
        let spread = figure.spread;
        row.extend([spread.median, spread.least, spread.most].map(|value| short(value, figure.unit)));
        row.push(ratios(figure));
        row
    });
    std::iter::once(head).chain(rows).collect()
}

fn ratios(figure: &Figure) -> String {
    let told = |base: &str, ratio: &Spread| {
        format!("{:.2} of {base} ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most)
    };
    let bases = figure.ratios.iter().map(|(base, ratio)| told(base, ratio));
    let fewest = figure.of_fewest.iter().map(|ratio| told("its fewest", ratio));
    bases.chain(fewest).collect::<Vec<_>>().join(", ")
}

/// What a contender is called.
pub fn title<'a>(report: &'a Report, name: &'a str) -> &'a str {
    report
        .contenders
        .iter()
        .find(|contender| contender.name == name)
        .map_or(name, |contender| contender.title)
}
