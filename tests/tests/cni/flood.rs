//! What the host sends to all gets to containers by the right way, as they come and go: without another command.

use macvlan_common::flood::is_index;
use macvlan_tests::{
    cni::{Call, network, plugin, station},
    control::status,
    lab::Lab,
    needs,
    netns::Netns,
    require,
    talk::reach_each_other,
};
use serde_json::Value;

#[test]
fn the_device_comes_and_goes_with_containers() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let (web, alone) = (Pod::new("web", "bridge"), Pod::new("alone", "private"));

    assert_eq!(way(&lab), ("off".into(), None));
    web.join(&lab);
    let (_, made) = way(&lab);
    assert_eq!(way(&lab).0, "device");
    alone.join(&lab);
    assert_eq!(way(&lab), ("master".into(), None), "the driver does not flood to that mode");
    alone.leave(&lab);
    let (told, anew) = way(&lab);
    assert_eq!(told, "device");
    assert_ne!(anew, made);

    // Nothing is to be changed, and nothing is.
    let other = Pod::new("other", "bridge");
    other.join(&lab);
    other.leave(&lab);
    assert_eq!(way(&lab), ("device".into(), anew));
    web.leave(&lab);
    assert_eq!(way(&lab), ("off".into(), anew), "it waits for the next container");
    web.join(&lab);
    assert_eq!(way(&lab), ("device".into(), anew));
    web.leave(&lab);
}

/// A passthru child has its master to itself.
#[test]
fn the_device_makes_way() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let (web, whole) = (Pod::new("web", "bridge"), Pod::new("whole", "passthru"));
    web.join(&lab);
    web.leave(&lab);
    assert!(way(&lab).1.is_some());
    whole.call.add(&lab);
    assert_eq!(way(&lab), ("off".into(), None));
    whole.leave(&lab);
    web.join(&lab);
    assert_eq!(way(&lab).0, "device");
}

#[test]
fn a_device_that_cannot_be_made_fails_no_container() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    lab.host.ns.ip("link add mvflood2 type veth peer name other");
    let [one, two] = ["one", "two"].map(|name| Pod::new(name, "bridge"));
    let said = one.call.run(&lab, "ADD").succeeded();
    assert!(said.stderr.contains("flood is master instead of device"), "{}", said.report());
    let said = two.call.run(&lab, "ADD").succeeded();
    assert!(!said.stderr.contains("flood"), "it is not tried each time: {}", said.report());
    assert_eq!(way(&lab), ("master".into(), None));
}

struct Pod {
    ns: Netns,
    call: Call<'static>,
}

impl Pod {
    fn new(name: &str, mode: &str) -> Self {
        let ns = Netns::new();
        let mut config = network("1.0.0");
        config["mode"] = mode.into();
        Self { call: Call::new(plugin(), name, &ns, config), ns }
    }

    /// It is there, and host and container reach each other.
    #[track_caller]
    fn join(&self, lab: &Lab) {
        let added = self.call.add(lab);
        assert!(reach_each_other(&lab.host, &station(&self.ns, &added)));
    }

    #[track_caller]
    fn leave(&self, lab: &Lab) {
        self.call.del(lab);
    }
}

/// By what way the host's broadcasts go, and the index of the flood device that is there.
#[track_caller]
fn way(lab: &Lab) -> (String, Option<u64>) {
    let links = lab.host.ns.ip_json("link show");
    let indexes = links.as_array().into_iter().flatten().filter_map(|link| link["ifindex"].as_u64());
    let mut ours = indexes.filter(|index| is_index(*index as u32));
    let only = ours.next();
    assert_eq!(ours.next(), None);
    let told = status(lab)["host_flood"].as_str().map(str::to_owned);
    (told.unwrap_or_else(|| Value::Null.to_string()), only)
}
