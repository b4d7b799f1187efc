//! The recipe of the container image: built from scratch, with nothing from a network.

use macvlan_tests::{
    cli::{output, workspace},
    lab::Lab,
    needs, require,
};

/// Any static program stands for the binaries here: what is tested is the recipe.
const BUILD: &str = r#"
    mkdir -p /run/context && cp "$(command -v busybox)" /run/context/macvlan-ctl
    cat /run/context/macvlan-ctl /etc/hostname >/run/context/macvlan-cni
    export TMPDIR=/run
    podman="podman --storage-driver=vfs --cgroup-manager=cgroupfs --events-backend=file --runtime=runc"
    $podman build --quiet --isolation=chroot --pull=never --tag test --file "$0" /run/context >/run/log
    root=$($podman image mount localhost/test:latest)
    find "$root" -type f | sed "s,^$root,," | sort
    for name in macvlan-cni macvlan-ctl; do cmp "$root/usr/bin/$name" "/run/context/$name"; done
    $podman image inspect --format '{{.Config.Entrypoint}}' localhost/test:latest
"#;

#[test]
fn the_image_has_the_binaries_and_nothing_else() {
    needs!(require::lab, require::podman);
    let lab = Lab::new();
    lab.mounts().hide("/var/lib");
    // The lab's host has no way to any registry.
    let mut shell = lab.command(&lab.host.ns, "sh");
    let built = output(shell.args(["-euc", BUILD]).arg(workspace().join("deploy/container/Dockerfile")));
    assert_eq!(
        built.succeeded().stdout,
        "/usr/bin/macvlan-cni\n/usr/bin/macvlan-ctl\n[/usr/bin/macvlan-ctl]\n"
    );
}
