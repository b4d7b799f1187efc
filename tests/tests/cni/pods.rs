//! What Kubernetes asks of a node with macvlan pods: probes of the kubelet, and services.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use macvlan_tests::{
    cli::output,
    cni::{Call, network, plugin, reference, station},
    fail::OrFail as _,
    lab::{Lab, Station},
    needs,
    netns::Netns,
    require,
};
use serde_json::json;

/// Where services have their addresses: the pods' route there leads to their node.
const SERVICES: &str = "10.96.0.0/12";
const PORT: u16 = 80;

#[test]
fn the_kubelet_of_the_node_probes_its_pods() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let [theirs, ours] = [reference(), plugin()].map(|plugin| Pod::new(&lab, "probed", plugin));
    for pod in [&theirs, &ours] {
        assert!(pod.serves(&lab.wire, pod.at(PORT)), "the pod does not serve the LAN");
    }
    // A probe by TCP or HTTP is a connection of the host's.
    assert!(ours.serves(&lab.host, ours.at(PORT)));
    assert!(!theirs.serves(&lab.host, theirs.at(PORT)), "the reference plugin has host access?");
}

#[test]
fn a_pod_reaches_services_through_its_node() {
    needs!(require::lab, require::cni, nft);
    let lab = Lab::new();
    let [client, server] = ["client", "server"].map(|name| Pod::new(&lab, name, plugin()));
    let elsewhere = Pod::serving(share(&lab.wire));
    let node = Pod::serving(share(&lab.host));
    let backends = [(10, &server), (11, &elsewhere), (12, &node)];
    let services = backends.map(|(last, pod)| (Ipv4Addr::new(10, 96, 0, last), pod));
    lab.host.ns.ip("route add default via 10.9.0.1");
    lab.host.ns.sysctl("ipv4/ip_forward", 1);
    // The way in is the way out: a redirect would tell pods of a way around their node.
    for device in ["all", "eth0"] {
        lab.host.ns.sysctl(&format!("ipv4/conf/{device}/send_redirects"), 0);
    }
    load(&lab, &rules(&services));
    for (address, pod) in services {
        let service = SocketAddrV4::new(address, PORT);
        assert!(pod.serves(&client.station, service), "no answer from {address}");
        assert!(pod.serves(&lab.host, service), "no answer from {address} to the node");
    }
    // What is nobody's service gets no answer.
    assert!(!server.serves(&client.station, SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 99), PORT)));
}

/// What kube-proxy loads for services that have one backend each, with `masqueradeAll`: pods and
/// backends are on one network, and an answer that went there directly would be nobody's.
fn rules(services: &[(Ipv4Addr, &Pod)]) -> String {
    let translations: String = services
        .iter()
        .map(|(service, pod)| format!("ip daddr {service} tcp dport {PORT} dnat to {}\n", pod.at(PORT)))
        .collect();
    format!(
        "table ip services {{
            chain translate {{ {translations} }}
            chain prerouting {{ type nat hook prerouting priority dstnat; jump translate; }}
            chain output {{ type nat hook output priority -100; jump translate; }}
            chain postrouting {{ type nat hook postrouting priority srcnat; ct status dnat masquerade; }}
        }}"
    )
}

#[track_caller]
fn load(lab: &Lab, rules: &str) {
    let (reader, mut writer) = std::io::pipe().or_fail("make a pipe");
    writer.write_all(rules.as_bytes()).or_fail("write rules");
    drop(writer);
    output(lab.host.ns.command("nft").args(["-f", "-"]).stdin(Stdio::from(reader))).succeeded();
}

fn nft() -> Result<(), String> {
    require::program("nft")
}

/// Somebody who serves, until it is dropped.
struct Pod {
    station: Station,
    is_over: Arc<AtomicBool>,
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes it up.
        drop(self.station.ns.enter(|| TcpStream::connect(self.at(PORT))));
    }
}

impl Pod {
    /// A pod on the LAN whose way to services is its node.
    #[track_caller]
    fn new(lab: &Lab, name: &str, plugin: std::path::PathBuf) -> Self {
        let ns = Netns::new();
        let mut config = network("1.0.0");
        config["ipam"]["routes"] =
            json!([{"dst": "0.0.0.0/0"}, {"dst": SERVICES, "gw": lab.host.ip.to_string()}]);
        let container = format!("{name}-{}", ns.inode());
        let result = Call::new(plugin, &container, &ns, config).add(lab);
        Self::serving(station(&ns, &result))
    }

    #[track_caller]
    fn serving(station: Station) -> Self {
        let address = SocketAddrV4::new(station.ip, PORT);
        let listener = station.ns.enter(|| TcpListener::bind(address)).or_fail("listen");
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                // Whoever went away again takes no answer.
                let _ = stream.write_all(b"alive");
            }
        });
        Self { station, is_over }
    }

    fn at(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.station.ip, port)
    }

    /// Whether it answers somebody who connects to this address.
    fn serves(&self, client: &Station, address: SocketAddrV4) -> bool {
        client.ns.enter(|| ask(address.into()))
    }
}

fn ask(address: SocketAddr) -> bool {
    // Twice what the kernel waits before it asks again (TCP, ARP).
    const WAIT: std::time::Duration = std::time::Duration::from_secs(3);
    let Ok(mut stream) = TcpStream::connect_timeout(&address, WAIT) else { return false };
    let mut text = String::new();
    stream.set_read_timeout(Some(WAIT)).is_ok() && stream.read_to_string(&mut text).is_ok() && text == "alive"
}

fn share(station: &Station) -> Station {
    Station { ns: station.ns.share(), dev: station.dev.clone(), ..*station }
}
