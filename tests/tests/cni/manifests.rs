//! `deploy/kubernetes`: valid for Kubernetes, and what is in it does what it says.

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use macvlan_ctl::exporter::metrics;
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

const KUSTOMIZE: &str = "kustomize";

/// The manifest that `kubectl apply -f` takes.
pub const PLAIN: &str = "base/macvlan-ctl.yaml";

/// The directories that `kubectl apply -k` takes.
const OVERLAYS: [&str; 2] = ["overlays/k3s", "overlays/prometheus-operator"];

/// The validator of manifests, and the Python that reads them.
pub fn validator() -> Result<(), String> {
    require::program(VALIDATOR)
}

/// What puts the parts of `deploy/kubernetes` together, as `kubectl apply -k` does.
fn kustomize() -> Result<(), String> {
    require::program(KUSTOMIZE)
}

fn manifest(name: &str) -> PathBuf {
    workspace().join("deploy/kubernetes").join(name)
}

#[test]
fn manifests_are_valid_for_kubernetes() {
    needs!(validator);
    for name in [PLAIN, "multus.yaml"] {
        check_validity(name, &fs::read_to_string(manifest(name)).or_fail("read a manifest"));
    }
}

#[track_caller]
fn check_validity(name: &str, text: &str) {
    validate(text).succeeded();
    // A validator that finds no fault in this would find none in ours.
    let faulty = text.replacen("containers:", "containter:", 1);
    assert!(!validate(&faulty).status.success(), "{name}: a misspelt key is not found");
}

#[test]
fn kustomizations_are_the_plain_manifest_with_what_they_say_and_nothing_else() {
    needs!(validator, kustomize);
    let plain = documents(PLAIN);
    assert_eq!(by_name(&built(&manifest("base"))), by_name(&plain), "the base is not the plain manifest");
    for overlay in OVERLAYS {
        check_validity(overlay, &run(Command::new(KUSTOMIZE).arg("build").arg(manifest(overlay))));
    }

    let mut expected = plain.clone();
    let pod = pod_of(&mut expected);
    for (volume, path) in [
        ("plugins", "/var/lib/rancher/k3s/data/cni"),
        ("networks", "/var/lib/rancher/k3s/agent/etc/cni/net.d"),
    ] {
        let volumes = pod["volumes"].as_array_mut().or_fail("find the volumes");
        let volume = volumes.iter_mut().find(|one| one["name"] == volume).or_fail("find a volume");
        volume["hostPath"]["path"] = path.into();
    }
    assert_eq!(by_name(&built(&manifest("overlays/k3s"))), by_name(&expected));

    let mut monitored = built(&manifest("overlays/prometheus-operator"));
    monitored.retain(|document| document["kind"] != "PodMonitor");
    assert_eq!(monitored.len(), plain.len());
    let changed = pod_of(&mut monitored)["containers"][0].take();
    let was = pod_of(&mut expected)["containers"][0].take();
    let mut plain = plain;
    pod_of(&mut plain)["containers"][0].take();
    assert_eq!(by_name(&monitored), by_name(&plain), "more than the agent's container is different");
    let different = |key: &&String| changed[key.as_str()] != was[key.as_str()];
    let keys: Vec<&String> = changed.as_object().into_iter().flatten().map(|(key, _)| key).collect();
    let different: Vec<&String> = keys.into_iter().filter(different).collect();
    assert_eq!(different, ["args", "env", "livenessProbe", "ports", "readinessProbe", "startupProbe"]);
}

