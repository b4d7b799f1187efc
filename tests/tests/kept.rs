//! Settings come back with a container, which is a fact; with a MAC, which it may claim, comes nothing looser.

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    attached::Attached,
    control::{make_older, members},
    fail::{OrFail as _, wait_for},
    fake_engine::FakeEngine,
    following::Following,
    http::get,
    lab::{Lab, Station},
    leak::{Traces, pins},
    needs, require,
    talk::{is_silent, ping},
};
use serde_json::{Value, json};

const STRICT: &str =
    "host-access=off,sibling-access=off,anti-spoof=mac,ra=off,dhcp-server=off,rate-tx=10mbit";

/// What `status` says of the settings of a child.
const KEYS: [&str; 7] =
    ["host_access", "sibling_access", "anti_spoof", "ra", "dhcp_server", "rate_tx", "host_control"];

#[track_caller]
fn shown(lab: &Lab, child: &Station) -> Value {
    let status = lab.ctl(&["-j", "status", &lab.host.dev]).succeeded().json();
    let children = status[0]["children"].as_array().or_fail("list children");
    let found = children.iter().find(|shown| shown["address"] == child.mac.to_string());
    found.or_fail(format!("find {} in {status:#}", child.mac)).clone()
}

#[track_caller]
fn settings(lab: &Lab, child: &Station) -> Vec<Value> {
    let shown = shown(lab, child);
    KEYS.iter().map(|key| shown[key].clone()).collect()
}

/// A container's device on the master, in a namespace of its own. Its engine does not list it yet.
#[track_caller]
fn begin(lab: &Lab) -> Station {
    lab.child("mv0", Mode::Bridge)
}

/// The same with a MAC of its choice.
#[track_caller]
fn begin_with(lab: &Lab, mac: Mac) -> Station {
    let station = Station { mac, ..lab.newcomer("mv0") };
    lab.host.ns.ip(&format!(
        "link add mv0 link {} address {mac} netns {} type macvlan mode bridge",
        lab.host.dev,
        station.ns.path().display()
    ));
    station.ns.ip(&format!("addr add {}/24 dev mv0", station.ip));
    station.ns.ip("link set mv0 up");
    station
}

/// A container that its engine lists.
#[track_caller]
fn run(lab: &Lab, engine: &FakeEngine<'_>, name: &str) -> Station {
    let station = begin(lab);
    list(engine, name, &station);
    station
}

#[track_caller]
fn list(engine: &FakeEngine<'_>, name: &str, station: &Station) {
    engine.add(name, "nginx:1", "\"tier\":\"front\"", &station.ns);
}

/// The end of a container.
#[track_caller]
fn stop(engine: &FakeEngine<'_>, name: &str, station: &Station) {
    engine.remove(name);
    station.ns.ip("link del mv0");
}

#[track_caller]
fn set(lab: &Lab, child: &str, setting: &str) {
    lab.ctl(&["child", "set", &lab.host.dev, &format!("{child},{setting}")]).succeeded();
}

#[track_caller]
fn attach(lab: &Lab) {
    lab.ctl(&["attach", &lab.host.dev]).succeeded();
}

#[track_caller]
fn readdress(child: &mut Station, mac: Mac) {
    for change in ["down".to_owned(), format!("address {mac}"), "up".to_owned()] {
        child.ns.ip(&format!("link set mv0 {change}"));
    }
    child.mac = mac;
}

#[track_caller]
fn wait_until_settled(lab: &Lab, child: &Station) {
    wait_for("its settings", || {
        let is_there = members(lab).contains(&child.mac);
        (is_there && shown(lab, child)["unsettled"] == false).then_some(())
    });
}

