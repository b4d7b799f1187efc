//! `deploy/kubernetes`: valid for Kubernetes, and what is in it does what it says.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use macvlan_tests::{
    cli::{Ran, binary, output, run, workspace},
    cni::{Call, plugin, station},
    control::members,
    fail::OrFail as _,
    following::Following,
    http::get,
    lab::Lab,
    needs,
    netns::Netns,
    require,
    talk::ping,
};
use serde_json::Value;

const VALIDATOR: &str = "kubernetes-validate";

/// The validator of manifests, and the Python that reads them.
pub fn validator() -> Result<(), String> {
    require::program(VALIDATOR)
}

fn manifest(name: &str) -> PathBuf {
    workspace().join("deploy/kubernetes").join(name)
}

#[test]
fn manifests_are_valid_for_kubernetes() {
    needs!(validator);
    for name in ["macvlan-ctl.yaml", "multus.yaml"] {
        let text = fs::read_to_string(manifest(name)).or_fail("read a manifest");
        validate(&text).succeeded();
        // A validator that finds no fault in this would find none in ours.
        let faulty = text.replacen("containers:", "containter:", 1);
        assert!(!validate(&faulty).status.success(), "{name}: a misspelt key is not found");
    }
}

#[track_caller]
fn validate(manifest: &str) -> Ran {
    let (reader, mut writer) = std::io::pipe().or_fail("make a pipe");
    // Both are far smaller than what a pipe holds.
    std::io::Write::write_all(&mut writer, manifest.as_bytes()).or_fail("write a manifest");
    drop(writer);
    output(Command::new(VALIDATOR).args(["--strict", "-"]).stdin(Stdio::from(reader)))
}

/// The documents of a manifest, read by the Python that the validator runs in.
#[track_caller]
pub fn documents(name: &str) -> Vec<Value> {
    const READ: &str =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let paths = env::var_os("PATH").unwrap_or_default();
    let beside = env::split_paths(&paths).find(|directory| directory.join(VALIDATOR).is_file());
    let python = beside.map(|directory| directory.join("python3")).filter(|python| python.is_file());
    let mut command = Command::new(python.unwrap_or_else(|| "python3".into()));
    let text = run(command.args(["-c", READ]).arg(manifest(name)));
    serde_json::from_str(&text).or_fail("read a manifest's documents")
}

/// The document of this kind.
pub fn of_kind(documents: &[Value], kind: &str) -> Value {
    documents.iter().find(|document| document["kind"] == kind).cloned().or_fail(format!("find a {kind}"))
}

#[test]
fn the_network_of_the_manifest_is_installed_and_attaches_a_pod() {
    needs!(require::lab, require::cni, require::binary, validator);
    let lab = Lab::new();
    lab.host.ns.ip("addr add 192.0.2.2/24 dev eth0");
    let config = of_kind(&documents("macvlan-ctl.yaml"), "ConfigMap");
    let list = config["data"]["90-macvlan.conflist"].as_str().or_fail("find the network");
    lab.mounts().enter(|| fs::write("/run/90-macvlan.conflist", list)).or_fail("write the network");
    let mut install = lab.command(&lab.host.ns, binary());
    install.args(["install-cni", "--plugins=/run/plugins", "--networks=/run/networks"]);
    output(install.arg("--network=/run/90-macvlan.conflist")).succeeded();
    let installed = lab.mounts().enter(|| fs::read_to_string("/run/networks/90-macvlan.conflist"));
    let installed: Value =
        serde_json::from_str(&installed.or_fail("read the network")).or_fail("read the network");

    // What a runtime makes of a list: the plugin's part, with version and name.
    let mut part = installed["plugins"][0].clone();
    for key in ["cniVersion", "name"] {
        part[key] = installed[key].clone();
    }
    part["ipam"]["dataDir"] = "/run/books".into();
    let ns = Netns::new();
    let call = Call::new("/run/plugins/macvlan-cni".into(), "pod", &ns, part);
    let pod = station(&ns, &call.add(&lab));
    assert_eq!(pod.ip.to_string(), "192.0.2.100");
    assert!(ping(&lab.host, pod.ip.into()));
    call.del(&lab);
    assert!(members(&lab).is_empty());
}

