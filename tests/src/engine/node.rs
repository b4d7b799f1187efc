//! A node of a cluster, as far as the containers of a pod need one: Podman starts them as the kubelet
//! would.

use std::{
    path::Path,
    process::{Child, Stdio},
};

use serde_json::Value;

use super::{Kind, cgroups::Cgroups, next_number, sandbox::Sandbox};
use crate::{
    cli::{Ran, output, run, workspace},
    fail::OrFail as _,
    lab::Lab,
    package::PACKAGE,
};

/// A node in a lab's host, with the project's image.
#[derive(Debug)]
pub struct Node {
    // Before the cgroups: these can go when nobody is in them.
    sandbox: Sandbox,
    cgroups: Cgroups,
}

/// Builds the image from the recipe, with the static binaries of the package for a context. The lab's host
/// has no way to any registry.
const BUILD: &str = r#"
    mkdir -p /run/context
    dpkg-deb --fsys-tarfile "$1" |
        tar -x -C /run/context --transform 's,.*/,,' ./usr/bin/macvlan-ctl ./usr/lib/cni/macvlan-cni
    export TMPDIR=/run
    exec podman --storage-driver=vfs --cgroup-manager=cgroupfs --events-backend=file --runtime=runc \
        build --quiet --isolation=chroot --pull=never --tag "$2" --file "$0" /run/context
"#;

/// What the cluster calls it.
pub const NODE_NAME: &str = "node-1";

/// Where the static plugin is on a node.
pub const CONTEXT: &str = "/run/context/macvlan-cni";

impl Node {
    /// One with the image under this name.
    #[track_caller]
    pub fn start(lab: &Lab, image: &str) -> Self {
        // Before the sandbox, whose mounts are those of this moment.
        for directory in ["/opt", "/etc/cni"] {
            lab.mounts().hide(directory);
        }
        let node = Self { sandbox: Sandbox::new(lab), cgroups: Cgroups::new(next_number()) };
        let mut build = node.sandbox.command("sh");
        build.args(["-euc", BUILD]).arg(workspace().join("deploy/container/Dockerfile"));
        run(build.arg(&*PACKAGE).arg(image));
        node
    }

    /// Runs Podman.
    #[track_caller]
    pub fn podman(&self, args: &[&str]) -> Ran {
        let mut command = self.sandbox.command(Kind::Podman.as_str());
        output(command.args(Kind::Podman.options()).args(args))
    }

    /// Runs a container of a pod to its end. `files` is the directory that has what its configuration
    /// maps would have.
    #[track_caller]
    pub fn run(&self, pod: &Value, container: &Value, files: &Path) -> Ran {
        let options = self.options(pod, container, files);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.podman(&[&["run", "--rm"], &options[..]].concat())
    }

    /// Starts a container of a pod, under the name that it has there.
    #[track_caller]
    pub fn launch(&self, pod: &Value, container: &Value, files: &Path) -> Child {
        let mut command = self.sandbox.command(Kind::Podman.as_str());
        command.args(Kind::Podman.options()).args(["run", "--name", word(&container["name"])]);
        command.args(self.options(pod, container, files)).stdout(Stdio::null());
        command.spawn().or_fail("run podman")
    }

    /// What a manifest says of a container, as Podman has it.
    fn options(&self, pod: &Value, container: &Value, files: &Path) -> Vec<String> {
        let mut options =
            vec!["--pull=never".to_owned(), format!("--cgroup-parent=/{}", self.cgroups.name())];
        let network = if pod["hostNetwork"] == true { "host" } else { "none" };
        options.push(format!("--network={network}"));
        options.extend((pod["hostPID"] == true).then(|| "--pid=host".to_owned()));
        let security = &container["securityContext"];
        options.extend((security["privileged"] == true).then(|| "--privileged".to_owned()));
        options.extend((security["readOnlyRootFilesystem"] == true).then(|| "--read-only".to_owned()));
        let no_more = security["allowPrivilegeEscalation"] == false;
        options.extend(no_more.then(|| "--security-opt=no-new-privileges".to_owned()));
        // A kubelet confines nobody unasked; Podman has the profile of its runtime at hand.
        let profile = &pod["securityContext"]["seccompProfile"]["type"];
        options.extend((profile != "RuntimeDefault").then(|| "--security-opt=seccomp=unconfined".to_owned()));
        for (key, option) in [("drop", "--cap-drop"), ("add", "--cap-add")] {
            let names = list(&security["capabilities"][key]);
            options.extend(names.iter().map(|name| format!("{option}={}", word(name))));
        }
        for mount in list(&container["volumeMounts"]) {
            let volume = list(&pod["volumes"]).iter().find(|volume| volume["name"] == mount["name"]);
            let volume = volume.or_fail(format!("find the volume of {mount}"));
            let source = volume["hostPath"]["path"].as_str().map_or(files, Path::new);
            let mut how = vec![if mount["readOnly"] == true { "ro" } else { "rw" }];
            how.extend((mount["mountPropagation"] == "HostToContainer").then_some("rslave"));
            let (source, target) = (source.display(), word(&mount["mountPath"]));
            options.push(format!("--volume={source}:{target}:{}", how.join(",")));
        }
        options.push(word(&container["image"]).to_owned());
        options.extend(list(&container["args"]).iter().map(|arg| with_variables(word(arg), container)));
        options
    }
}

/// An argument as the kubelet gives it, with what variables of the container stand for.
#[track_caller]
fn with_variables(arg: &str, container: &Value) -> String {
    list(&container["env"]).iter().fold(arg.to_owned(), |arg, variable| {
        let value = match word(&variable["valueFrom"]["fieldRef"]["fieldPath"]) {
            "spec.nodeName" => NODE_NAME,
            other => panic!("{other} is nothing that this node knows"),
        };
        arg.replace(&format!("$({})", word(&variable["name"])), value)
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[track_caller]
fn word(value: &Value) -> &str {
    value.as_str().or_fail(format!("read {value} as a word"))
}