#[test]
fn a_container_that_restarts_under_run_keeps_what_was_set() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::new();
    let engine = FakeEngine::start(&lab);
    let mut web = run(&lab, &engine, "web");
    let mut followed = Following::start(&lab, &[&lab.host.dev]);
    followed.wait_for_members(&[&web]);
    set(&lab, "docker:web", STRICT);
    let before = settings(&lab, &web);
    assert_eq!(before[..2], [json!(false), json!(false)]);
    for is_run_restarted in [false, true] {
        stop(&engine, "web", &web);
        followed.wait_for_members(&[]);
        if is_run_restarted {
            drop(followed);
            followed = Following::start(&lab, &[&lab.host.dev]);
        }
        web = begin(&lab);
        followed.wait_for_members(&[&web]);
        // It may be any container, and web is one.
        let meanwhile = shown(&lab, &web);
        assert_eq!((&meanwhile["unsettled"], &meanwhile["host_access"]), (&json!(true), &json!(false)));
        assert!(is_silent(&lab.host, web.ip.into()));
        list(&engine, "web", &web);
        wait_until_settled(&lab, &web);
        assert_eq!(settings(&lab, &web), before);
        assert!(is_silent(&lab.host, web.ip.into()));
        if is_run_restarted {
            // It saw when it started that there are guards, and kept what it takes to put them on devices. A path
            // to the namespace may vanish meanwhile, so what counts is where they are in the end.
            wait_for("its guards on its device", || {
                let status = lab.ctl(&["-j", "status", &lab.host.dev]).succeeded().json();
                let degraded = status[0]["degraded"].as_array()?;
                degraded.iter().all(|one| one["feature"] != "anti-spoof").then_some(())
            });
        }
    }
    // While web is there, nobody else can be web.
    let db = run(&lab, &engine, "db");
    followed.wait_for_members(&[&web, &db]);
    assert_eq!(shown(&lab, &db)["unsettled"], false);
    assert!(ping(&lab.host, db.ip.into()));
    // What is set anew is what comes back, also when that is nothing.
    set(&lab, "web", "host-access=on,sibling-access=on,anti-spoof=off,ra=on,dhcp-server=on,rate-tx=off");
    stop(&engine, "web", &web);
    followed.wait_for_members(&[&db]);
    web = run(&lab, &engine, "web");
    followed.wait_for_members(&[&web, &db]);
    assert!(ping(&lab.host, web.ip.into()));
    assert_eq!(settings(&lab, &web), settings(&lab, &db));
}

#[test]
fn a_container_that_restarts_under_bare_attach_keeps_what_was_set() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::new();
    let engine = FakeEngine::start(&lab);
    let mut web = run(&lab, &engine, "web");
    let _attached = Attached::new(&lab, &[]);
    set(&lab, "web", STRICT);
    let before = settings(&lab, &web);
    for is_upgraded in [false, true] {
        stop(&engine, "web", &web);
        web = run(&lab, &engine, "web");
        assert_eq!(shown(&lab, &web)["adopted"], false, "it does not reach the host before");
        if is_upgraded {
            make_older(&lab);
        }
        // The second time changes nothing.
        for _ in 0..2 {
            attach(&lab);
            assert_eq!(settings(&lab, &web), before, "upgraded: {is_upgraded}");
        }
        assert!(is_silent(&lab.host, web.ip.into()));
    }
    // Renamed, it is the same still.
    stop(&engine, "web", &web);
    attach(&lab);
    web = begin(&lab);
    engine.add_renamed("web", "shop", &web.ns);
    attach(&lab);
    assert_eq!(settings(&lab, &web), before);
    stop(&engine, "shop", &web);
    // Without its engine, nobody is let in for it.
    engine.set_silent(true);
    web = begin(&lab);
    let warned = lab.ctl(&["attach", &lab.host.dev]).succeeded().stderr;
    assert!(warned.contains("settings hang on containers that are not known"), "{warned}");
    let told = shown(&lab, &web);
    assert_eq!((&told["unsettled"], &told["host_access"]), (&json!(true), &json!(false)));
    let refused = lab.ctl(&["child", "set", &lab.host.dev, &format!("{},ra=on", web.mac)]);
    assert!(
        refused.failed(1).contains("is not known, and its settings hang on that"),
        "{}",
        refused.report()
    );
    engine.set_silent(false);
    list(&engine, "db", &web);
    attach(&lab);
    assert_eq!(shown(&lab, &web)["unsettled"], false);
    assert!(ping(&lab.host, web.ip.into()), "it is another container");
}

