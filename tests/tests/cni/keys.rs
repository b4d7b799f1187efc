//! Keys of our own that say how a master and its containers are guarded and served.

use macvlan_tests::{
    cli::Ran,
    cni::{Call, error, feed, network, plugin, reserved, station},
    control::{only, status},
    deny,
    fail::OrFail as _,
    lab::Lab,
    needs,
    netns::Netns,
    require,
    talk::{is_silent, ping},
};
use serde_json::{Value, json};

use crate::verbs::devices_of;

fn with(key: &str, value: Value) -> Value {
    let mut config = network("1.1.0");
    config[key] = value;
    config
}

#[test]
fn the_demultiplexer_is_where_the_network_says() {
    needs!(require::lab, require::cni);
    for (word, demux) in [("native", "xdp-native"), ("generic", "xdp-generic"), ("off", "tc")] {
        let lab = Lab::new();
        let ns = Netns::new();
        let call = Call::new(plugin(), "c1", &ns, with("xdp", json!(word)));
        let container = station(&ns, &call.add(&lab));
        assert_eq!(status(&lab)["demux"], demux, "{word}");
        for other in [&lab.host, &lab.wire] {
            assert!(ping(other, container.ip.into()), "{word}");
        }
    }
}

#[test]
fn a_container_that_is_held_to_its_addresses_has_no_other() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let call = Call::new(plugin(), "c1", &ns, with("antiSpoof", json!("ip")));
    let container = station(&ns, &call.add(&lab));
    assert_eq!(only(&status(&lab)["children"])["anti_spoof"], "ip");
    ns.ip("addr add 10.9.0.200/24 dev eth0");
    for other in [&lab.wire, &lab.host] {
        assert!(ping(other, container.ip.into()));
        assert!(is_silent(other, [10, 9, 0, 200].into()));
    }
}

#[test]
fn where_bpf_cannot_be_had_the_network_says_whether_a_container_starts() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let run = |call: &Call<'_>, verb: &str| -> Ran {
        let mut command = call.command(&lab, verb);
        deny::bpf(&mut command, libc::EPERM);
        feed(command, call.config.to_string().into_bytes())
    };
    let call = Call::new(plugin(), "c1", &ns, with("onMissingBpf", json!("fail")));
    for verb in ["STATUS", "ADD"] {
        assert_eq!(error(&run(&call, verb)).0, 50, "{verb}");
        assert!(devices_of(&ns).is_empty() && reserved(&lab).is_empty(), "{verb}");
    }
    for value in [json!("continue"), Value::Null] {
        let mut config = with("onMissingBpf", value.clone());
        if value.is_null() {
            config.as_object_mut().or_fail("read a configuration").remove("onMissingBpf");
        }
        let call = Call { config, ..call.clone() };
        run(&call, "STATUS").succeeded();
        let added = run(&call, "ADD").succeeded();
        assert!(added.stderr.contains("macvlan-cni: warning: "), "{}", added.report());
        let container = station(&ns, &added.json());
        assert!(ping(&lab.wire, container.ip.into()) && is_silent(&lab.host, container.ip.into()));
        run(&call, "DEL").succeeded();
        assert!(devices_of(&ns).is_empty() && reserved(&lab).is_empty());
    }
}
