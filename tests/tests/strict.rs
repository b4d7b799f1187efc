//! `isolation=strict`: what bears the host's MAC is the host's for certain, and what the driver gives to bridge
//! siblings itself does not come to a strict child.

use macvlan_common::counters::{Count, DropReason};
use macvlan_tests::{
    attached::{Attached, tc_means},
    crowd::{Crowd, LEN, TIMES},
    frames::{Marker, marked},
    lab::Lab,
    needs, require,
    sniff::Injector,
};

const STRICT: [&str; 2] = ["--isolation", "strict"];

/// Whether the programs on the driver are pinned.
fn has_links(lab: &Lab) -> bool {
    let pins = macvlan_tests::leak::pins(lab);
    pins.iter().filter(|pin| pin.to_string_lossy().contains("/sending_")).count() == 2
}

#[test]
fn a_socket_that_goes_past_tc_does_not_send_as_the_host() {
    needs!(require::lab, require::binary);
    for tc in tc_means() {
        let lab = Lab::new();
        let mut crowd = Crowd::new(&lab);
        let attached = Attached::new(&lab, &["--tc", tc, "--storm-limit", "10"]);
        let sent = |crowd: &mut Crowd<'_>, from: &str, to: &str, times: usize| {
            let child = crowd.child(from);
            let (past, marker) = (Injector::new(&child.ns, &child.dev).past_tc(), Marker::new());
            let frame = marked(crowd.mac(to), crowd.mac("host"), marker);
            past.send_times(&frame, times);
            crowd.arrivals_of(marker, times, &[])
        };
        let came = sent(&mut crowd, "p1", "p2", TIMES);
        assert!(came.contains_key("p2"), "it shows nothing: {came:?}");
        assert!(!has_links(&lab));

        lab.ctl(&["attach", "eth0", STRICT[0], STRICT[1]]).succeeded();
        let status = attached.status();
        assert_eq!(status["isolation"], "strict", "{status:#}");
        assert!(has_links(&lab));
        // To the wire, a private sibling, the host itself, a VEPA child, all; and a storm, of which a limit of
        // the host's says nothing.
        for from in ["p1", "v1", "b1"] {
            for (to, times) in
                [("wire", TIMES), ("p2", TIMES), ("host", TIMES), ("v2", TIMES), ("broadcast", 2000)]
            {
                let before = attached.stats();
                let mut came = sent(&mut crowd, from, to, times);
                if from == "b1" {
                    // What the driver gives to bridge siblings itself.
                    came.remove("b2");
                }
                assert!(came.is_empty(), "{tc}: {from} to {to}: {came:?}");
                let dropped = (&attached.stats() - &before).master_dropped(DropReason::Spoofed);
                let all = Count { packets: times as u64, bytes: (times * LEN) as u64 };
                assert_eq!(dropped, all, "{tc}: {from} to {to}");
            }
        }
        lab.ctl(&["attach", "eth0", "--isolation", "off"]).succeeded();
        assert!(!has_links(&lab));
        assert_eq!(attached.status()["isolation"], "off");
        assert!(sent(&mut crowd, "p1", "p2", TIMES).contains_key("p2"));
    }
}
