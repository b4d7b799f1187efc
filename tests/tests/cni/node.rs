//! The image with the static binary, and the DaemonSet's containers of it on a node without a cluster.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use macvlan_tests::{
    cni::{Call, station},
    control::members,
    engine::{CONTEXT, NODE_NAME, Node},
    fail::{OrFail as _, wait_for},
    http::ask,
    lab::Lab,
    needs,
    netns::Netns,
    require,
    talk::ping,
};
use serde_json::Value;

use crate::manifests::{PLAIN, documents, of_kind, validator};

/// Where the node has what is in the ConfigMap.
const FILES: &str = "/run/files";

#[test]
fn the_daemon_set_installs_the_plugin_follows_and_answers_its_probes() {
    needs!(require::lab, require::cni, require::podman, validator);
    let documents = documents(PLAIN);
    let pod = of_kind(&documents, "DaemonSet")["spec"]["template"]["spec"].clone();
    let (install, agent) = (&pod["initContainers"][0], &pod["containers"][0]);
    let image = agent["image"].as_str().or_fail("read the image's name");
    let lab = Lab::new();
    lab.host.ns.ip("addr add 192.0.2.2/24 dev eth0");
    lab.host.ns.ip("route add default via 192.0.2.1");
    let node = Node::start(&lab, image);
    let version = node.podman(&["run", "--rm", "--pull=never", "--network=none", image, "--version"]);
    assert_eq!(version.succeeded().stdout, format!("macvlan-ctl {}\n", env!("CARGO_PKG_VERSION")));

    lab.mounts().enter(|| {
        fs::create_dir(FILES).or_fail("make a directory");
        for (name, text) in of_kind(&documents, "ConfigMap")["data"].as_object().or_fail("find the files") {
            fs::write(Path::new(FILES).join(name), text.as_str().or_fail("read a file")).or_fail("write");
        }
        for volume in pod["volumes"].as_array().or_fail("find the volumes") {
            if volume["hostPath"]["type"] == "DirectoryOrCreate" {
                let path = volume["hostPath"]["path"].as_str().or_fail("read a path");
                fs::create_dir_all(path).or_fail("make a directory");
            }
        }
    });
    node.run(&pod, install, Path::new(FILES)).succeeded();
    let [plugin, given] =
        ["/opt/cni/bin/macvlan-cni", CONTEXT].map(|path| lab.mounts().enter(|| fs::read(path)).or_fail(path));
    assert!(plugin == given, "the plugin is not the program of the image");
    let list = lab.mounts().enter(|| fs::read_to_string("/etc/cni/net.d/90-macvlan.conflist"));
    let list: Value = serde_json::from_str(&list.or_fail("read the network")).or_fail("read the network");

    let mut running = node.launch(&pod, agent, Path::new(FILES));
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let asked = &agent[probe]["httpGet"];
        let address = format!("{}:{}", asked["host"].as_str().unwrap_or_default(), asked["port"]);
        let address: SocketAddr = address.parse().or_fail("read a probe's address");
        let path = asked["path"].as_str().or_fail("read a probe's path");
        let answer = || ask(&lab.host.ns, address, &format!("GET {path}")).ok();
        wait_for(probe, || answer().filter(|answer| (answer.status, &*answer.body) == (200, "ok\n")));
    }

    // What a runtime makes of a list: the plugin's part, with version and name.
    let mut part = list["plugins"][0].clone();
    for key in ["cniVersion", "name"] {
        part[key] = list[key].clone();
    }
    part["ipam"]["dataDir"] = "/run/books".into();
    let ns = Netns::new();
    let call = Call::new("/opt/cni/bin/macvlan-cni".into(), "pod", &ns, part);
    let attached = station(&ns, &call.add(&lab));
    assert!(ping(&lab.host, attached.ip.into()));
    assert_eq!(members(&lab), [attached.mac].into());

    // The kubelet ends it so, and gives it the manifest's time.
    let grace = pod["terminationGracePeriodSeconds"].as_u64().or_fail("read the time that it has");
    let start = Instant::now();
    let name = agent["name"].as_str().or_fail("read a container's name");
    node.podman(&["stop", "--time", &grace.to_string(), name]).succeeded();
    assert!(running.wait().or_fail("wait for podman").success(), "the agent did not end as asked");
    assert!(start.elapsed() < Duration::from_secs(grace), "the agent had to be killed");
    // What is attached stays while the follower is replaced.
    assert!(ping(&lab.host, attached.ip.into()));
    call.del(&lab);
    assert!(members(&lab).is_empty());

    // With a file of its own, as the manifest says in the beginning.
    let own = Path::new(FILES).join(format!("{NODE_NAME}.toml"));
    lab.mounts()
        .enter(|| fs::rename(Path::new(FILES).join("config.toml"), own))
        .or_fail("name a file after the node");
    let mut agent = agent.clone();
    let args = agent["args"].as_array_mut().or_fail("find the agent's arguments");
    let config =
        args.iter_mut().find(|arg| **arg == "--config=/etc/macvlan-ctl/config.toml").or_fail("find the file");
    *config = "--config=/etc/macvlan-ctl/$(NODE_NAME).toml".into();
    node.podman(&["rm", name]).succeeded();
    // What the kubelet made is there for the next agent, too, though no lock is in it.
    let mut running = node.launch(&pod, &agent, Path::new(FILES));
    let ready = || ask(&lab.host.ns, metrics_of(&agent), "GET /readyz").ok();
    wait_for("the agent of this node", || ready().filter(|answer| answer.status == 200));
    node.podman(&["stop", "--time", &grace.to_string(), name]).succeeded();
    assert!(running.wait().or_fail("wait for podman").success(), "the agent did not end as asked");
}

/// Where the agent says how it is.
#[track_caller]
fn metrics_of(agent: &Value) -> SocketAddr {
    let asked = &agent["readinessProbe"]["httpGet"];
    let address = format!("{}:{}", asked["host"].as_str().unwrap_or_default(), asked["port"]);
    address.parse().or_fail("read a probe's address")
}
