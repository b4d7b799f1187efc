//! What people are told when a data path that is followed is not what it was.

use crate::{
    follow::{
        notes::{Note, Report},
        watch::change::{Change, Subject, What},
    },
    model::{child::Child, description::Degraded, master::Master, members::Members},
};

/// Tells what has become less than the best on the master of this name, and what is well again.
pub fn degraded(name: &str, before: &[Degraded], now: &[Degraded], report: Report<'_>) {
    let lacks = |all: &[Degraded], one: &Degraded| !all.iter().any(|other| other.is_same(one));
    for degraded in now.iter().filter(|degraded| lacks(before, degraded)) {
        report(Note::Warning(format!("{name}: {degraded}")));
    }
    for well in before.iter().filter(|degraded| lacks(now, degraded)) {
        report(Note::Info(format!("{name}: {} is no longer {}", well.feature, well.got)));
    }
}

/// Tells whose MACs have come to be elsewhere between two looks, and whose are back.
pub fn places(master: &Master, (before, now): (&Members, &Members), children: &[&Child], report: Report<'_>) {
    for mac in before.elsewhere.symmetric_difference(&now.elsewhere) {
        let Some(child) = children.iter().find(|child| child.mac == *mac) else { continue };
        let what = if now.elsewhere.contains(mac) { What::Elsewhere } else { What::Here };
        let (master, link) = (master.index, master.name.clone());
        let subject = Subject::Child { master, link, child: Box::new((*child).clone()) };
        report(Note::Change(&Change { what, subject }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_told_once_and_a_reason_alone_is_no_change() {
        let part = |got: &str, why: &str| Degraded::new("egress", "reached", got, why);
        let mut told = Vec::new();
        let mut tell = |before: &[Degraded], now: &[Degraded]| {
            degraded("eth0", before, now, &mut |note| match note {
                Note::Warning(text) | Note::Info(text) => told.push(text),
                Note::Change(_) | Note::Forgotten(_) => {}
            });
            std::mem::take(&mut told)
        };
        assert_eq!(tell(&[], &[part("behind 1", "x")]), ["eth0: egress is behind 1 instead of reached: x"]);
        assert!(tell(&[part("behind 1", "x")], &[part("behind 1", "y")]).is_empty());
        assert_eq!(tell(&[part("behind 1", "x")], &[]), ["eth0: egress is no longer behind 1"]);
    }
}
