//! `run`: children that come, change and go, wherever they live.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use macvlan_common::{child::Mode, counters::Path, mac::Mac};
use macvlan_tests::{
    attached::Attached,
    control::{child, members, names_of, spec, status},
    fail::wait_for,
    following::Following,
    lab::{Lab, Station},
    needs, require,
    stats::Stats,
    talk::{is_silent, ping},
};
use nix::sys::signal::Signal;

/// How soon the map is to be right after the kernel's event.
const SOON: Duration = Duration::from_millis(50);

#[test]
fn children_that_are_there_and_children_that_come_reach_the_host() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let early = lab.child("early", Mode::Bridge);
    let run = Following::start(&lab, &["eth0"]);
    assert!(ping(&lab.host, early.ip.into()));
    let late = lab.child("late", Mode::Private);
    assert!(ping(&lab.host, late.ip.into()));
    assert!(ping(&late, lab.host.ip.into()));
    run.wait_for_members(&[&early, &late]);
    run.wait_for_line("child \"late\"");
}

#[test]
fn every_change_of_a_child_is_in_the_map_soon() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0"]);
    let mut delays = Vec::new();
    for round in 1..=8 {
        let mut web = lab.child(&format!("web{round}"), Mode::Bridge);
        delays.push(run.wait_for_members(&[&web]));
        web.mac = Mac::new([0x02, 0, 0, 0, 7, round]);
        web.ns.ip_batch([
            format!("link set {} down", web.dev),
            format!("link set {} address {}", web.dev, web.mac),
            format!("link set {} up", web.dev),
        ]);
        delays.push(run.wait_for_members(&[&web]));
        // From one namespace to another: the same child.
        let other = lab.newcomer("other");
        web.ns.ip(&format!("link set {} netns {}", web.dev, other.ns.path().display()));
        run.wait_for_line(&format!("child \"{}\"", web.dev));
        delays.push(run.wait_for_members(&[&web]));
        wait_for("it to move", || run.lines().iter().any(|line| is_move(line, &web.dev)).then_some(()));
        let gone = Instant::now();
        other.ns.ip(&format!("link del {}", web.dev));
        run.wait_for_members(&[]);
        // Deleting takes the kernel an RCU grace period of its own before it says so.
        delays.push(gone.elapsed().saturating_sub(Duration::from_millis(30)));
    }
    delays.sort();
    let median = delays[delays.len() / 2];
    eprintln!("the map was right after {median:?} (median of {}, at most {:?})", delays.len(), delays.last());
    assert!(median < SOON, "{delays:?}");
}

fn is_move(line: &str, name: &str) -> bool {
    line.contains(name) && line.contains("moved from")
}

#[test]
fn a_child_of_ours_stays_ours_wherever_it_moves_while_run_follows() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (web, away) = (lab.newcomer("web"), lab.newcomer("away"));
    let run = Following::start(&lab, &["eth0", "--no-adopt"]);
    lab.ctl(&["child", "add", "eth0", &spec(&web, "")]).succeeded();
    run.wait_for_members(&[&web]);
    web.ns.ip(&format!("link set web netns {}", away.ns.path().display()));
    wait_for("it to move", || run.lines().iter().any(|line| is_move(line, "web")).then_some(()));
    away.ns.ip("link set web up");
    run.wait_for_members(&[&web]);
    assert!(run.end(Signal::SIGTERM).success());
    // Nobody has what run knew but the kernel.
    lab.ctl(&["detach", "eth0"]).succeeded();
    lab.ctl(&["attach", "eth0", "--no-adopt"]).succeeded();
    assert_eq!(members(&lab), BTreeSet::from([web.mac]));
    assert_eq!(child(&status(&lab), "web")["owned"], true);
    lab.ctl(&["child", "del", "eth0", &format!("web,netns={}", away.ns.path().display())]).succeeded();
    assert!(members(&lab).is_empty());
}

