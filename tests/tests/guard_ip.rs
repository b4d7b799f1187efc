//! `anti-spoof=ip` with real devices: a child that writes others' addresses, and one that is honest.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::PermissionsExt as _,
};

use macvlan_common::{child::Mode, counters::DropReason, mac::Mac};
use macvlan_tests::{
    attached::Attached,
    cli,
    control::{child, status},
    fail::{OrFail as _, wait_for},
    following::Following,
    frames::{self, ArpOperation, Frame, Marker},
    lab::{Lab, Station},
    needs, require,
    sniff::{Injector, Tap},
    talk::{is_silent, ping},
};

const UDP: u8 = 17;

/// One frame of each kind from `sender` to `dst`, that say they are from `claimed`.
fn claims(sender: &Station, dst: Mac, claimed: &Station, marker: Marker) -> Vec<(&'static str, Vec<u8>)> {
    let frame = |kind, packet: &[u8]| {
        let packet = [packet, &marker.octets()].concat();
        Frame::new(dst, sender.mac).payload(kind, &packet).padded(60)
    };
    let datagram = frames::udp(5000, 5000, &[0; 8]);
    let (to, to6) = (Ipv4Addr::new(10, 9, 0, 250), Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x250));
    let own6 = if claimed.mac == sender.mac { claimed } else { sender }.ip6;
    let tagged = Frame::new(dst, sender.mac).tag(frames::VLAN, 0);
    let tagged = tagged.payload(frames::IPV4, &frames::ipv4(claimed.ip, to, UDP, &marker.octets()));
    vec![
        ("IPv4", frame(frames::IPV4, &frames::ipv4(claimed.ip, to, UDP, &datagram))),
        ("IPv4 behind a tag", tagged.padded(64)),
        ("IPv6", frame(frames::IPV6, &frames::ipv6(claimed.ip6, to6, UDP, &datagram))),
        ("ARP", frames::arp(dst, ArpOperation::Reply, (sender.mac, claimed.ip), (dst, to), marker)),
        ("NA", frame(frames::IPV6, &frames::neighbour_advertisement(own6, claimed.ip6))),
        ("NS", frame(frames::IPV6, &frames::neighbour_solicitation(claimed.ip6, to6))),
    ]
}

/// How many frames with `marker` come to `receiver` of those sent, once an honest one behind them did.
#[track_caller]
fn arrive(sender: &Station, receiver: &Station, frames: &[Vec<u8>], marker: Marker) -> usize {
    let fence = Marker::new();
    let mut tap = Tap::on_device(&receiver.ns, &receiver.dev);
    let injector = Injector::new(&sender.ns, &sender.dev);
    frames.iter().for_each(|frame| injector.send(frame));
    injector.send(&frames::marked(receiver.mac, sender.mac, fence));
    tap.wait_for(fence, 1);
    tap.came_in(marker)
}

#[test]
fn nobody_sends_as_a_sibling_the_host_or_the_gateway() {
    needs!(require::lab, require::binary);
    for args in [&[][..], &["--xdp", "native"], &["--xdp", "generic"]] {
        let lab = Lab::with().ipv6().build();
        let (hostile, sibling) = (lab.child("g1", Mode::Bridge), lab.child("g2", Mode::Bridge));
        let attached = Attached::new(&lab, args);
        let others = [&sibling, &lab.host, &lab.wire];
        // Generic XDP matters to the direct path between siblings alone.
        let receivers = if args.contains(&"generic") { &others[..1] } else { &others[..] };
        let gather = |receiver: &Station, claimed: &[&Station], marker| -> Vec<Vec<u8>> {
            let all = claimed.iter().flat_map(|claimed| claims(&hostile, receiver.mac, claimed, marker));
            all.map(|(_, frame)| frame).collect()
        };
        if args.is_empty() {
            for receiver in receivers {
                let marker = Marker::new();
                let forged = gather(receiver, &others, marker);
                assert_eq!(arrive(&hostile, receiver, &forged, marker), forged.len(), "{}", receiver.dev);
            }
        }
        lab.ctl(&["child", "set", "eth0", "g1", "--anti-spoof", "ip"]).succeeded();
        for receiver in receivers {
            let (marker, before) = (Marker::new(), attached.stats());
            let forged = gather(receiver, &others, marker);
            assert_eq!(arrive(&hostile, receiver, &forged, marker), 0, "{args:?}: {}", receiver.dev);
            let honest = gather(receiver, &[&hostile], marker);
            let came = arrive(&hostile, receiver, &honest, marker);
            assert_eq!(came, honest.len(), "{args:?}: {}", receiver.dev);
            let dropped = (&attached.stats() - &before).dropped("g1", DropReason::Spoofed);
            assert_eq!(dropped.packets as usize, forged.len(), "{args:?}: {}", receiver.dev);
        }
        // The other child is held to nothing.
        let marker = Marker::new();
        let [(_, frame), ..] = &claims(&sibling, lab.wire.mac, &lab.host, marker)[..] else { panic!() };
        assert_eq!(arrive(&sibling, &lab.wire, std::slice::from_ref(frame), marker), 1);
        lab.ctl(&["child", "set", "eth0", "g1,anti-spoof=off"]).succeeded();
        let (_, frame) = &claims(&hostile, lab.wire.mac, &lab.host, marker)[0];
        assert_eq!(arrive(&hostile, &lab.wire, std::slice::from_ref(frame), marker), 1);
    }
}

