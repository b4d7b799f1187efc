//! What programs get that process frames themselves: frames that they receive and send, and how soon they answer.

use anyhow::Result;

use crate::bench::{
    contender::Described,
    effort::Effort,
    path::Path,
    quantity,
    rounds::Cell,
    run::Run,
    user_space::{WAYS, Way, measured::Measured},
};

/// How many measurements it takes.
pub fn steps(effort: &Effort) -> usize {
    if effort.quick || !takes_part(effort) { 0 } else { 3 * WAYS.len() * (effort.rounds.sockets + 1) }
}

/// Ports are ours: a run without us has none.
fn takes_part(effort: &Effort) -> bool {
    effort.contenders.iter().any(|contender| contender.is_ours())
}

/// Measures all three.
pub fn run(run: &mut Run<'_>) {
    if run.effort.quick || !takes_part(run.effort) {
        return;
    }
    let (cpus, frames, time) = (run.cpus, run.effort.frames, run.effort.time);
    let mut labs = Vec::new();
    for way in &WAYS {
        let lab = Measured::build(way);
        let missing = lab.as_ref().err().map(|error| format!("{error:#}"));
        let Way { name, title, is_ours, .. } = *way;
        run.others.push(Described { name, title, ours: is_ours, limit: false, missing });
        labs.extend(lab);
    }
    let rounds = run.effort.rounds.sockets;
    let receive = cells(&labs, |lab| lab.receive(cpus, frames));
    run.measure(&quantity::USER_RECEIVED, Some(Path::WireChild), rounds, receive);
    let send = cells(&labs, |lab| lab.send(cpus, time));
    run.measure(&quantity::USER_SENT, Some(Path::ChildWire), rounds, send);
    let echo = cells(&labs, |lab| lab.echo(cpus, time));
    run.measure(&quantity::USER_ECHO, Some(Path::WireChild), rounds, echo);
}

fn cells<'a>(labs: &'a [Measured], measure: impl Fn(&Measured) -> Result<f64> + Copy + 'a) -> Vec<Cell<'a>> {
    labs.iter().map(|lab| Cell::new(lab.way.name, move || Ok(vec![measure(lab)?]))).collect()
}
