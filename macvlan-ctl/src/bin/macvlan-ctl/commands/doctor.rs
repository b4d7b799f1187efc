//! `doctor`: the findings as JSON, or as text of 80 columns.

use std::io::{self, Write as _};

use anyhow::{Result, bail};
use macvlan_core::{
    commands::doctor::{
        examine,
        finding::{Finding, Status},
    },
    model::printable::{Printable, printable},
};
use textwrap::Options;

use crate::{args::Cli, output::print_json};

/// Columns of a terminal that nobody has widened.
const WIDTH: usize = 80;

/// Prints every finding; fails when one is a problem.
pub async fn doctor(cli: &Cli, master: Option<&str>) -> Result<()> {
    let findings = examine(master).await?;
    if cli.json {
        print_json(&findings)?;
    } else {
        write!(io::stdout(), "{}", text(&findings, cli.verbose))?;
    }
    match count(&findings, Status::Problem) {
        0 => Ok(()),
        1 => bail!("1 problem was found"),
        problems => bail!("{problems} problems were found"),
    }
}

fn count(findings: &[Finding], status: Status) -> usize {
    findings.iter().filter(|finding| finding.status == status).count()
}

/// The machine first, then each device; of what is well only the number, unless all is asked for.
fn text(findings: &[Finding], verbose: bool) -> String {
    let mut text = String::new();
    for section in findings.chunk_by(|a, b| a.ifname == b.ifname) {
        let title = section[0].ifname.as_deref().unwrap_or("this machine");
        let gap = if text.is_empty() { "" } else { "\n" };
        text += &format!("{gap}{}:\n", Printable(title));
        let shown = section.iter().filter(|finding| verbose || finding.status != Status::Ok);
        let entries: String = shown.map(|finding| entry(finding, verbose)).collect();
        text += if entries.is_empty() { "  all is well\n" } else { &entries };
    }
    let counts = Status::ALL.map(|status| counted(count(findings, status), status));
    text + &format!("\n{}\n", counts.join(", "))
}

fn counted(number: usize, status: Status) -> String {
    let plural = if status == Status::Ok || number == 1 { "" } else { "s" };
    format!("{number} {}{plural}", status.as_str())
}

fn entry(finding: &Finding, verbose: bool) -> String {
    const INDENT: &str = "           ";
    let head = format!("{}: {}", finding.check, finding.found);
    let mut entry = wrapped(&head, &format!("  {:<9}", finding.status.as_str()), INDENT);
    if verbose || finding.status != Status::Ok {
        entry += &wrapped(&finding.reason, &format!("{INDENT}why: "), &format!("{INDENT}     "));
        if let Some(remedy) = &finding.remedy {
            entry += &wrapped(remedy, &format!("{INDENT}do:  "), &format!("{INDENT}     "));
        }
    }
    entry
}

fn wrapped(text: &str, first: &str, others: &str) -> String {
    // A container may give its device a name that talks to terminals.
    textwrap::fill(&printable(text), Options::new(WIDTH).initial_indent(first).subsequent_indent(others))
        + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_talk_to_the_terminal() {
        let finding = Finding::new(Status::Warning, "mac-clash", "a\x1b[2J, b\n", "so");
        assert!(text(&[finding], false).contains(r"mac-clash: a\u{1b}[2J, b\n"));
    }

    #[test]
    fn every_line_fits_80_columns_and_the_counts_are_last() {
        let long = "a reason of many words that goes on ".repeat(9);
        let findings = [
            Finding::new(Status::Ok, "bpf-maps", "made", &long),
            Finding::new(Status::Problem, "state", &long, &long).remedy(&long).on("fifteen-bytes!!"),
        ];
        let short = text(&findings, false);
        assert!(short.lines().all(|line| line.len() <= WIDTH), "{short}");
        assert!(short.starts_with("this machine:\n  all is well\n\nfifteen-bytes!!:\n  problem  state: a"));
        assert!(short.ends_with("\n1 ok, 0 notes, 0 warnings, 1 problem\n"), "{short}");
        assert_eq!(short.matches("why: ").count(), 1);
        let all = text(&findings, true);
        assert!(
            all.starts_with("this machine:\n  ok       bpf-maps: made\n")
                && all.matches("why: ").count() == 2
        );
    }
}
