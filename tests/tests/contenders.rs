//! What `bench` compares us with, each way to join containers as it is built there: it carries frames on
//! every path that is measured of it, or this kernel lacks it.

use macvlan_bench::bench::{
    contender::{CONTENDERS, Contender, Wiring},
    contender_lab::ContenderLab,
    crowd::{Crowd, Joined},
    path::PATHS,
};
use macvlan_tests::{fail::OrFail as _, needs, require};

#[test]
fn what_is_compared_carries_frames_on_each_of_its_paths_or_is_not_in_this_kernel() {
    needs!(require::lab);
    for contender in CONTENDERS.iter().filter(|contender| !contender.is_ours()) {
        match (ContenderLab::build(contender), lacking(contender)) {
            (Ok(lab), Ok(())) => check(contender, &lab),
            (Err(error), Err(lacking)) => println!("{}: {error:#}; {lacking}", contender.name),
            (Ok(_), Err(lacking)) => panic!("{} is built, with {lacking}", contender.name),
            (Err(error), Ok(())) => panic!("cannot build {}: {error:#}", contender.name),
        }
    }
}

#[test]
fn many_are_connected_either_way() {
    needs!(require::lab);
    for joined in [Joined::Macvlan, Joined::Bridge] {
        let crowd = Crowd::build(joined, 5).or_fail(format!("connect five: {joined:?}"));
        drop(crowd);
    }
}

/// What a contender needs of the kernel that not every kernel has.
fn lacking(contender: &Contender) -> Result<(), String> {
    match contender.wiring {
        Wiring::Ipvlan => require::ipvlan(),
        Wiring::Bridge { netfilter: true } => require::bridge_netfilter(),
        _ => Ok(()),
    }
}

#[track_caller]
fn check(contender: &Contender, lab: &ContenderLab) {
    let mut paths = Vec::new();
    for path in PATHS.into_iter().filter(|path| contender.carries(*path)) {
        lab.wait_for(path).or_fail(format!("send through {}", contender.name));
        paths.push(path.as_str());
    }
    println!("{}: {}", contender.name, paths.join(", "));
}