#[test]
fn a_child_made_in_a_namespace_without_a_number_is_found() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0"]);
    let web = lab.newcomer("web");
    let resident = web.ns.resident();
    lab.host.ns.ip(&format!(
        "link add web link eth0 address {} netns {} type macvlan mode bridge",
        web.mac,
        resident.pid()
    ));
    let delay = run.wait_for_members(&[&web]);
    eprintln!("found after {delay:?}");
    web.ns.ip_batch([format!("addr add {}/24 dev web", web.ip), "link set web up".to_owned()]);
    assert!(ping(&lab.host, web.ip.into()));
    // From here on its namespace has a number, and is heard.
    web.ns.ip("link del web");
    run.wait_for_members(&[]);
}

#[test]
fn a_namespace_that_dies_takes_its_children_out_of_the_map() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0"]);
    let stays = lab.child("stays", Mode::Bridge);
    let dies = lab.child("dies", Mode::Bridge);
    run.wait_for_members(&[&stays, &dies]);
    drop(dies);
    run.wait_for_members(&[&stays]);
    assert!(ping(&lab.host, stays.ip.into()));
}

#[test]
fn a_new_mode_is_the_policy_once_it_is_asked_for() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0"]);
    let web = lab.child("web", Mode::Bridge);
    assert!(ping(&lab.host, web.ip.into()));
    // A VEPA child's frames are the switch's to turn around, and there is none.
    web.ns.ip("link set web type macvlan mode vepa");
    wait_for("the new mode", || (child(&status(&lab), "web")["mode"] == "vepa").then_some(()));
    assert!(ping(&lab.host, web.ip.into()), "its device says so, and nobody else");
    lab.ctl(&["child", "set", "eth0", "web,mode=vepa"]).succeeded();
    wait_for("silence", || is_silent(&lab.host, web.ip.into()).then_some(()));
    web.ns.ip("link set web type macvlan mode private");
    run.wait_for_line("mode is private instead of vepa");
    assert!(is_silent(&lab.host, web.ip.into()));
    lab.ctl(&["child", "set", "eth0", "web,mode=private"]).succeeded();
    assert!(ping(&lab.host, web.ip.into()));
    run.wait_for_line("has a new mode, it was vepa");
}

#[test]
fn names_and_states_are_told_as_they_are() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    // It has seen the child up then: of what goes up and down while nobody looks, there is nothing to tell.
    let run = Following::start(&lab, &["eth0", "-v"]);
    web.ns.ip("link set web down");
    web.ns.ip("link set web name shop");
    run.wait_for_line("renamed from \"web\"");
    run.wait_for_line(" down");
    let home = lab.child("home", Mode::Bridge);
    run.wait_for_line("child \"home\"");
    run.wait_for_line(&format!("has {}/24", home.ip));
    assert_eq!(names_of(&status(&lab)), ["shop", "home"].map(str::to_owned).into());
}

#[test]
fn what_was_set_for_a_child_stays_through_all_that_happens_to_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0"]);
    let mut web = lab.child("web", Mode::Bridge);
    run.wait_for_members(&[&web]);
    lab.ctl(&["child", "set", "eth0", "web,host-access=off"]).succeeded();
    web.mac = Mac::new([0x02, 0, 0, 0, 7, 1]);
    web.ns.ip_batch([
        "link set web down".to_owned(),
        format!("link set web address {}", web.mac),
        "link set web up".to_owned(),
    ]);
    run.wait_for_members(&[&web]);
    assert_eq!(child(&status(&lab), "web")["host_access"], false);
    run.end(Signal::SIGTERM);
    let run = Following::start(&lab, &["eth0"]);
    assert_eq!(child(&status(&lab), "web")["host_access"], false);
    drop(run);
}

