//! Real container engines in a lab: their daemons, files, mounts, processes and cgroups are their
//! own, and go with them.

mod cgroups;
mod containerd;
mod node;
mod sandbox;

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

use self::{cgroups::Cgroups, sandbox::Sandbox};
pub use self::{
    containerd::Containerd,
    node::{CONTEXT, NODE_NAME, Node},
};
use crate::{
    cli::{self, output, run},
    cni,
    fail::{OrFail as _, wait_for},
    lab::{Lab, Station},
    netns::Netns,
};

/// The engines that tests know how to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With a daemon, and a socket that it always listens at.
    Docker,
    /// Without one; a socket only where somebody starts its service.
    Podman,
}

impl Kind {
    /// As the product calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// Options that keep it to its sandbox, and to the runtime that tests need: which others are installed is
    /// nothing to them.
    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &[],
            Self::Podman => &[
                "--storage-driver=vfs",
                "--cgroup-manager=cgroupfs",
                "--events-backend=file",
                "--network-config-dir=/run/networks",
                "--runtime=runc",
            ],
        }
    }
}

/// An engine in a lab's host, with one image and a macvlan network on the lab's master.
#[derive(Debug)]
pub struct Engine {
    kind: Kind,
    /// It takes CNI plugins from where the one under test is, too.
    has_plugin: bool,
    // Before the cgroups: these can go when nobody is in them.
    sandbox: Sandbox,
    cgroups: Cgroups,
}

/// A container that runs.
#[derive(Debug)]
pub struct Container {
    /// Its id, in full.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its network.
    pub station: Station,
}

/// The network's name, and that of the image: one static busybox.
const NETWORK: &str = "lan";
const IMAGE: &str = "box";

/// What Podman reads instead of its own configuration, where it is to find the plugin.
const PODMAN_CONFIG: &str = "/run/containers.conf";

impl Engine {
    /// Starts one and makes the network.
    #[track_caller]
    pub fn start(kind: Kind, lab: &Lab) -> Self {
        Self::start_with(kind, false, lab)
    }

    /// Starts Podman with CNI as what makes its networks, and makes one of type `macvlan-cni`: as it
    /// makes one of type `macvlan`, but for that word.
    #[track_caller]
    pub fn with_plugin(lab: &Lab) -> Self {
        let engine = Self::start_with(Kind::Podman, true, lab);
        let path = "/run/networks/lan.conflist";
        engine.sandbox.mounts().enter(|| {
            let network = fs::read_to_string(path).or_fail("read the network");
            let changed = network.replace("\"type\": \"macvlan\"", "\"type\": \"macvlan-cni\"");
            assert_ne!(changed, network, "no macvlan");
            fs::write(path, changed).or_fail("write the network");
        });
        engine
    }

    /// Starts Docker with nothing but one image, which does nothing and is called `image`.
    #[track_caller]
    pub fn docker_with(image: &str, lab: &Lab) -> Self {
        let (sandbox, cgroups) = (Sandbox::new(lab), Cgroups::new(next_number()));
        let engine = Self { kind: Kind::Docker, has_plugin: false, sandbox, cgroups };
        engine.start_daemon();
        pack_image(&engine.sandbox);
        let idle = "CMD [\"/bin/busybox\", \"sleep\", \"86400\"]";
        engine.ask(&["import", "--change", idle, "/run/image.tar", image]);
        engine
    }

