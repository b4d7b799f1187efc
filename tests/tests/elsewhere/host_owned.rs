//! A macvlan in the master's own namespace is the host's, unless somebody asks for it.

use macvlan_common::child::Mode;
use macvlan_tests::{
    attached::Attached,
    control::{child, named, status},
    lab::Lab,
    needs, require,
    talk::ping,
};

use crate::scene::reaches;

fn make_own(lab: &Lab) {
    let mac = lab.newcomer("own").mac;
    lab.host.ns.ip_batch([
        format!("link add link eth0 name own address {mac} type macvlan mode bridge"),
        "link set own up".into(),
    ]);
}

#[test]
fn a_device_of_the_hosts_own_is_left_to_the_kernel_and_listed() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    make_own(&lab);
    let web = lab.child("web", Mode::Bridge);
    let _attached = Attached::new(&lab, &[]);

    let told = status(&lab);
    let flags = |name| (child(&told, name)["host_owned"].clone(), child(&told, name)["local"].clone());
    assert_eq!(flags("own"), (true.into(), false.into()));
    assert_eq!(flags("web"), (false.into(), true.into()));
    assert!(ping(&lab.host, web.ip.into()));
}

#[test]
fn child_set_makes_a_child_of_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    make_own(&lab);
    let _attached = Attached::new(&lab, &[]);
    lab.ctl(&["child", "set", "eth0", "own,host-access=on"]).succeeded();
    assert_eq!(child(&status(&lab), "own")["host_owned"], false);
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(child(&status(&lab), "own")["host_owned"], false, "it is remembered");
}

#[test]
fn what_we_make_there_is_a_child() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let _attached = Attached::new(&lab, &["--child", "web"]);
    assert_eq!(child(&status(&lab), "web")["host_owned"], false);
}

/// It is nobody that the guard has to know of.
#[test]
fn the_guard_lets_it_send() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let own = lab.newcomer("own");
    lab.host.ns.ip_batch([
        "addr flush dev eth0".into(),
        format!("link add link eth0 name own address {} type macvlan mode bridge", own.mac),
        format!("addr add {}/24 dev own", own.ip),
        "link set own up".into(),
    ]);
    let web = lab.child("web", Mode::Bridge);
    let _attached = Attached::new(&lab, &[]);
    lab.ctl(&["child", "set", "eth0", &named(&web, "anti-spoof=mac")]).succeeded();
    assert!(reaches(&lab.host, &lab.wire));
}
