//! `demo`: a lab of its own, what plain macvlan cannot do in it, and what attach makes of it.
//!
//! The namespaces have no names: they live as long as this process holds them open, so nothing of
//! the lab can be left behind, however the process ends.

mod demo_lab;

use std::{
    io::{IsTerminal as _, Write, stdout},
    time::Duration,
};

use anyhow::Result;
use macvlan_core::{
    commands::{attach::attach, detach::detach, stats::stats},
    discovery::{access::Access, containers::Containers},
    model::{
        options::{MissingChoice, Options},
        request::AttachRequest,
        stats::MasterStats,
    },
};

use crate::{
    demo::demo_lab::{DemoLab, Role},
    lab::{cables::on, ping::is_answered},
};

/// Name of the master in the lab.
const MASTER: &str = "eth0";

/// How long to wait for an answer: ages, on veth.
const PATIENCE: Duration = Duration::from_millis(700);

/// What is shown, in this order: who asks whom.
const QUESTIONS: [(Role, Role); 6] = [
    (Role::Host, Role::Web),
    (Role::Host, Role::Db),
    (Role::Web, Role::Host),
    (Role::Db, Role::Host),
    (Role::Web, Role::Db),
    (Role::Wire, Role::Web),
];

/// Builds the lab, shows it, and takes it down.
///
/// # Errors
///
/// When a namespace or a device cannot be made, or an answer is not as it must be.
pub fn demo(out: &mut dyn Write) -> Result<()> {
    let lab = DemoLab::build(MASTER)?;
    let shown = show(&lab, out);
    // Also after a failure: pins outlive namespaces.
    let detached = on(&lab.at(Role::Host).netns, async || detach(MASTER, false, Access::Change).await);
    let as_expected = shown?;
    detached?;
    if !as_expected {
        anyhow::bail!("the lab did not answer as it should: see the marks above");
    }
    Ok(())
}

fn show(lab: &DemoLab, out: &mut dyn Write) -> Result<bool> {
    writeln!(
        out,
        "A host, two macvlan children in namespaces of their own, a machine on the wire:\n\n{PICTURE}\n"
    )?;
    writeln!(out, "Plain kernel macvlan:")?;
    let plain = ask_all(lab, false, out)?;

    writeln!(out, "\n$ macvlan-ctl attach {MASTER}\n")?;
    let options = Options { on_missing_bpf: Some(MissingChoice::Fail), ..Options::default() };
    let request = AttachRequest { options, ..AttachRequest::default() };
    on(&lab.at(Role::Host).netns, async || attach(MASTER, &request).await)?;
    let attached = ask_all(lab, true, out)?;

    writeln!(out, "\nNo address, route or MAC was changed. What was counted on {MASTER}:\n")?;
    let counted =
        on(&lab.at(Role::Host).netns, async || stats(Some(MASTER), &mut Containers::default()).await)?;
    print_counters(&counted, out)?;
    writeln!(out, "\n{PATHS}")?;
    Ok(plain && attached)
}

/// Asks every question and marks the answers; whether all were as they must be.
fn ask_all(lab: &DemoLab, attached: bool, out: &mut dyn Write) -> Result<bool> {
    let mut as_expected = true;
    for (from, to) in QUESTIONS {
        let with_host = from == Role::Host || to == Role::Host;
        let answered = is_answered(&lab.at(from).netns, to.address().into(), PATIENCE)?;
        as_expected &= answered == (attached || !with_host);
        let (mark, text) =
            if answered { (paint("ok", "32"), "answers") } else { (paint("--", "31"), "does not answer") };
        writeln!(
            out,
            "  {mark}  {:4} pings {:4}  {:10}  {text}",
            from.name(),
            to.name(),
            to.address().to_string()
        )?;
    }
    Ok(as_expected)
}

fn print_counters(masters: &[MasterStats], out: &mut dyn Write) -> Result<()> {
    writeln!(out, "  child  path     received   sent   (frames)")?;
    for child in masters.iter().flat_map(|master| &master.children) {
        for (path, counted) in [("wire", child.wire), ("host", child.host)] {
            let counted = counted.unwrap_or_default();
            writeln!(
                out,
                "  {:5}  {path:7}  {:8}  {:5}",
                child.ifname, counted.rx.packets, counted.tx.packets
            )?;
        }
    }
    Ok(())
}

fn paint(text: &str, colour: &str) -> String {
    let wanted = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

const PICTURE: &str = "
     host 10.98.0.1      web 10.98.0.11      db 10.98.0.12
        |                   |                   |
        |                macvlan             macvlan
        |                   |                   |
      [ eth0 ]--------------+-------------------+
        |
      wire 10.98.0.2";

const PATHS: &str = "\
How: a frame between host and child would leave through eth0 and be lost. The
program at eth0's TC egress turns it back into eth0's own ingress, and the
kernel's macvlan delivers it by its MAC:

     host --> [ TC egress ] --> wire                 wire --> [ demux ] --> host
                   |  turned around                               |
                   +------------> [ TC ingress ] --> [ macvlan ] -+--> web, db";