#[test]
fn a_container_with_the_mac_of_another_has_nothing_looser_than_its_own() {
    needs!(require::lab, require::tcx, require::binary);
    for is_followed in [false, true] {
        let lab = Lab::new();
        let engine = FakeEngine::start(&lab);
        let [free, mut evil, mut plain] = ["free", "evil", "plain"].map(|name| run(&lab, &engine, name));
        let _attached = (!is_followed).then(|| Attached::new(&lab, &[]));
        let followed = is_followed.then(|| Following::start(&lab, &[&lab.host.dev]));
        if let Some(followed) = &followed {
            followed.wait_for_members(&[&free, &evil, &plain]);
        }
        let see = |stations: &[&Station]| match &followed {
            None => attach(&lab),
            Some(followed) => {
                followed.wait_for_members(stations);
                stations.iter().for_each(|station| wait_until_settled(&lab, station));
            }
        };
        set(&lab, "free", "host-control=on");
        // It may change its MAC, though it is held to the one that it has.
        set(&lab, "evil", &format!("{STRICT},mac-change=on"));
        let strict = settings(&lab, &evil);
        let default = settings(&lab, &plain);

        // It takes the MAC while its owner is gone, also where nobody saw that go.
        stop(&engine, "free", &free);
        readdress(&mut evil, free.mac);
        see(&[&evil, &plain]);
        assert_eq!(settings(&lab, &evil), strict, "followed: {is_followed}");
        assert!(is_silent(&lab.host, evil.ip.into()));

        // Another takes it after that.
        let third = Mac::new([2, 0, 0, 0, 7, 9]);
        readdress(&mut evil, third);
        see(&[&evil, &plain]);
        assert_eq!(settings(&lab, &evil), strict, "followed: {is_followed}");
        readdress(&mut plain, free.mac);
        see(&[&evil, &plain]);
        assert_eq!(shown(&lab, &plain)["host_control"], false, "followed: {is_followed}");
        if is_followed {
            assert_eq!(settings(&lab, &plain), default);
        }

        // A new container with that MAC from the start.
        stop(&engine, "plain", &plain);
        see(&[&evil]);
        let new = begin_with(&lab, free.mac);
        list(&engine, "new", &new);
        see(&[&evil, &new]);
        assert_eq!(shown(&lab, &new)["host_control"], false, "followed: {is_followed}");
        assert_eq!(shown(&lab, &new)["host_access"], true, "followed: {is_followed}");
        stop(&engine, "new", &new);
        see(&[&evil]);

        // Its owner has its own again.
        let free = run(&lab, &engine, "free");
        see(&[&evil, &free]);
        assert_eq!(shown(&lab, &free)["host_control"], true, "followed: {is_followed}");
    }
}

#[test]
fn what_no_container_has_comes_back_with_its_mac_where_it_is_stricter() {
    needs!(require::lab, require::tcx, require::binary);
    for is_followed in [false, true] {
        let lab = Lab::new();
        let mut web = begin(&lab);
        let _attached = (!is_followed).then(|| Attached::new(&lab, &[]));
        let followed = is_followed.then(|| Following::start(&lab, &[&lab.host.dev]));
        let see = |stations: &[&Station]| match &followed {
            None => attach(&lab),
            Some(followed) => drop(followed.wait_for_members(stations)),
        };
        see(&[&web]);
        set(&lab, &web.mac.to_string(), &format!("{STRICT},host-control=on"));
        let before = settings(&lab, &web);
        web.ns.ip("link del mv0");
        see(&[]);
        web = begin_with(&lab, web.mac);
        see(&[&web]);
        let expected: Vec<Value> = before[..6].iter().cloned().chain([json!(false)]).collect();
        assert_eq!(settings(&lab, &web), expected, "followed: {is_followed}");
    }
}

