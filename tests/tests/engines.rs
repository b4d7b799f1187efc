//! Real Docker and Podman, and the containers they put on a macvlan network of the master.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use macvlan_common::mac::Mac;
use macvlan_tests::{
    cli,
    control::{members, status},
    engine::{Container, Engine, Kind},
    fail::{OrFail as _, wait_for},
    following::Following,
    lab::{Family, Lab},
    needs, require,
    talk::{is_silent, ping, ping_within, tcp_transfer},
};
use serde_json::{Value, json};

const ENGINES: [Kind; 2] = [Kind::Docker, Kind::Podman];

/// What a user waits without wondering.
const SOON: Duration = Duration::from_secs(1);

const WEB: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 20);
const DB: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 21);

#[test]
fn docker_containers_reach_the_host_and_are_named() {
    needs!(require::lab, require::binary, require::docker);
    containers_reach_the_host_and_are_named(Kind::Docker);
}

#[test]
fn podman_containers_reach_the_host_and_are_named() {
    needs!(require::lab, require::binary, require::podman);
    containers_reach_the_host_and_are_named(Kind::Podman);
}

#[track_caller]
fn containers_reach_the_host_and_are_named(kind: Kind) {
    let lab = Lab::new();
    let engine = Engine::start(kind, &lab);
    let web = engine.run("web", WEB);
    assert!(ping(&lab.wire, WEB.into()));
    assert!(is_silent(&lab.host, WEB.into()));
    assert!(is_silent(&web.station, lab.host.ip.into()));

    lab.ctl(&["attach", "eth0"]).succeeded();
    talks_with_the_host(&lab, &web);
    is_named(&lab, kind, &web);

    let db = engine.run("db", DB);
    assert!(is_silent(&lab.host, DB.into()));
    lab.ctl(&["attach", "eth0"]).succeeded();
    for container in [&web, &db] {
        talks_with_the_host(&lab, container);
        is_named(&lab, kind, container);
    }
    names_people_know(&lab, kind, &web, &db);
    engine.rename("db", "shop");
    is_named(&lab, kind, &Container { name: "shop".into(), ..db });
}

/// Every command takes the name that `status` shows, and whatever else the container is known by.
#[track_caller]
fn names_people_know(lab: &Lab, kind: Kind, web: &Container, db: &Container) {
    let engine = kind.as_str();
    let access = |at: &Container| child_at(&status(lab), at.station.mac)["sibling_access"].clone();
    let names = [
        web.name.clone(),
        format!("{engine}:{}", web.name),
        web.id.clone(),
        web.id[..12].to_owned(),
        web.station.mac.to_string(),
        web.station.ip.to_string(),
        format!("eth0,netns={}", web.name),
        format!("eth0,netns={engine}:{}", web.name),
    ];
    for name in names {
        for (word, on) in [("off", false), ("on", true)] {
            lab.ctl(&["child", "set", "eth0", &format!("{name},sibling-access={word}")]).succeeded();
            assert_eq!((access(web), access(db)), (on.into(), true.into()), "{name}");
        }
    }
    let refused = lab.ctl(&["child", "set", "eth0", "eth0,sibling-access=off"]);
    for container in [web, db] {
        let candidate = format!("eth0 ({}, {engine}:{})", container.station.mac, container.name);
        assert!(refused.failed(1).contains(&candidate), "{}", refused.report());
    }
    let traced = lab.ctl(&["trace", "eth0", "--child", "nobody"]);
    assert!(traced.failed(1).contains("no such child"), "{}", traced.report());
}

#[test]
fn podman_is_asked_at_its_socket() {
    needs!(require::lab, require::binary, require::podman);
    let lab = Lab::new();
    let engine = Engine::start(Kind::Podman, &lab);
    let web = engine.run("web", WEB);
    engine.serve();
    // Podman has mounts of its own, with its files.
    lab.mounts().hide("/var/lib/containers");
    lab.ctl(&["attach", "eth0"]).succeeded();
    is_named(&lab, Kind::Podman, &web);
}

#[test]
fn a_container_whose_processes_cannot_be_seen_is_named_by_its_engine() {
    needs!(require::lab, require::binary, require::docker, require::podman);
    for kind in ENGINES {
        let lab = Lab::new();
        let engine = Engine::start(kind, &lab);
        let web = engine.run("web", WEB);
        if kind == Kind::Podman {
            engine.serve();
            lab.mounts().hide("/var/lib/containers");
        }
        lab.ctl(&["attach", "eth0"]).succeeded();

        // As in a container that shares the host's network and nothing else.
        let mut alone = lab.command(&lab.host.ns, "unshare");
        alone.args(["--pid", "--fork", "--mount-proc"]).arg(cli::binary()).args(["-j", "status", "eth0"]);
        let told = cli::output(&mut alone).succeeded().json();
        let expected = json!({"engine": kind.as_str(), "id": web.id, "name": "web"});
        assert_eq!(child_at(&told[0], web.station.mac)["container"], expected, "{told:#}");
    }
}

#[test]
fn an_engine_leaves_nothing_when_a_test_fails() {
    needs!(require::lab, require::docker, require::podman);
    for kind in ENGINES {
        let lab = Lab::new();
        let engine = Engine::start(kind, &lab);
        let _web = engine.run("web", WEB);
        let traces = engine.traces();
        // The container in its cgroup, its monitor, and the keeper of it all.
        assert!(traces.len() > 3, "{traces:?}");

        let failed = thread::spawn(move || {
            let _engine = engine;
            panic!("as a test that fails");
        });
        assert!(failed.join().is_err());

        for trace in traces {
            wait_for(format_args!("{} to go", trace.display()), || (!trace.exists()).then_some(()));
        }
    }
}

