//! Maps of another layout are left to the version that made them: refused with a remedy, never misread, and
//! nothing of what they carry is lost.

use macvlan_common::{ABI_VERSION, cases::OUTSIDE, child::Mode};
use macvlan_tests::{
    control::{devices, make_foreign, named, pinned, spec, status},
    flood::send_while,
    following::Following,
    frames::{EXPERIMENTAL, Frame},
    generator::Generator,
    lab::Lab,
    leak::Traces,
    needs, require,
    sniff::Injector,
    talk::ping,
};

const TCX: &[&str] = &["--tc", "tcx"];
const CLSACT: &[&str] = &["--tc", "clsact"];
const NATIVE: &[&str] = &["--xdp", "native"];

const OLDER: u32 = ABI_VERSION - 1;
const NEWER: u32 = ABI_VERSION + 1;

/// Neither migrated nor replaced unasked: what another version counts and allows is not lost by a
/// command that was meant for something else.
#[test]
fn maps_of_another_layout_are_refused_and_not_misread() {
    needs!(require::lab, require::tc, require::binary);
    for args in [TCX, CLSACT, NATIVE] {
        for layout in [OLDER, NEWER] {
            let lab = Lab::new();
            let (web, late) = (lab.child("web", Mode::Bridge), lab.newcomer("late"));
            let before = Traces::of(&lab);
            lab.ctl(&[&["attach", "eth0", "--require-bpf"], args].concat()).succeeded();
            assert!(ping(&lab.host, web.ip.into()));
            make_foreign(&lab, layout);
            let pins = pinned(&lab);

            let attach = [&["attach", "eth0"], args].concat();
            let child = spec(&late, "");
            let named = named(&web, "host-access=off");
            for line in [
                &attach[..],
                &["attach", "eth0", "--dry-run"],
                &["child", "add", "eth0", &child],
                &["child", "set", "eth0", &named],
            ] {
                let ran = lab.ctl(line);
                let said = ran.failed(1);
                for part in [&format!("map layout {layout}, ours is"), "macvlan-ctl detach eth0"] {
                    assert!(said.contains(part), "{line:?}: {said}");
                }
            }
            let status = status(&lab);
            assert_eq!(status["datapath"], "kernel", "{status:#}");
            assert!(status["degraded"].to_string().contains("map layout"), "{status:#}");
            let stats = lab.ctl(&["-j", "stats", "eth0"]).succeeded().json();
            assert!(stats[0]["children"][0]["host"].is_null(), "{stats:#}");
            assert!(devices(&late).is_empty(), "a child was made");
            assert_eq!(pinned(&lab), pins, "{args:?}");
            assert!(ping(&lab.host, web.ip.into()), "{args:?}: it works on");

            lab.ctl(&["detach", "eth0"]).succeeded();
            assert_eq!(Traces::of(&lab), before, "{args:?}");
            lab.ctl(&attach).succeeded();
            assert!(ping(&lab.host, web.ip.into()), "{args:?}");
            lab.ctl(&["detach", "eth0"]).succeeded();
            assert_eq!(Traces::of(&lab), before, "{args:?}");
        }
    }
}

/// The data path that is refused works on: nobody notices but who gave the command.
#[test]
fn no_frame_is_lost_while_it_is_refused() {
    needs!(require::lab, require::binary);
    for args in [TCX, CLSACT, NATIVE] {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        lab.ctl(&[&["attach", "eth0", "--require-bpf"], args].concat()).succeeded();
        make_foreign(&lab, NEWER);
        let generator = Generator::on_wire(&lab);
        let injector = Injector::new(&lab.host.ns, &lab.host.dev);
        let of_wire = Frame::new(web.mac, OUTSIDE).payload(EXPERIMENTAL, &[]).padded(60);
        let of_host = Frame::new(web.mac, lab.host.mac).payload(EXPERIMENTAL, &[]).padded(60);

        let before = web.ns.received(&web.dev);
        let burst = || {
            generator.send(&of_wire, 10_000);
            injector.send_times(&of_host, 1000);
            11_000
        };
        let sent = send_while(burst, || {
            for line in [&["attach", "eth0"][..], &["child", "add", "eth0", "late"]] {
                assert!(lab.ctl(line).failed(1).contains("macvlan-ctl detach eth0"), "{args:?}");
            }
            lab.ctl(&["status", "eth0"]).succeeded();
        });

        assert_eq!(web.ns.received(&web.dev) - before, sent.frames, "{args:?}: {sent:?}");
    }
}

#[test]
fn a_follower_leaves_maps_of_another_layout_alone() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let run = Following::start(&lab, &["eth0"]);
    assert!(ping(&lab.host, web.ip.into()));
    make_foreign(&lab, NEWER);
    let pins = pinned(&lab);

    let late = lab.child("late", Mode::Bridge);
    run.wait_for_line(&format!("map layout {NEWER}, ours is"));
    // It looks again by itself, and finds the same.
    assert_eq!(pinned(&lab), pins);
    assert!(ping(&lab.host, web.ip.into()), "it works on");

    lab.ctl(&["detach", "eth0"]).succeeded();
    assert!(ping(&lab.host, late.ip.into()), "attached anew");
}
