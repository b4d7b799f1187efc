//! Ports, as far as they are not children like all others: their devices, what becomes of them without a container, a data
//! path or BPF, and what the stack of a container sends through one. Who hears what is in `traffic_matrix`.

use macvlan_common::child::Mode;
use macvlan_core::kernel::xsk::redirect::Redirect;
use macvlan_tests::{
    attached::Attached,
    cli::{self, run},
    control::{child, named, spec, status},
    deny,
    fail::{OrFail as _, wait_for},
    following::Following,
    foreign::Foreign,
    frames::{EXPERIMENTAL, Frame, Marker, VLAN, marked},
    lab::{FAMILIES, Family, Lab, Station},
    needs, require,
    sniff::{Injector, Tap},
    talk::{is_silent, ping, reach_each_other, tcp_transfer},
    tracer::Tracer,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const DEMULTIPLEXERS: [&[&str]; 2] = [&[], &["--xdp", "native"]];

fn ethtool() -> Result<(), String> {
    require::program("ethtool")
}

/// Attaches, and makes a port.
#[track_caller]
fn port(lab: &Lab, args: &[&str]) -> Station {
    port_with(lab, args, "")
}

/// The same, with further settings.
#[track_caller]
fn port_with(lab: &Lab, args: &[&str], settings: &str) -> Station {
    lab.leave_tags();
    port_of(lab, args, settings)
}

/// The same, whatever the driver of the master does with the tags of VLANs.
#[track_caller]
fn port_of(lab: &Lab, args: &[&str], settings: &str) -> Station {
    let fast = lab.newcomer("fast");
    lab.ctl(&[&["attach", "eth0", "--require-bpf"], args].concat()).succeeded();
    let settings = settings.replace("IP6", &fast.ip6.to_string());
    lab.ctl(&["child", "add", "eth0", &spec(&fast, &format!("kind=port{settings}"))]).succeeded();
    fast.wait_until_up();
    fast
}

/// The devices of ports in the host's namespace, by their names.
fn parts(lab: &Lab) -> Vec<Value> {
    let is_part = |link: &Value| link["ifname"].as_str().is_some_and(|name| name.starts_with("mvp"));
    links(&lab.host).into_iter().filter(is_part).collect()
}

/// All devices of a container but its loopback device.
fn devices(station: &Station) -> Vec<Value> {
    links(station).into_iter().filter(|link| link["ifname"] != "lo").collect()
}

fn links(station: &Station) -> Vec<Value> {
    station.ns.ip_json("link show").as_array().cloned().unwrap_or_default()
}

#[test]
fn everybody_reaches_a_port_and_a_port_everybody() {
    needs!(require::lab, require::binary);
    let lean: [&[&str]; 2] = [&["--ingress", "off"], &["--ingress", "off", "--xdp", "native"]];
    for args in DEMULTIPLEXERS.into_iter().chain(lean) {
        let lab = Lab::with().ipv6().build();
        let web = lab.child("web", Mode::Bridge);
        let fast = port_with(&lab, args, ",ip=IP6/64");
        for family in FAMILIES {
            for other in [&lab.host, &lab.wire, &web] {
                assert!(ping(other, fast.address(family)), "{} to port, {args:?}", other.dev);
                assert!(ping(&fast, other.address(family)), "port to {}, {args:?}", other.dev);
            }
        }
        let told = status(&lab);
        assert_eq!(told["ingress"], !args.contains(&"--ingress"), "a port needs no program there");
        let told = child(&told, "fast");
        assert_eq!((&told["kind"], &told["address"]), (&"port".into(), &fast.mac.to_string().into()));
        assert!(told["netnsid"].is_number(), "{told:#}");
        assert!(lab.ctl(&["child", "list", "eth0"]).succeeded().stdout.contains("fast: port"));
        lab.ctl(&["detach", "eth0"]).succeeded();
        lab.ctl(&["attach", "eth0"]).succeeded();
        assert!(reach_each_other(&lab.host, &fast), "by the next data path, {args:?}");
        lab.ctl(&["child", "del", "eth0", "fast"]).succeeded();
        assert_eq!((parts(&lab), devices(&fast)), (vec![], vec![]), "{args:?}");
    }
}

#[test]
fn a_port_changes_in_all_its_devices() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let fast = port(&lab, args);
        let other = lab.newcomer("other").mac;
        lab.ctl(&["child", "set", "eth0", &format!("fast,mtu=1300,mac={other}")]).succeeded();
        let of_all = || [parts(&lab), devices(&fast)].concat();
        assert_eq!(of_all().len(), 3);
        assert!(of_all().iter().all(|link| link["mtu"] == 1300), "{:#?}", of_all());
        assert_eq!(of_all().iter().filter(|link| link["address"] == other.to_string()).count(), 2);
        assert!(ping(&lab.host, fast.ip.into()) && ping(&lab.wire, fast.ip.into()), "{args:?}");
        lab.ctl(&["child", "set", "eth0", "fast,down"]).succeeded();
        assert!(is_silent(&lab.wire, fast.ip.into()), "down, {args:?}");
        lab.ctl(&["child", "set", "eth0", "fast,up"]).succeeded();
        assert!(ping(&lab.host, fast.ip.into()), "up again, {args:?}");
    }
}