#[test]
fn a_child_without_a_known_address_cannot_be_held_to_any() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let attached = Attached::new(&lab, &[]);
    let refused = |args: &[&str]| {
        let ran = lab.ctl(args);
        let told = ran.failed(1);
        let why = "anti-spoof ip, but no address of it is known: add one or use mac";
        assert!(told.contains(why) && told.contains("\"web\""), "{told}");
    };
    // The host's address is never a child's.
    web.ns.ip(&format!("addr add {}/24 dev web", lab.host.ip));
    web.ns.ip(&format!("addr del {}/24 dev web", web.ip));
    refused(&["child", "set", "eth0", "web,anti-spoof=ip"]);
    web.ns.ip("addr flush dev web");
    refused(&["child", "set", "eth0", "web,anti-spoof=ip"]);
    assert_eq!(child(&attached.status(), "web")["anti_spoof"], "off");
    attached.detach(&[]).succeeded();
    refused(
        &["attach", "eth0", "--child", "web2,anti-spoof=ip"].map(|word| {
            if word.starts_with("web2") { "web,mac=02:00:00:00:77:01,anti-spoof=ip" } else { word }
        }),
    );
    lab.ctl(&["attach", "eth0", "--child", "own,ip=10.9.0.70/24,anti-spoof=ip"]).succeeded();
    assert_eq!(child(&status(&lab), "own")["anti_spoof"], "ip");
}

#[test]
fn honest_children_go_undisturbed_and_a_follower_knows_their_new_addresses() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().full_ipv6().build();
    let (honest, sibling) = (lab.child("g1", Mode::Bridge), lab.child("g2", Mode::Bridge));
    let following = Following::start(&lab, &["eth0"]);
    lab.ctl(&["child", "set", "eth0", "g1,anti-spoof=ip,ra=off,dhcp-server=off"]).succeeded();
    let check = |ip: IpAddr, ip6: IpAddr| {
        for other in [&lab.host, &lab.wire, &sibling] {
            assert!(ping(&honest, other.ip.into()) && ping(other, ip), "{}", other.dev);
            assert!(ping(&honest, other.ip6.into()) && ping(other, ip6), "{} by IPv6", other.dev);
        }
    };
    check(honest.ip.into(), honest.ip6.into());

    // Detection of duplicates finds none, and one.
    honest.ns.ip("addr add fd09::77/64 dev g1");
    let address = |wanted: &str| {
        let shown = honest.ns.ip_json("addr show dev g1");
        let all = shown[0]["addr_info"].as_array().or_fail("read addresses").clone();
        all.into_iter().find(|address| address["local"] == wanted).or_fail("find the address")
    };
    wait_for("the address to be found unique", || address("fd09::77")["tentative"].is_null().then_some(()));
    honest.ns.ip("addr add 10.9.0.77/24 dev g1");
    check([10, 9, 0, 77].into(), "fd09::77".parse().unwrap());
    honest.ns.ip(&format!("addr add {}/64 dev g1", lab.wire.ip6));
    let duplicate = lab.wire.ip6.to_string();
    wait_for("the duplicate to be found", || (address(&duplicate)["dadfailed"] == true).then_some(()));

    // What is the child's no more is dropped, whoever has it.
    honest.ns.ip("addr del 10.9.0.77/24 dev g1");
    let gone = Station { ns: honest.ns.share(), dev: "g1".into(), ip: Ipv4Addr::new(10, 9, 0, 77), ..honest };
    wait_for("the address to be forgotten", || {
        let marker = Marker::new();
        let (_, frame) = claims(&gone, lab.wire.mac, &gone, marker).swap_remove(0);
        (arrive(&gone, &lab.wire, &[frame], marker) == 0).then_some(())
    });
    drop(following);
}

#[test]
fn a_dhcp_client_without_address_gets_its_lease_while_somebody_follows() {
    needs!(require::lab, require::binary, busybox);
    let lab = Lab::new();
    let client = lab.child("g1", Mode::Bridge);
    let _following = Following::start(&lab, &["eth0"]);
    lab.ctl(&["child", "set", "eth0", "g1,anti-spoof=ip,dhcp-server=off"]).succeeded();
    client.ns.ip("addr flush dev g1");
    wait_for("the address to be forgotten", || is_silent(&lab.wire, client.ip.into()).then_some(()));
    let directory = std::env::temp_dir().join(format!("macvlan-tests-dhcp-{}", std::process::id()));
    fs::create_dir_all(&directory).or_fail("make a directory");
    let (script, leases) = (directory.join("bound"), directory.join("leases"));
    let act = "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nexec ip addr add \"$ip/24\" dev \"$interface\"\n";
    fs::write(&script, act).or_fail("write a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).or_fail("make it executable");
    fs::write(&leases, "").or_fail("write a file");
    let settings = directory.join("udhcpd.conf");
    let pid_file = directory.join("pid");
    let content = format!(
        "interface wire0\nstart 10.9.0.201\nend 10.9.0.201\nlease_file {}\npidfile {}\noption subnet 255.255.255.0\n",
        leases.display(),
        pid_file.display()
    );
    fs::write(&settings, content).or_fail("write a file");
    let mut server = lab.wire.ns.command("busybox");
    let mut server = server.args(["udhcpd", "-f"]).arg(&settings).spawn().or_fail("start a DHCP server");
    let mut ask = client.ns.command("busybox");
    ask.args(["udhcpc", "-i", "g1", "-f", "-n", "-q", "-t", "20", "-T", "1", "-s"]).arg(&script);
    let ran = cli::output(&mut ask);
    let _ = server.kill();
    let _ = server.wait();
    let _ = fs::remove_dir_all(&directory);
    ran.succeeded();
    assert!(ping(&client, lab.wire.ip.into()) && ping(&lab.host, [10, 9, 0, 201].into()));
}

/// `busybox`, for its DHCP server and client.
fn busybox() -> Result<(), String> {
    require::program("busybox")
}