    /// A command line as a person would type it on the host, with the program under test in `PATH`.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = self.sandbox.command("sh");
        let program = cli::binary();
        let place = program.parent().or_fail("tell the program's directory").display();
        let path = std::env::var("PATH").or_fail("read PATH");
        command.env_remove("DOCKER_HOST").env("PATH", format!("{place}:{path}"));
        command.args(["-ec", &format!("cd /run; {line}")]);
        command
    }

    #[track_caller]
    fn start_with(kind: Kind, has_plugin: bool, lab: &Lab) -> Self {
        let (sandbox, cgroups) = (Sandbox::new(lab), Cgroups::new(next_number()));
        let engine = Self { kind, has_plugin, sandbox, cgroups };
        if has_plugin {
            let ours = cni::plugin();
            let config = format!(
                "[network]\nnetwork_backend = \"cni\"\ncni_plugin_dirs = [{ours:?}, {:?}]\n",
                cni::REFERENCE,
                ours = ours.parent().or_fail("tell the plugin's directory"),
            );
            engine.sandbox.mounts().enter(|| fs::write(PODMAN_CONFIG, config)).or_fail("configure podman");
        }
        if kind == Kind::Docker {
            engine.start_daemon();
        }
        engine.import_image();
        let parent = format!("parent={}", lab.host.dev);
        let network = ["network", "create", "-d", "macvlan", "--subnet", "10.9.0.0/24", "-o", &parent];
        engine.ask(&[&network[..], &[NETWORK]].concat());
        engine
    }

    /// Which one it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Starts a container that does nothing, at this address.
    #[track_caller]
    pub fn run(&self, name: &str, ip: Ipv4Addr) -> Container {
        self.launch(name, ip);
        self.find(name, ip)
    }

    /// Starts such a container without looking at it.
    #[track_caller]
    pub fn launch(&self, name: &str, ip: Ipv4Addr) {
        let (address, parent) = (ip.to_string(), format!("--cgroup-parent=/{}", self.cgroups.name()));
        let options = ["run", "-d", "--log-driver=none", &parent, "--network", NETWORK, "--ip", &address];
        self.ask(&[&options[..], &["--name", name, IMAGE, "/bin/busybox", "sleep", "86400"]].concat());
    }

    /// The container of this name, which runs.
    #[track_caller]
    pub fn find(&self, name: &str, ip: Ipv4Addr) -> Container {
        let told = self.ask(&["inspect", name]);
        let told: Value = serde_json::from_str(&told).or_fail("read what the engine tells");
        let id = told[0]["Id"].as_str().or_fail("read an id").to_owned();
        let path = told[0]["NetworkSettings"]["SandboxKey"].as_str().or_fail("read a namespace's path");
        let ns = self.sandbox.mounts().enter(|| File::open(path)).or_fail(format!("open {path}"));
        let ns = Netns::from(ns);
        let dev = "eth0".to_owned();
        let mac = ns.ip_json("link show dev eth0")[0]["address"].as_str().and_then(|mac| mac.parse().ok());
        let mac = mac.or_fail("read the container's MAC");
        Container { id, name: name.into(), station: Station { ns, dev, mac, ip, ip6: ip.to_ipv6_mapped() } }
    }

    /// Stops and starts a container.
    #[track_caller]
    pub fn restart(&self, name: &str) {
        self.ask(&["restart", "-t", "0", name]);
    }

    /// Gives a container another name.
    #[track_caller]
    pub fn rename(&self, name: &str, new: &str) {
        self.ask(&["rename", name, new]);
    }

    /// Kills a container and removes it.
    #[track_caller]
    pub fn remove(&self, name: &str) {
        self.ask(&["rm", "-f", name]);
    }

    /// Starts Podman's service: it speaks Docker's API then.
    #[track_caller]
    pub fn serve(&self) {
        const SOCKET: &str = "/run/podman/podman.sock";
        let directory = self.sandbox.mounts().enter(|| fs::create_dir_all("/run/podman"));
        directory.or_fail("make a directory for a socket");
        let service = ["system", "service", "--time=0", &format!("unix://{SOCKET}")];
        self.sandbox.spawn(self.command(&service));
        let listens = || self.sandbox.mounts().enter(|| std::os::unix::net::UnixStream::connect(SOCKET)).ok();
        wait_for("podman's service", listens);
    }

    /// What would be there still if it were not cleaned up: processes and cgroups, by path.
    pub fn traces(&self) -> Vec<PathBuf> {
        let processes = self.sandbox.processes(self.cgroups.name()).into_iter();
        processes.chain(self.cgroups.present()).collect()
    }

    /// Runs the engine's command line.
    #[track_caller]
    fn ask(&self, args: &[&str]) -> String {
        run(&mut self.command(args))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.command(self.kind.as_str());
        if self.has_plugin {
            command.env("CONTAINERS_CONF", PODMAN_CONFIG);
        }
        command.env_remove("DOCKER_HOST").args(self.kind.options()).args(args);
        command
    }

    #[track_caller]
    fn start_daemon(&self) {
        let mut daemon = self.sandbox.command("dockerd");
        daemon.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
        daemon.args(["--bridge=none", "--userland-proxy=false", "--storage-driver=vfs"]);
        daemon.args([
            "--exec-opt=native.cgroupdriver=cgroupfs",
            "--default-runtime=runc",
            "--log-driver=none",
        ]);
        daemon.arg(format!("--cgroup-parent=/{}", self.cgroups.name()));
        self.sandbox.spawn(daemon);
        wait_for("dockerd", || output(&mut self.command(&["version"])).status.success().then_some(()));
    }

    #[track_caller]
    fn import_image(&self) {
        pack_image(&self.sandbox);
        self.ask(&["import", "/run/image.tar", IMAGE]);
    }
}

/// Makes the image's tree at `/run/image`, and an archive of it.
#[track_caller]
fn pack_image(sandbox: &Sandbox) {
    const PACK: &str = "mkdir -p /run/image/bin && cp \"$(command -v busybox)\" /run/image/bin/busybox && \
                        tar -C /run/image -cf /run/image.tar .";
    run(sandbox.command("sh").args(["-c", PACK]).stdin(Stdio::null()));
}

/// A number that no other engine of this process has.
fn next_number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}