#[test]
fn counters_go_on_when_a_child_comes_back() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let attached = Attached::new(&lab, &[]);
    let run = Following::start(&lab, &["eth0"]);
    let web = lab.child("web", Mode::Bridge);
    run.wait_for_members(&[&web]);
    assert!(ping(&lab.host, web.ip.into()));
    let before = wait_until_still(&attached);
    assert!(before.rx("web", Path::Host).packets > 0);
    web.ns.ip("link del web");
    run.wait_for_members(&[]);
    lab.host.ns.ip(&format!(
        "link add web link eth0 address {} netns {} type macvlan mode bridge",
        web.mac,
        web.ns.path().display()
    ));
    run.wait_for_members(&[&web]);
    let after = attached.stats();
    assert_eq!(after.rx("web", Path::Host), before.rx("web", Path::Host));
    assert_eq!(after.tx("web", Path::Host), before.tx("web", Path::Host));
    web.ns.ip_batch([format!("addr add {}/24 dev web", web.ip), "link set web up".to_owned()]);
    assert!(ping(&lab.host, web.ip.into()));
    assert!(attached.stats().rx("web", Path::Host).packets > before.rx("web", Path::Host).packets);
}

/// The counters once nothing is under way: the same twice.
fn wait_until_still(attached: &Attached<'_>) -> Stats {
    let mut last = attached.stats();
    wait_for("counters to stand still", || {
        std::thread::sleep(Duration::from_millis(50));
        let now = attached.stats();
        let same = now.all() == last.all();
        last = now.clone();
        same.then_some(now)
    })
}

#[test]
fn children_of_others_are_left_alone_where_that_is_asked() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0", "--no-adopt"]);
    let stranger = lab.child("stranger", Mode::Bridge);
    lab.ctl(&["child", "add", "eth0", "own,mac=02:00:00:00:05:01"]).succeeded();
    run.wait_for_macs(&BTreeSet::from([Mac::new([2, 0, 0, 0, 5, 1])]));
    assert!(!members(&lab).contains(&stranger.mac));
}

#[test]
fn a_thousand_children_churn_and_the_map_is_exact() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0", "-q"]);
    let crowd: Vec<Station> = (0..10).map(|number| lab.newcomer(&format!("ns{number}"))).collect();
    let mac = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Mac::new([0x02, 0, 0, 9, high, low])
    };
    let add = |number: u16| {
        let home = crowd[usize::from(number) % crowd.len()].ns.path();
        let name = format!("c{number}");
        // Those of one group are deleted at once: one by one, the kernel takes 20 ms for each.
        let group = if number < 10 { 78 } else { 77 };
        let (mac, home) = (mac(number), home.display());
        format!("link add {name} link eth0 address {mac} group {group} netns {home} type macvlan")
    };
    let mut memory = Vec::new();
    for _ in 0..4 {
        lab.host.ns.ip_batch((0..1000).map(add));
        run.wait_for_macs(&(0..1000).map(mac).collect());
        for home in &crowd {
            home.ns.ip("link del group 77");
        }
        run.wait_for_macs(&(0..10).map(mac).collect());
        for home in &crowd {
            home.ns.ip("link del group 78");
        }
        run.wait_for_macs(&BTreeSet::new());
        let resident = run.proc_status("VmRSS");
        memory.push(resident.trim_end_matches(" kB").parse::<u64>().expect("a number of kB"));
    }
    eprintln!("resident memory after each round: {memory:?} kB");
    // The first two rounds fill the allocator's pools.
    assert!(memory[3] <= memory[1] + memory[1] / 10, "{memory:?} kB");
}

#[test]
fn lost_events_lead_to_a_look_at_everything() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let run = Following::start(&lab, &["eth0", "-q"]);
    let stays = lab.child("stays", Mode::Bridge);
    let goes = lab.child("goes", Mode::Bridge);
    run.wait_for_members(&[&stays, &goes]);
    run.signal(Signal::SIGSTOP);
    goes.ns.ip("link del goes");
    // Far more than the socket holds.
    let toggles = (0..12_000).map(|number| format!("link set stays mtu {}", 1400 + number % 2));
    stays.ns.ip_batch(toggles);
    let comes = lab.child("comes", Mode::Private);
    run.signal(Signal::SIGCONT);
    run.wait_for_members(&[&stays, &comes]);
    run.wait_for_line("looked at everything");
    assert!(ping(&lab.host, comes.ip.into()));
}