/// Under bare `attach`, and without a program on its device.
#[test]
fn settings_of_a_device_in_no_container_stay_under_another_mac() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let (mut evil, mut plain) = (begin(&lab), begin(&lab));
    let traces = Traces::of(&lab);
    let attached = Attached::new(&lab, &[]);
    let noted = || pins(&lab).iter().filter(|pin| pin.to_string_lossy().contains("/child_note_")).count();
    assert_eq!(noted(), 0);
    let default = settings(&lab, &plain);
    set(&lab, &evil.mac.to_string(), "host-access=off,sibling-access=off,rate-tx=20mbit");
    let strict = settings(&lab, &evil);
    let first = evil.mac;
    for last in 7..9 {
        readdress(&mut evil, Mac::new([2, 0, 0, 0, 7, last]));
        attach(&lab);
        assert_eq!((settings(&lab, &evil), noted()), (strict.clone(), 1), "{last}");
        assert!(is_silent(&lab.host, evil.ip.into()));
    }
    // Who takes that MAC is somebody else, and may no more than its owner did.
    readdress(&mut plain, first);
    attach(&lab);
    assert_eq!(settings(&lab, &plain)[0], json!(true));
    assert_eq!(settings(&lab, &evil), strict);
    // Another device under that number is another one.
    let index = evil.ns.ifindex("mv0");
    evil.ns.ip("link del mv0");
    evil.mac = Mac::new([2, 0, 0, 0, 7, 99]);
    lab.host.ns.ip(&format!(
        "link add mv0 index {index} link {} address {} netns {} type macvlan mode bridge",
        lab.host.dev,
        evil.mac,
        evil.ns.path().display()
    ));
    evil.ns.ip("link set mv0 up");
    attach(&lab);
    assert_eq!((settings(&lab, &evil), noted()), (default.clone(), 0));
    set(&lab, &evil.mac.to_string(), "host-access=off");
    assert_eq!(noted(), 1);
    set(&lab, &evil.mac.to_string(), "host-access=on");
    assert_eq!((settings(&lab, &evil), noted()), (default, 0));
    set(&lab, &evil.mac.to_string(), "host-access=off");
    attached.detach(&[]).succeeded();
    assert_eq!(Traces::of(&lab).pins, traces.pins);
}