#[test]
fn without_a_data_path_a_port_is_what_a_macvlan_is() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let fast = port(&lab, &[]);
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert!(reach_each_other(&lab.wire, &fast) && reach_each_other(&web, &fast));
    assert!(is_silent(&lab.host, fast.ip.into()));
}

#[test]
fn without_bpf_no_port_is_made() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let fast = lab.newcomer("fast");
    let made = spec(&fast, "kind=port");
    let mut command = lab.ctl_command(&["attach", "eth0", "--child", &made]);
    deny::bpf(&mut command, libc::EPERM);
    let ran = cli::output(&mut command);
    let told = ran.failed(1);
    assert!(told.contains("cannot add child \"fast\": a port needs BPF, which is unavailable"), "{told}");
    assert_eq!((parts(&lab), devices(&fast)), (vec![], vec![]));
    for mode in ["passthru", "source"] {
        let ran = lab.ctl(&["attach", "eth0", "--child", &format!("{made},mode={mode}")]);
        assert!(ran.failed(1).contains(&format!("a port cannot be in mode {mode}")), "{}", ran.report());
    }
}

#[test]
fn a_port_whose_container_is_gone_goes_too() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let fast = port(&lab, &[]);
    drop(fast);
    wait_for("the pair to go with its container", || (parts(&lab).len() == 1).then_some(()));
    let told = status(&lab);
    assert_eq!(told["children"].as_array().map(Vec::len), Some(2), "{told:#}");
    lab.ctl(&["child", "set", "eth0", &named(&web, "ra=off")]).succeeded();
    assert_eq!(parts(&lab), Vec::<Value>::new(), "the next command removes what is left");

    let fast = port(&lab, &[]);
    let following = Following::start(&lab, &["eth0"]);
    following.wait_for_members(&[&web, &fast]);
    assert!(reach_each_other(&lab.host, &fast));
    drop(fast);
    following.wait_for_members(&[&web]);
    wait_for("run to remove what is left", || parts(&lab).is_empty().then_some(()));
    assert!(following.end(Signal::SIGTERM).success());
}

#[test]
fn a_follower_adopts_a_port_and_keeps_up_with_it() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let fast = port(&lab, &[]);
    lab.ctl(&["detach", "eth0"]).succeeded();
    let following = Following::start(&lab, &["eth0"]);
    following.wait_for_members(&[&fast]);
    assert!(reach_each_other(&lab.host, &fast));
    let local = || child(&status(&lab), "fast")["local"].clone();
    fast.ns.ip("link set fast down");
    wait_for("a port that its container has taken down to be absent", || (local() == false).then_some(()));
    fast.ns.ip("link set fast up");
    wait_for("a port that is up again to be there", || (local() == true).then_some(()));
    assert!(ping(&lab.host, fast.ip.into()));
    fast.ns.ip("link set fast down");
    fast.ns.ip("link set fast name quick up");
    wait_for("the new name", || {
        let names = lab.ctl(&["child", "list", "eth0"]).succeeded().stdout;
        names.contains("quick").then_some(())
    });
    lab.ctl(&["child", "del", "eth0", "quick"]).succeeded();
    following.wait_for_members(&[]);
    assert!(following.end(Signal::SIGTERM).success());
}