/// Prometheus reaches the agent where the monitor says, and no label that the operator adds is in the way of ours.
#[test]
fn the_pod_monitor_finds_the_agent_and_keeps_its_labels() {
    needs!(require::lab, require::binary, validator, kustomize);
    let mut documents = built(&manifest("overlays/prometheus-operator"));
    let monitor = of_kind(&documents, "PodMonitor");
    let agent = of_kind(&documents, "DaemonSet");
    assert_eq!(monitor["metadata"]["namespace"], agent["metadata"]["namespace"]);
    let labels = &agent["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&monitor["spec"]["selector"]["matchLabels"], labels);
    let job = monitor["spec"]["jobLabel"].as_str().or_fail("read the label of the job");
    assert_eq!(labels[job], "macvlan-ctl", "the job of the alert rules");
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let container = pod_of(&mut documents)["containers"][0].take();
    let port = &container["ports"][0];
    assert_eq!((&port["name"], &port["containerPort"]), (&endpoint["port"], &port["hostPort"]));
    let dropped = endpoint["relabelings"].as_array().into_iter().flatten();
    let dropped =
        dropped.filter(|rule| rule["action"] == "labeldrop").filter_map(|rule| rule["regex"].as_str());
    let dropped: Vec<&str> = dropped.flat_map(|regex| regex.split('|')).collect();
    // What the operator adds to each target of a PodMonitor.
    for added in ["namespace", "pod", "container", "endpoint", "job", "instance"] {
        let is_ours = metrics::ALL.iter().any(|metric| metric.labels.contains(&added));
        assert!(!is_ours || dropped.contains(&added), "{added} hides a label of ours");
    }
    assert!(dropped.contains(&"pod"), "a restart begins new series");

    let lab = Lab::new();
    lab.host.ns.ip(&format!("route add default via {}", lab.wire.ip));
    let _agent = follow(&lab, &documents, &container, &lab.host.ip.to_string());
    let at =
        SocketAddr::new(lab.host.ip.into(), port["containerPort"].as_u64().or_fail("read a port") as u16);
    let path = endpoint["path"].as_str().or_fail("read the path of the metrics");
    let text = get(&lab.wire.ns, at, path);
    assert!(text.contains("macvlan_master_ready{master=\"eth0\"} 1"), "{text}");
    for probe in PROBES {
        let asked = &container[probe]["httpGet"];
        // The kubelet asks at the address of the pod then, which is the node's.
        assert_eq!((&asked["host"], &asked["port"]), (&Value::Null, &port["containerPort"]), "{probe}");
        let path = asked["path"].as_str().or_fail("find a probe's path");
        assert_eq!(get(&lab.host.ns, at, path), "ok\n", "{probe}");
    }
}

/// An overlay of a user's own, as the README has it.
#[test]
fn an_overlay_of_ones_own_has_its_image_paths_monitor_and_files() {
    needs!(validator, kustomize);
    let text = fs::read_to_string(manifest("README.md")).or_fail("read the README");
    let own =
        text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).or_fail("find the example");
    let scratch = tempfile::tempdir().or_fail("make a directory");
    for part in ["base", "components"] {
        run(Command::new("cp").arg("-r").args([&manifest(part), &scratch.path().join(part)]));
    }
    let directory = scratch.path().join("own");
    fs::create_dir(&directory).or_fail("make a directory");
    fs::write(directory.join("kustomization.yaml"), own).or_fail("write an overlay");
    let files = [("config.toml", "# ours"), ("90-macvlan.conflist", "{}")];
    for (name, text) in files {
        fs::write(directory.join(name), text).or_fail("write a file");
    }
    let mut documents = built(&directory);
    let map = of_kind(&documents, "ConfigMap");
    assert_eq!(map["data"], Value::from_iter(files));
    assert_eq!(of_kind(&documents, "PodMonitor")["metadata"]["namespace"], map["metadata"]["namespace"]);
    let pod = pod_of(&mut documents);
    let version = env!("CARGO_PKG_VERSION");
    for container in [&pod["initContainers"][0], &pod["containers"][0]] {
        assert_eq!(container["image"], format!("registry.example.com/macvlan-ctl:{version}"));
    }
    let volume = |name: &str| {
        let volumes = pod["volumes"].as_array().or_fail("find the volumes");
        volumes.iter().find(|volume| volume["name"] == name).or_fail("find a volume")
    };
    assert_eq!(volume("config")["configMap"]["name"], map["metadata"]["name"]);
    assert_eq!(volume("plugins")["hostPath"]["path"], "/var/lib/rancher/k3s/data/cni");
}

