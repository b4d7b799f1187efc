//! containerd with its own client `ctr`, which puts containers on a network by CNI.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command},
};

use serde_json::Value;

use super::{cgroups::Cgroups, next_number, pack_image, sandbox::Sandbox};
use crate::{
    cli::{Ran, output, run},
    cni,
    fail::{OrFail as _, wait_for},
    lab::Lab,
};

/// Where `ctr` looks, and cannot be told otherwise (`go-cni`, `WithDefaultConf`).
const PLUGINS: &str = "/opt/cni/bin";
const NETWORKS: &str = "/etc/cni/net.d";

const CONFIG: &str = "/run/containerd.toml";

/// A containerd in a lab's host, with one network.
#[derive(Debug)]
pub struct Containerd {
    // Before the cgroups: these can go when nobody is in them.
    sandbox: Sandbox,
    cgroups: Cgroups,
}

impl Containerd {
    /// Starts it, with this list of plugin configurations as its network.
    #[track_caller]
    pub fn start(lab: &Lab, network: &Value) -> Self {
        // Before the sandbox, whose mounts are those of this moment.
        for directory in ["/opt", "/etc/cni"] {
            lab.mounts().hide(directory);
        }
        lab.mounts().enter(|| {
            [PLUGINS, NETWORKS].iter().for_each(|path| fs::create_dir_all(path).or_fail("make a directory"));
            fs::write(Path::new(NETWORKS).join("10-lan.conflist"), network.to_string())
                .or_fail("write a network");
            let plugins = fs::read_dir(cni::REFERENCE).or_fail("list the reference plugins").flatten();
            for plugin in plugins.map(|entry| entry.path()).chain([cni::plugin()]) {
                let name = plugin.file_name().or_fail("read a plugin's name");
                symlink(&plugin, Path::new(PLUGINS).join(name)).or_fail("link a plugin");
            }
            // Kubernetes' part of it would look for networks as well.
            let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
            fs::write(CONFIG, config).or_fail("write a configuration");
        });
        let containerd = Self { sandbox: Sandbox::new(lab), cgroups: Cgroups::new(next_number()) };
        pack_image(&containerd.sandbox);
        let mut daemon = containerd.sandbox.command("containerd");
        daemon.args(["--config", CONFIG]);
        containerd.sandbox.spawn(daemon);
        let answers = || output(containerd.command().arg("version")).status.success().then_some(());
        wait_for("containerd", answers);
        containerd
    }

    /// Starts a container that does nothing, and the client that waits for its end.
    #[track_caller]
    pub fn launch(&self, name: &str) -> Child {
        let cgroup = format!("/{}/{name}", self.cgroups.name());
        let mut command = self.command();
        command.args(["run", "--rm", "--null-io", "--cni", "--rootfs", "--cgroup", &cgroup]);
        command.args(["--runtime", "io.containerd.runc.v2", "--runc-binary", "runc"]);
        command.args(["/run/image", name, "/bin/busybox", "sleep", "86400"]);
        command.spawn().or_fail("run `ctr`")
    }

    /// Runs busybox in a container.
    #[track_caller]
    pub fn exec(&self, name: &str, args: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(["task", "exec", "--exec-id", "test", name, "/bin/busybox"]);
        output(command.args(args))
    }

    /// Kills a container.
    #[track_caller]
    pub fn kill(&self, name: &str) {
        run(self.command().args(["task", "kill", "--signal", "KILL", name]));
    }

    fn command(&self) -> Command {
        self.sandbox.command("ctr")
    }
}
