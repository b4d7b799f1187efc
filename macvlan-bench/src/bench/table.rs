//! The report as text.

use std::fmt::Write as _;

use tabled::{
    builder::Builder,
    settings::{Alignment, Style, object::Columns},
};

use crate::bench::{
    quantity::short,
    report::{Figure, Report},
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
    let with_children = group.iter().any(|figure| figure.children.is_some());
    let mut builder = Builder::default();
    let mut head = vec![String::new()];
    head.extend(with_children.then(|| "children".to_owned()));
    head.extend(["median", "least", "most", "ratios by round: median (least to most)"].map(String::from));
    builder.push_record(head);
    for figure in group {
        let mut row = vec![title(report, figure.contender).to_owned()];
        row.extend(
            with_children.then(|| figure.children.map_or_else(String::new, |children| children.to_string())),
        );
        let spread = figure.spread;
        row.extend([spread.median, spread.least, spread.most].map(|value| short(value, figure.unit)));
        let mut ratios: Vec<String> = figure
            .ratios
            .iter()
            .map(|(base, ratio)| {
                format!("{:.2} of {base} ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most)
            })
            .collect();
        ratios.extend(figure.of_fewest.map(|ratio| {
            format!("{:.2} of its fewest ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most)
        }));
        row.push(ratios.join(", "));
        builder.push_record(row);
    }
    let mut table = builder.build();
    table.with(Style::blank());
    let last = if with_children { 5 } else { 4 };
    table.modify(Columns::new(1..last), Alignment::right());
    table.to_string()
}

/// What a contender is called.
pub fn title<'a>(report: &'a Report, name: &'a str) -> &'a str {
    report
        .contenders
        .iter()
        .find(|contender| contender.name == name)
        .map_or(name, |contender| contender.title)
}
