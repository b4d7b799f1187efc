//! A hundred containers at once.

use std::{collections::BTreeSet, thread};

use macvlan_tests::{
    cli::Ran,
    cni::{Call, feed, network, plugin, reserved, station},
    control::members,
    lab::Lab,
    needs,
    netns::Netns,
    require,
    talk::ping,
};

const CONTAINERS: usize = 100;

/// Runtimes start several containers at a time, not all.
const AT_ONCE: usize = 10;

#[test]
fn a_hundred_containers_come_and_go_exactly() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let nss: Vec<Netns> = (0..CONTAINERS).map(|_| Netns::new()).collect();
    let calls: Vec<Call<'_>> = nss
        .iter()
        .enumerate()
        .map(|(number, ns)| Call::new(plugin(), &format!("c{number}"), ns, network("1.0.0")))
        .collect();
    let results: Vec<_> = at_once(&lab, &calls, "ADD").iter().map(Ran::json).collect();
    let added: Vec<_> = nss.iter().zip(&results).map(|(ns, result)| station(ns, result)).collect();
    let macs: BTreeSet<_> = added.iter().map(|container| container.mac).collect();
    let addresses: BTreeSet<_> = added.iter().map(|container| container.ip).collect();
    assert_eq!((macs.len(), addresses.len()), (CONTAINERS, CONTAINERS));
    assert_eq!(members(&lab), macs);
    assert_eq!(reserved(&lab).len(), CONTAINERS);
    for container in [&added[0], &added[CONTAINERS - 1]] {
        assert!(ping(&lab.host, container.ip.into()));
    }
    at_once(&lab, &calls, "DEL");
    assert!(members(&lab).is_empty());
    assert!(reserved(&lab).is_empty());
}

/// Runs a verb of all calls, several at a time, and gives what they did in their order.
#[track_caller]
fn at_once(lab: &Lab, calls: &[Call<'_>], verb: &str) -> Vec<Ran> {
    let batches = calls.chunks(CONTAINERS / AT_ONCE).map(|calls| {
        let runs = calls.iter().map(|call| (call.command(lab, verb), call.config.to_string().into_bytes()));
        runs.collect::<Vec<_>>()
    });
    let batches: Vec<_> = batches.collect();
    thread::scope(|scope| {
        let start = |runs: Vec<(_, _)>| {
            let run = |(command, input)| feed(command, input).succeeded();
            scope.spawn(move || runs.into_iter().map(run).collect::<Vec<_>>())
        };
        let running: Vec<_> = batches.into_iter().map(start).collect();
        let join = |batch: thread::ScopedJoinHandle<'_, _>| {
            batch.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        };
        running.into_iter().flat_map(join).collect()
    })
}
