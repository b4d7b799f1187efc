//! What people are told when a data path that is followed is not what it was.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    follow::{
        notes::{Note, Report},
        watch::change::{Change, Subject, What},
    },
    kernel::netlink::link::Link,
    model::{
        child::Child, claims, description::Degraded, held::AddressTrouble, master::Master, members::Members,
    },
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

/// Warns once of what these children's devices say of themselves and does not count, or is to be looked at; what was
/// told is `told`.
pub fn claims(
    master: &Master,
    told: &mut BTreeSet<String>,
    (children, members): (&[&Child], &Members),
    report: Report<'_>,
) {
    let name = &master.name;
    let claims = claims::claims(master, children, members).into_iter();
    let now: BTreeSet<String> = claims.map(|(mac, degraded)| format!("{name}: {mac}: {degraded}")).collect();
    now.difference(told).for_each(|line| report(Note::Warning(line.clone())));
    *told = now;
}

/// What is different about these children between two looks at whom the data path of their master knows: whose
/// MACs have come to be elsewhere and whose are back, and who reaches the host of late and who no longer.
pub fn differing(master: &Master, (before, now): (&Members, &Members), children: &[&Child]) -> Vec<Change> {
    let mut changes = Vec::new();
    for child in children {
        let mut note = |what| {
            let (master, link) = (master.index, master.name.clone());
            let subject = Subject::Child { master, link, child: Box::new((*child).clone()) };
            changes.push(Change { what, subject });
        };
        let [was_elsewhere, is_elsewhere] =
            [before, now].map(|members| members.elsewhere.contains(&child.mac));
        if was_elsewhere != is_elsewhere {
            note(if is_elsewhere { What::Elsewhere } else { What::Here });
        }
        let access = |members: &Members| Some(members.policies.get(&child.mac)?.host_access());
        if let (Some(was), Some(is)) = (access(before), access(now))
            && was != is
        {
            note(What::HostAccess(is));
        }
    }
    changes
}

/// What is different about the addresses of these children of the master that is `link`: which ones others claim, and for
/// whose there is no room.
pub fn address_trouble(
    link: &Link,
    (before, now): (&AddressTrouble, &AddressTrouble),
    children: &[&Child],
) -> Vec<Change> {
    let mut changes = Vec::new();
    for child in children {
        let of_child = |trouble: &AddressTrouble| -> BTreeSet<IpAddr> {
            let own = trouble.contested.iter().filter(|(mac, _)| *mac == child.mac);
            own.map(|(_, address)| *address).collect()
        };
        let (was, is) = (of_child(before), of_child(now));
        let contested = is.difference(&was).map(|address| What::Contested(*address));
        let uncontested = was.difference(&is).map(|address| What::Uncontested(*address));
        let room = room(before.full.contains(&child.mac), now.full.contains(&child.mac));
        for what in contested.chain(uncontested).chain(room) {
            let (master, link) = (link.index, link.name.clone());
            let subject = Subject::Child { master, link, child: Box::new((*child).clone()) };
            changes.push(Change { what, subject });
        }
    }
    let of_all = room(before.is_table_full, now.is_table_full);
    changes.extend(of_all.map(|what| Change { what, subject: Subject::Device(Box::new(link.clone())) }));
    changes
}

fn room(was_full: bool, is_full: bool) -> Option<What> {
    (was_full != is_full).then_some(if is_full { What::AddressesFull } else { What::AddressesFit })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use macvlan_common::{
        child::{Mode, Policy},
        mac::Mac,
    };

    use super::*;
    use crate::{kernel::master_key::MasterKey, kernel::netns::Netns};

    #[test]
    fn what_the_programs_learn_and_others_set_is_told_of_known_children() {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let (web, stranger) =
            (Child::example("web", mac), Child::example("other", Mac::new([2, 0, 0, 0, 0, 2])));
        let members = |on: bool, elsewhere: &[Mac]| Members {
            policies: [(mac, Policy::new(Mode::Bridge, on))].into(),
            elsewhere: BTreeSet::from_iter(elsewhere.iter().copied()),
            ..Members::default()
        };
        let master = Master {
            name: "eth0".into(),
            index: 1,
            mac: Mac::new([2, 0, 0, 0, 0, 9]),
            mtu: 1500,
            kind: None,
            up: true,
            carrier: true,
            netns: Netns::current().unwrap(),
            key: MasterKey::of(1).unwrap(),
        };
        let told = |before: &Members, now: &Members| -> Vec<What> {
            differing(&master, (before, now), &[&web, &stranger])
                .into_iter()
                .map(|change| change.what)
                .collect()
        };
        let all = [members(true, &[]), members(false, &[mac])];
        assert_eq!(told(&all[0], &all[1]), [What::Elsewhere, What::HostAccess(false)]);
        assert_eq!(told(&all[1], &all[0]), [What::Here, What::HostAccess(true)]);
        assert!(told(&all[0], &all[0]).is_empty());
        // Whom it knows of late only has no difference.
        assert!(told(&Members::default(), &all[0]).is_empty());
    }

    #[test]
    fn trouble_with_addresses_is_told_when_it_comes_and_when_it_goes() {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let (web, other) =
            (Child::example("web", mac), Child::example("other", Mac::new([2, 0, 0, 0, 0, 2])));
        let ip: IpAddr = [10, 9, 0, 1].into();
        let trouble =
            AddressTrouble { contested: [(mac, ip)].into(), full: [mac].into(), is_table_full: true };
        let (none, link) =
            (AddressTrouble::default(), Link { index: 1, name: "eth0".into(), ..Link::default() });
        let told = |before, now| -> Vec<String> {
            let changes = address_trouble(&link, (before, now), &[&web, &other]);
            changes.iter().map(ToString::to_string).collect()
        };
        let comes = told(&none, &trouble);
        assert_eq!(comes.len(), 3, "{comes:?}");
        assert!(
            comes[0].contains("\"web\"") && comes[0].ends_with("has 10.9.0.1, which another one claims, too")
        );
        let goes = told(&trouble, &none);
        assert_eq!(goes.len(), 3, "{goes:?}");
        assert!(goes[2].starts_with("eth0: device has room"), "{goes:?}");
        assert!(told(&trouble, &trouble).is_empty());
    }

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