#[test]
fn policies_by_image_and_label_hold_before_a_container_talks_to_the_host() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::new();
    let engine = FakeEngine::start(&lab);
    let config = format!(
        "[[master]]\nname = \"{}\"\n\
         [[master.policy]]\nmatch = {{ image = \"evil:*\" }}\nhost-access = false\n\
         [[master.policy]]\nmatch = {{ label = [\"tier=back\", \"team=*\"] }}\nra = false\nhost-access = true\n\
         [[master.policy]]\nmatch = {{ container = \"docker:web\" }}\nrate-tx = \"10mbit\"\n",
        lab.host.dev
    );
    lab.mounts().enter(|| {
        std::fs::create_dir_all("/run/conf").or_fail("make a directory");
        std::fs::write("/run/conf/config.toml", config).or_fail("write a configuration");
    });
    let args = ["--config", "/run/conf/config.toml"];
    let metrics = "127.0.0.1:10099";
    let old = begin(&lab);
    engine.add("old", "evil:7", "", &old.ns);
    let followed = Following::start(&lab, &[&args[..], &["--metrics", metrics]].concat());
    followed.wait_for_members(&[&old]);
    assert_eq!(shown(&lab, &old)["host_access"], false);
    let unsettled = |child: &Station| {
        let text = get(&lab.host.ns, metrics.parse().or_fail("read an address"), "/metrics");
        let series = format!("macvlan_child_unsettled{{master=\"{}\",mac=\"{}\"}} ", lab.host.dev, child.mac);
        text.lines().find_map(|line| line.strip_prefix(&series)).map(str::to_owned)
    };
    assert_eq!(unsettled(&old).as_deref(), Some("0"));

    engine.set_silent(true);
    let [evil, back, web] = [(); 3].map(|()| begin(&lab));
    followed.wait_for_members(&[&old, &evil, &back, &web]);
    for child in [&evil, &back, &web] {
        let told = shown(&lab, child);
        assert_eq!((&told["unsettled"], &told["ra"]), (&json!(true), &json!(false)), "{told}");
        let reason = told["host_access_reason"].as_str().unwrap_or_default();
        assert!(reason.contains("its container, which is not known yet"), "{told}");
        assert!(is_silent(&lab.host, child.ip.into()));
        assert!(ping(&lab.wire, child.ip.into()), "the wire is as ever");
        wait_for("the metric of a child that is not settled", || {
            unsettled(child).filter(|value| value == "1")
        });
    }
    followed
        .wait_for_line("its settings hang on its container, which is not known yet: cannot ask the engine");
    engine.add("evil", "evil:1", "", &evil.ns);
    engine.add("back", "nginx:1", "\"tier\":\"back\",\"team\":\"a\"", &back.ns);
    list(&engine, "web", &web);
    engine.set_silent(false);
    for child in [&evil, &back, &web] {
        wait_until_settled(&lab, child);
        followed
            .wait_for_line(&format!("({}): its container is known now, and its settings hold", child.mac));
        wait_for("the metric of a child that is settled", || unsettled(child).filter(|value| value == "0"));
    }
    let told = |child: &Station| KEYS.map(|key| shown(&lab, child)[key].clone());
    let is = |child: &Station| {
        let [host, _, _, ra, _, rate, _] = told(child);
        (host == true, ra == true, rate != Value::Null)
    };
    assert_eq!(is(&evil), (false, true, false));
    assert_eq!(is(&back), (true, false, false));
    assert_eq!(is(&web), (true, true, true));
    assert!(is_silent(&lab.host, evil.ip.into()) && ping(&lab.host, back.ip.into()));

    // The file has a guard that belongs on their devices. A path by a process that ended meanwhile is looked for anew.
    wait_for("the guard", || {
        let status = lab.ctl(&["-j", "status", &lab.host.dev]).succeeded().json();
        (!status[0]["degraded"].to_string().contains(r#""wanted":"device""#)).then_some(())
    });

    // The file says so of them as they are; and of others it asks for nothing.
    lab.ctl(&[&["check"], &args[..]].concat()).succeeded();
    // Another engine's silence later takes nothing from those that are known.
    engine.set_silent(true);
    lab.ctl(&[&["apply"], &args[..]].concat()).succeeded();
    assert_eq!((is(&evil), is(&back)), ((false, true, false), (true, false, false)));
}

#[test]
fn where_no_more_settings_can_be_kept_it_is_said() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::new();
    let engine = FakeEngine::start(&lab);
    let _attached = Attached::new(&lab, &["--max-children", "2"]);
    let mut told = String::new();
    for number in 0..6 {
        let name = format!("c{number}");
        let child = run(&lab, &engine, &name);
        attach(&lab);
        told += &lab.ctl(&["child", "set", &lab.host.dev, &format!("{name},ra=off")]).succeeded().stderr;
        stop(&engine, &name, &child);
        told += &lab.ctl(&["attach", &lab.host.dev]).succeeded().stderr;
    }
    assert!(told.contains("no room to keep the settings of"), "{told}");
    // The latest are kept.
    let child = run(&lab, &engine, "c5");
    attach(&lab);
    assert_eq!(shown(&lab, &child)["ra"], false);
}