/// Large frames, and those whose checksum is not there yet, whatever the demultiplexer. What a stack behind a veth leaves
/// to the device, native XDP forgets: that is told.
#[test]
fn a_container_with_a_stack_of_its_own_transfers_as_by_a_macvlan() {
    needs!(require::lab, ethtool, require::binary);
    const BYTES: usize = 1 << 20;
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let fast = port(&lab, args);
        let told = status(&lab);
        let mut less = told["degraded"].as_array().into_iter().flatten();
        let is_told = less.any(|part| part["feature"] == "ports" && part["got"] == "none");
        assert_eq!(is_told, !args.is_empty(), "{told:#}");
        if is_told {
            run(lab.wire.ns.command("ethtool").args(["-K", &lab.wire.dev, "tx", "off"]));
        }
        for other in [&lab.host, &lab.wire, &web] {
            tcp_transfer(other, &fast, Family::V4, BYTES);
            tcp_transfer(&fast, other, Family::V4, BYTES);
        }
    }
}

#[test]
fn the_host_says_nothing_on_the_devices_of_a_port() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().full_ipv6().build();
    // A router joins one more group, and says so.
    lab.host.ns.sysctl("ipv6/conf/all/forwarding", 1);
    let fast = lab.newcomer("fast");
    let mut wire = Tap::on_device(&lab.wire.ns, &lab.port);
    lab.ctl(&["attach", "eth0", "--child", &spec(&fast, "kind=port,down")]).succeeded();
    lab.ctl(&["child", "set", "eth0", "fast,up"]).succeeded();
    for part in parts(&lab) {
        let name = part["ifname"].as_str().unwrap_or_default();
        // Were it not stopped, this would be seen: the host's own word through the device.
        let frame = marked(lab.wire.mac, fast.mac, Marker::new());
        Injector::new(&lab.host.ns, name).send(&frame);
        assert_eq!(lab.host.ns.ip(&format!("addr show dev {name}")).matches("inet").count(), 0, "{name}");
    }
    let fence = Marker::new();
    Injector::new(&lab.host.ns, "eth0").send(&marked(lab.wire.mac, lab.host.mac, fence));
    wire.wait_for(fence, 1);
    let own = fast.mac.octets();
    let said: Vec<_> = wire.take().into_iter().filter(|seen| seen.whole()[6..12] == own).collect();
    // What its own stack says when it comes up bears its MAC too: a report of its groups, and a probe.
    let is_of_stack = |frame: &[u8]| frame[12..14] == [0x86, 0xdd];
    assert!(said.iter().all(|seen| is_of_stack(&seen.whole())), "{said:?}");
}

#[test]
fn a_port_that_is_held_to_its_mac_sends_under_no_other() {
    needs!(require::lab, require::tcx, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let fast = port(&lab, args);
        lab.ctl(&["child", "set", "eth0", "fast,anti-spoof=mac"]).succeeded();
        let attached = Attached::new(&lab, &[]);
        assert!(reach_each_other(&lab.wire, &fast) && reach_each_other(&lab.host, &fast), "{args:?}");
        let before = attached.stats();
        let mut wire = Tap::on_device(&lab.wire.ns, &lab.port);
        let (forged, honest) = (Marker::new(), Marker::new());
        for sender in [Injector::new(&fast.ns, "fast"), Injector::new(&fast.ns, "fast").past_tc()] {
            sender.send(&marked(lab.wire.mac, lab.host.mac, forged));
            sender.send(&marked(lab.wire.mac, fast.mac, honest));
        }
        wire.wait_for(honest, 2);
        assert_eq!(wire.marked(forged).len(), 0, "{args:?}");
        let dropped = (&attached.stats() - &before).all();
        let dropped = dropped.iter().find(|(_, what, _, _)| *what == "drops");
        assert_eq!(
            dropped.map(|(name, _, reason, count)| (name.as_str(), *reason, count.packets)),
            Some(("fast", "spoofed", 2))
        );
        // Its own device's MAC is its container's word.
        fast.ns.ip("link set fast address 02:00:00:00:09:99");
        assert_eq!(child(&status(&lab), "fast")["address"], fast.mac.to_string());
        assert!(is_silent(&fast, lab.wire.ip.into()), "{args:?}");
    }
}