#[test]
fn a_new_container_and_the_host_reach_each_other_within_a_second() {
    needs!(require::lab, require::binary, require::docker, require::podman);
    for kind in ENGINES {
        let lab = Lab::new();
        let engine = Engine::start(kind, &lab);
        let _follower = Following::start(&lab, &[&lab.host.dev]);

        engine.launch("web", WEB);
        let start = Instant::now();
        wait_for("the container to answer", || answers_anew(&lab).then_some(()));
        let taken = start.elapsed();
        assert!(taken < SOON, "{kind:?} took {taken:?}");

        let web = engine.find("web", WEB);
        talks_with_the_host(&lab, &web);
        is_named(&lab, kind, &web);
    }
}

#[test]
fn a_container_that_was_removed_is_forgotten() {
    needs!(require::lab, require::binary, require::docker, require::podman);
    for kind in ENGINES {
        let lab = Lab::new();
        let engine = Engine::start(kind, &lab);
        let follower = Following::start(&lab, &[&lab.host.dev]);
        let (web, db) = (engine.run("web", WEB).station.mac, engine.run("db", DB).station.mac);
        wait_for_members(&lab, &[web, db]);
        // Long after its namespace came, its engine knows.
        let known_by = format!("child \"eth0\" in container {}:web ({web}", kind.as_str());
        follower.wait_for_line(&known_by);

        engine.remove("web");
        let removed = format!("{known_by}, bridge) removed");
        follower.wait_for_line(&removed);

        wait_for_members(&lab, &[db]);
        assert!(ping(&lab.host, DB.into()));
        engine.remove("db");
        wait_for_members(&lab, &[]);
        assert_eq!(status(&lab)["children"], json!([]));
    }
}

#[test]
fn a_container_that_was_restarted_reaches_the_host_again() {
    needs!(require::lab, require::binary, require::docker, require::podman);
    for kind in ENGINES {
        let lab = Lab::new();
        let engine = Engine::start(kind, &lab);
        let _follower = Following::start(&lab, &[&lab.host.dev]);
        let before = engine.run("web", WEB);
        talks_with_the_host(&lab, &before);
        lab.ctl(&["child", "set", "eth0", "web,ra=off,rate-tx=5gbit"]).succeeded();
        // Its namespace would live on.
        drop(before.station);

        engine.restart("web");

        let after = engine.find("web", WEB);
        wait_for_members(&lab, &[after.station.mac]);
        let told = wait_for("its engine to name it", || {
            let told = child_at(&status(&lab), after.station.mac).clone();
            (told["unsettled"] == false).then_some(told)
        });
        assert_eq!(
            (&told["ra"], &told["rate_tx"]["bits"]),
            (&json!(false), &json!(5_000_000_000_u64)),
            "{kind:?}"
        );
        lab.host.ns.ip("neigh flush all");
        talks_with_the_host(&lab, &after);
        is_named(&lab, kind, &after);
    }
}

#[test]
fn a_container_that_changed_its_mac_reaches_the_host_again() {
    needs!(require::lab, require::binary, require::docker, require::podman);
    let new = Mac::new([0x02, 0, 0, 0, 7, 7]);
    for kind in ENGINES {
        let lab = Lab::new();
        let engine = Engine::start(kind, &lab);
        let _follower = Following::start(&lab, &[&lab.host.dev]);
        let mut web = engine.run("web", WEB);
        talks_with_the_host(&lab, &web);

        web.station.ns.ip(&format!("link set eth0 address {new}"));

        web.station.mac = new;
        wait_for_members(&lab, &[new]);
        lab.host.ns.ip("neigh flush all");
        talks_with_the_host(&lab, &web);
        is_named(&lab, kind, &web);
    }
}

/// Whether the container answers the host, asked as if for the first time: a lost ARP request would
/// be sent again only after a second (`retrans_time_ms`).
fn answers_anew(lab: &Lab) -> bool {
    lab.host.ns.ip("neigh flush all");
    ping_within(&lab.host, WEB.into(), Duration::from_millis(100))
}

#[track_caller]
fn wait_for_members(lab: &Lab, macs: &[Mac]) {
    let wanted: BTreeSet<Mac> = macs.iter().copied().collect();
    wait_for(format_args!("the children {macs:?}"), || (members(lab) == wanted).then_some(()));
}

#[track_caller]
fn talks_with_the_host(lab: &Lab, container: &Container) {
    const BYTES: usize = 1 << 20;
    assert!(ping(&lab.host, container.station.ip.into()));
    assert!(ping(&container.station, lab.host.ip.into()));
    tcp_transfer(&lab.host, &container.station, Family::V4, BYTES);
    tcp_transfer(&container.station, &lab.host, Family::V4, BYTES);
}

#[track_caller]
fn is_named(lab: &Lab, kind: Kind, container: &Container) {
    let Container { id, name, station } = container;
    let expected = json!({"engine": kind.as_str(), "id": id, "name": name});
    for command in [&["-j", "status", "eth0"][..], &["-j", "stats", "eth0"]] {
        let told = lab.ctl(command).succeeded().json();
        assert_eq!(child_at(&told[0], station.mac)["container"], expected, "{told:#}");
    }
    for command in [&["status", "eth0"][..], &["child", "list", "eth0"], &["stats", "eth0"]] {
        let table = lab.ctl(command).succeeded().stdout;
        assert!(table.contains(&format!("{}:{name} ", kind.as_str())), "{table}");
    }
}

/// The child with this MAC: in containers, all have the same name.
#[track_caller]
fn child_at(master: &Value, mac: Mac) -> &Value {
    let mut children = master["children"].as_array().into_iter().flatten();
    children.find(|child| child["address"] == mac.to_string()).or_fail(format!("find {mac} in {master:#}"))
}