/// The rules for the operator are made as the README says.
#[test]
fn the_alert_rules_become_a_rule_of_the_operator() {
    needs!(validator);
    let text = fs::read_to_string(manifest("README.md")).or_fail("read the README");
    let command =
        text.split("```\n").find(|block| block.contains("PrometheusRule")).or_fail("find the command");
    let (command, _) = command.rsplit_once("| kubectl apply").or_fail("find what is applied");
    let made = run(Command::new("sh").args(["-euc", command]).current_dir(manifest("")));
    let scratch = tempfile::tempdir().or_fail("make a directory");
    let file = scratch.path().join("rule.yaml");
    fs::write(&file, made).or_fail("write what is applied");
    let rule = of_kind(&documents_of(&file), "PrometheusRule");
    let rules = documents_of(&workspace().join("deploy/prometheus/macvlan-ctl.rules.yml"));
    assert_eq!(rule["spec"], rules[0]);
}

/// What `kubectl apply -k` would apply.
#[track_caller]
fn built(directory: &Path) -> Vec<Value> {
    let scratch = tempfile::tempdir().or_fail("make a directory");
    let file = scratch.path().join("built.yaml");
    fs::write(&file, run(Command::new(KUSTOMIZE).arg("build").arg(directory)))
        .or_fail("write what was built");
    documents_of(&file)
}

/// In an order that hangs on nothing else.
fn by_name(documents: &[Value]) -> BTreeMap<String, &Value> {
    let key = |document: &Value| format!("{} {}", document["kind"], document["metadata"]["name"]);
    documents.iter().map(|document| (key(document), document)).collect()
}

#[track_caller]
fn pod_of(documents: &mut [Value]) -> &mut Value {
    let agent = documents.iter_mut().find(|document| document["kind"] == "DaemonSet");
    &mut agent.or_fail("find the DaemonSet")["spec"]["template"]["spec"]
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
    documents_of(&manifest(name))
}

#[track_caller]
fn documents_of(file: &Path) -> Vec<Value> {
    const READ: &str =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let paths = env::var_os("PATH").unwrap_or_default();
    let beside = env::split_paths(&paths).find(|directory| directory.join(VALIDATOR).is_file());
    let python = beside.map(|directory| directory.join("python3")).filter(|python| python.is_file());
    let mut command = Command::new(python.unwrap_or_else(|| "python3".into()));
    let text = run(command.args(["-c", READ]).arg(file));
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
    lab.host.ns.ip("route add default via 192.0.2.1");
    let config = of_kind(&documents(PLAIN), "ConfigMap");
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
    lab.host.ns.ip("route add default via 192.0.2.1");
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

const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];

#[test]
fn the_agent_of_the_manifest_follows_and_is_healthy() {
    needs!(require::lab, require::binary, validator);
    let documents = documents(PLAIN);
    let lab = Lab::new();
    // On the node's device, whatever its name.
    lab.host.ns.ip(&format!("route add default via {}", lab.wire.ip));
    let agent = of_kind(&documents, "DaemonSet");
    let container = &agent["spec"]["template"]["spec"]["containers"][0];
    let _agent = follow(&lab, &documents, container, "");
    assert_eq!(lab.ctl(&["-j", "status", "eth0"]).succeeded().json()[0]["datapath"], "bpf");
    for probe in PROBES {
        let asked = &container[probe]["httpGet"];
        let address = format!("{}:{}", asked["host"].as_str().unwrap_or_default(), asked["port"]);
        let path = asked["path"].as_str().or_fail("find a probe's path");
        let text = get(&lab.host.ns, address.parse().or_fail("read a probe's address"), path);
        assert_eq!(text, "ok\n", "{probe}");
    }
}

/// The agent with the arguments of its container and the files of the manifest, on a node with this address.
#[track_caller]
fn follow<'lab>(lab: &'lab Lab, documents: &[Value], container: &Value, address: &str) -> Following<'lab> {
    let config = of_kind(documents, "ConfigMap");
    let config = config["data"]["config.toml"].as_str().or_fail("find the configuration");
    lab.mounts().enter(|| fs::write("/run/config.toml", config)).or_fail("write the configuration");
    let args = container["args"].as_array().or_fail("find the arguments");
    let args = args.iter().filter_map(Value::as_str).skip(1);
    let args: Vec<String> = args
        .map(|arg| {
            arg.replace("/etc/macvlan-ctl/config.toml", "/run/config.toml").replace("$(NODE_IP)", address)
        })
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Following::start(lab, &args)
}

#[test]
fn the_agent_has_the_capabilities_of_the_unit_and_asks_nothing_of_the_api() {
    needs!(validator);
    let documents = documents(PLAIN);
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