#[test]
fn frames_to_a_port_are_traced_and_limited_as_those_to_other_children() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let fast = port(&lab, args);
        let mut heard = Tap::on_protocol(&fast.ns, "fast", EXPERIMENTAL);
        let marker = Marker::new();
        let tracer = Tracer::start(&lab, &[]);
        Injector::new(&lab.wire.ns, &lab.wire.dev).send(&marked(fast.mac, lab.wire.mac, marker));
        heard.wait_for(marker, 1);
        tracer.wait_for(marker, 1);
        let traced = tracer.of(marker);
        assert_eq!(traced.len(), 1, "once, {args:?}: {traced:#?}");
        assert!(tracer.stop().status.success());

        lab.ctl(&["child", "set", "eth0", "fast,rate-rx=10pps"]).succeeded();
        let attached = Attached::new(&lab, &[]);
        let before = attached.stats();
        let marker = Marker::new();
        Injector::new(&lab.wire.ns, &lab.wire.dev).send_times(&marked(fast.mac, lab.wire.mac, marker), 200);
        let dropped = wait_for("frames beyond the rate to be dropped", || {
            let gained = (&attached.stats() - &before).all();
            let dropped = gained.iter().find(|(_, what, reason, _)| (*what, *reason) == ("drops", "rate"));
            dropped.map(|(_, _, _, count)| count.packets).filter(|count| *count > 100)
        });
        assert!(heard.received(marker) as u64 <= 200 - dropped, "{args:?}");
    }
}

/// Who sends frames from the wire to a port: native XDP from Linux 5.13 on, else TC, which sends those of siblings, too;
/// without a program there, its macvlan.
#[test]
fn frames_go_to_a_port_past_its_macvlan() {
    needs!(require::lab, require::tcx, require::binary);
    const TIMES: usize = 100;
    let (held, lean, native) = (",anti-spoof=mac", ["--ingress", "off"], ["--xdp", "native"]);
    for (args, leaves_tags, settings, by_master) in [
        (&[][..], false, "", true),
        (&[], false, held, true),
        (&lean, false, "", true),
        (&native, false, "", true),
        (&native, true, "", false),
        (&native, true, held, false),
    ] {
        let (case, is_lean) = (format!("{args:?}{settings}, {leaves_tags}"), args == lean);
        let lab = Lab::new();
        if leaves_tags {
            lab.leave_tags();
        }
        let web = lab.child("web", Mode::Bridge);
        let fast = port_of(&lab, args, settings);
        let parts = parts(&lab);
        let macvlan = parts.iter().find(|part| part["address"] == fast.mac.to_string());
        let macvlan = macvlan.and_then(|part| part["ifname"].as_str()).or_fail("find the macvlan");
        let mut master = Tap::on_device(&lab.host.ns, "eth0");
        let mut heard = Tap::on_protocol(&fast.ns, "fast", EXPERIMENTAL);
        let attached = Attached::new(&lab, &[]);
        // Without a program at ingress, nobody counts.
        let stats = || (!is_lean).then(|| attached.stats());
        for (from, path, by_master) in [(&lab.wire, "wire", by_master), (&web, "sibling", true)] {
            let (marker, before, unheard) = (Marker::new(), stats(), lab.host.ns.received(macvlan));
            Injector::new(&from.ns, &from.dev).send_times(&marked(fast.mac, from.mac, marker), TIMES);
            heard.wait_for(marker, TIMES);
            let through = lab.host.ns.received(macvlan) - unheard;
            assert_eq!(through >= TIMES as u64, is_lean, "{through} through the macvlan, {path}, {case}");
            assert_eq!(master.came_in(marker) == TIMES, by_master, "{path}, {case}");
            let Some((after, before)) = stats().zip(before) else { continue };
            let received = (&after - &before).all();
            let received = received
                .iter()
                .find(|(name, of, what, _)| (name.as_str(), *of, *what) == ("fast", path, "rx"));
            assert_eq!(received.map(|(_, _, _, count)| count.packets), Some(TIMES as u64), "{path}, {case}");
        }
    }
}