#[test]
fn the_attachment_for_multus_attaches_a_pod() {
    needs!(require::lab, require::cni, validator);
    let lab = Lab::new();
    lab.host.ns.ip("addr add 192.0.2.2/24 dev eth0");
    let definition = of_kind(&documents("multus.yaml"), "NetworkAttachmentDefinition");
    let config = definition["spec"]["config"].as_str().or_fail("find the configuration");
    let mut config: Value = serde_json::from_str(config).or_fail("read the configuration");
    config["ipam"]["dataDir"] = "/run/books".into();
    let ns = Netns::new();
    let call = Call { ifname: "net1", ..Call::new(plugin(), "pod", &ns, config) };
    let pod = station(&ns, &call.add(&lab));
    assert!(ping(&lab.host, pod.ip.into()));
    assert_eq!(ns.ip_json("route show 198.51.100.0/24")[0]["gateway"], "192.0.2.1");
    call.del(&lab);
}

#[test]
fn the_agent_of_the_manifest_follows_and_is_healthy() {
    needs!(require::lab, require::binary, validator);
    let documents = documents("macvlan-ctl.yaml");
    let lab = Lab::new();
    let config = of_kind(&documents, "ConfigMap");
    let config = config["data"]["config.toml"].as_str().or_fail("find the configuration");
    lab.mounts().enter(|| fs::write("/run/config.toml", config)).or_fail("write the configuration");
    let agent = of_kind(&documents, "DaemonSet");
    let container = &agent["spec"]["template"]["spec"]["containers"][0];
    let args = container["args"].as_array().or_fail("find the arguments");
    let args = args.iter().filter_map(Value::as_str).skip(1);
    let args: Vec<String> =
        args.map(|arg| arg.replace("/etc/macvlan-ctl/config.toml", "/run/config.toml")).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let _agent = Following::start(&lab, &args);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let asked = &container[probe]["httpGet"];
        let address = format!("{}:{}", asked["host"].as_str().unwrap_or_default(), asked["port"]);
        let path = asked["path"].as_str().or_fail("find a probe's path");
        let text = get(&lab.host.ns, address.parse().or_fail("read a probe's address"), path);
        assert_eq!(text, "ok\n", "{probe}");
    }
}

#[test]
fn the_agent_has_the_capabilities_of_the_unit_and_asks_nothing_of_the_api() {
    needs!(validator);
    let documents = documents("macvlan-ctl.yaml");
    for document in &documents {
        let kind = document["kind"].as_str().or_fail("find a kind");
        assert!(!kind.contains("Role"), "{kind} is more than it needs");
    }
    let pod = of_kind(&documents, "DaemonSet")["spec"]["template"]["spec"].clone();
    assert_eq!(pod["automountServiceAccountToken"], false);
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["capabilities"]["drop"][0], "ALL");
    assert_ne!(security["privileged"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let paths = pod["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|volume| volume["hostPath"]["path"].as_str());
    let needed = ["/opt/cni/bin", "/etc/cni/net.d", "/sys/fs/bpf", "/run/macvlan-ctl", "/run/netns"];
    assert_eq!(paths.collect::<Vec<_>>(), needed);
    let unit = fs::read_to_string(workspace().join(Path::new("deploy/systemd/macvlan-ctl.service")));
    let unit = unit.or_fail("read the unit");
    let bounds = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let bounds = bounds.or_fail("find the unit's capabilities").replace("CAP_", "");
    let added: Vec<&str> =
        security["capabilities"]["add"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(added, bounds.split_whitespace().collect::<Vec<_>>());
}