/// In its place in the frame, or beside it as by a driver that takes it off: that XDP would not see.
#[test]
fn a_frame_of_a_vlan_comes_to_a_port_with_its_tag() {
    needs!(require::lab, require::tcx, require::binary);
    const ID: u16 = 5;
    for (args, leaves_tags) in [(&[][..], false), (&["--xdp", "native"], false), (&["--xdp", "native"], true)]
    {
        let lab = Lab::new();
        if leaves_tags {
            lab.leave_tags();
        }
        let fast = port_of(&lab, args, "");
        let told = status(&lab);
        let mut less = told["degraded"].as_array().into_iter().flatten();
        let is_told = less.any(|part| part["feature"] == "ports" && part["got"] == "TC");
        assert_eq!(is_told, !args.is_empty() && !leaves_tags, "{told:#}");
        let mut heard = Tap::on_device(&fast.ns, "fast");
        let wire = Injector::new(&lab.wire.ns, &lab.wire.dev);
        let (within, beside) = (Marker::new(), Marker::new());
        let frame = Frame::new(fast.mac, lab.wire.mac).tag(VLAN, ID).payload(EXPERIMENTAL, &within.octets());
        wire.send(&frame.padded(64));
        heard.wait_for(within, 1);
        if !leaves_tags {
            let _tagger = Foreign::tagger(&lab.wire.ns, &lab.wire.dev, ID);
            wire.send(&marked(fast.mac, lab.wire.mac, beside));
            heard.wait_for(beside, 1);
        }
        for marker in [within, beside] {
            let seen = heard.marked(marker);
            assert!(seen.iter().all(|seen| seen.tag == Some((VLAN, ID))), "{args:?}: {seen:?}");
        }
    }
}

#[test]
fn a_follower_has_xdp_send_to_ports_once_the_driver_leaves_tags() {
    needs!(require::lab, ethtool, require::tcx, require::binary);
    let lab = Lab::new();
    let fast = port_of(&lab, &["--xdp", "native"], "");
    let following = Following::start(&lab, &["eth0"]);
    following.wait_for_members(&[&fast]);
    let got = || {
        let told = status(&lab);
        let mut less = told["degraded"].as_array().into_iter().flatten();
        less.find(|part| part["feature"] == "ports").map(|part| part["got"].clone())
    };
    assert_eq!(got(), Some("TC".into()));
    let features = ["-K", "eth0", "rxvlan", "off", "rx-vlan-stag-hw-parse", "off"];
    run(lab.host.ns.command("ethtool").args(features));
    wait_for("XDP to send to ports", || (got() == Some("none".into())).then_some(()));
    assert!(ping(&lab.wire, fast.ip.into()));
    assert!(following.end(Signal::SIGTERM).success());
}

/// An XDP program gets no frame of a stack that was not cut into segments (`veth_fix_features` in drivers/net/veth.c).
#[test]
fn a_port_with_an_xdp_program_gets_segments_that_fit_its_mtu() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let fast = port(&lab, &[]);
    let _program = fast.ns.enter(|| Redirect::attach(fast.ns.ifindex("fast")).or_fail("attach a program"));
    for other in [&lab.host, &lab.wire, &web] {
        tcp_transfer(other, &fast, Family::V4, 1 << 20);
        tcp_transfer(&fast, other, Family::V4, 1 << 20);
    }
}

/// As a veth does it, and a macvlan does not: see docs/user-space.md.
#[test]
fn a_frame_larger_than_the_mtu_of_a_port_does_not_come() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let fast = port(&lab, args);
        let mut heard = Tap::on_protocol(&fast.ns, "fast", EXPERIMENTAL);
        let wire = Injector::new(&lab.wire.ns, &lab.wire.dev);
        let large = |marker| {
            let mut frame = marked(fast.mac, lab.wire.mac, marker);
            frame.resize(1500, 0);
            frame
        };
        let (before, after, fence) = (Marker::new(), Marker::new(), Marker::new());
        wire.send(&large(before));
        heard.wait_for(before, 1);
        lab.ctl(&["child", "set", "eth0", "fast,mtu=1400"]).succeeded();
        wire.send(&large(after));
        wire.send(&marked(fast.mac, lab.wire.mac, fence));
        heard.wait_for(fence, 1);
        assert_eq!(heard.received(after), 0, "{args:?}");
    }
}
