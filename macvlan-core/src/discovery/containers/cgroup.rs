//! Container ids in a process's cgroups: engines put each container into one named after it.

/// A container's id in the name of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The engine, where the name tells it.
    pub engine: Option<&'static str>,
    /// 64 hexadecimal digits.
    pub id: String,
}

/// Every container that the text of a `/proc/PID/cgroup` names (cgroups(7)), outermost first.
///
/// Both versions, and both ways to name cgroups: systemd's (`docker-ID.scope`) and plain
/// (`docker/ID`).
pub fn mentions(text: &str) -> Vec<Mention> {
    let mut found: Vec<Mention> = Vec::new();
    for path in text.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
        let mut above: Option<&str> = None;
        for name in path.split('/') {
            let mention = mention(name, above).filter(|new| found.iter().all(|known| known.id != new.id));
            found.extend(mention);
            above = Some(if is_pod(name) { "kubepods" } else { name });
        }
    }
    found
}

/// Whether `text` is an id as all engines draw them.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

const ID_LEN: usize = 64;

fn mention(name: &str, above: Option<&str>) -> Option<Mention> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = name.split_at_checked(name.len().checked_sub(ID_LEN)?)?;
    if !is_id(id) {
        return None;
    }
    let engine = match prefix.strip_suffix(['-', ':']) {
        // Kubernetes with `SystemdCgroup = false` below a slice: `...slice:cri-containerd:ID`.
        Some(prefix) => Some(by_prefix(prefix.rsplit(':').next()?)?),
        None if prefix.is_empty() => above.and_then(by_parent),
        None => return None,
    };
    Some(Mention { engine, id: id.to_owned() })
}

/// `None` for what is no container, such as the monitors of Podman (`libpod-conmon-ID.scope`).
fn by_prefix(prefix: &str) -> Option<&'static str> {
    match prefix {
        "docker" => Some("docker"),
        "libpod" | "libpod-payload" => Some("podman"),
        "cri-containerd" | "nerdctl" => Some("containerd"),
        "crio" => Some("cri-o"),
        _ => None,
    }
}

/// Whose containers have their id alone for a name below this cgroup.
fn by_parent(above: &str) -> Option<&'static str> {
    match above {
        "docker" => Some("docker"),
        "kubepods" | "k8s.io" => Some("containerd"),
        _ => None,
    }
}

/// The cgroup of a pod: `pod` and a UUID, below `kubepods` or one of its classes.
fn is_pod(name: &str) -> bool {
    const UUID_LEN: usize = 36;
    name.strip_prefix("pod").is_some_and(|uid| uid.len() == UUID_LEN && uid.contains('-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "ed6e59f70b868973ab3e06424546f5621801ca423f9e983d8fc8b69079edb69a";
    const INNER: &str = "609a6f77d8fa026b7c0c2566c70ec21972c1710a53890801b5f7086500711bf2";

    fn engines(line: &str) -> Vec<Option<&'static str>> {
        let text = line.replace("ID", ID);
        let found = mentions(&text);
        assert!(found.iter().all(|mention| mention.id == ID), "{text}");
        found.into_iter().map(|mention| mention.engine).collect()
    }

    #[test]
    fn every_engine_is_known_by_its_cgroups() {
        for (line, engine) in [
            // Docker: systemd and cgroupfs, version 2 and 1, and a process deeper inside.
            ("0::/system.slice/docker-ID.scope", "docker"),
            ("1:name=systemd:/system.slice/docker-ID.scope", "docker"),
            ("12:cpu,cpuacct:/docker/ID", "docker"),
            ("0::/docker/ID", "docker"),
            ("0::/system.slice/docker-ID.scope/init.scope", "docker"),
            ("0::/../../system.slice/docker-ID.scope", "docker"),
            ("0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope", "docker"),
            ("4:memory:/system.slice/system.slice:docker:ID", "docker"),
            // Podman.
            ("0::/machine.slice/libpod-ID.scope", "podman"),
            ("0::/machine.slice/libpod-ID.scope/container", "podman"),
            ("0::/machine.slice/machine-libpod_pod_0123.slice/libpod-ID.scope", "podman"),
            ("9:name=systemd:/libpod_parent/libpod-ID", "podman"),
            ("0::/system.slice/web.service/libpod-payload-ID", "podman"),
            // Kubernetes.
            (
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2b801b7a_4266_4ec4_8caf_b2a3b4c9d2c0.slice/cri-containerd-ID.scope",
                "containerd",
            ),
            (
                "11:pids:/system.slice/containerd.service/kubepods-besteffort-pod0c9ba63b.slice:cri-containerd:ID",
                "containerd",
            ),
            ("10:freezer:/kubepods/burstable/pod2b801b7a-4266-4ec4-8caf-b2a3b4c9d2c0/ID", "containerd"),
            ("0::/kubepods.slice/kubepods-pod2b801b7a.slice/crio-ID.scope", "cri-o"),
            ("10:freezer:/kubepods/pod2b801b7a-4266-4ec4-8caf-b2a3b4c9d2c0/crio-ID", "cri-o"),
            ("0::/system.slice/nerdctl-ID.scope", "containerd"),
            ("0::/k8s.io/ID", "containerd"),
        ] {
            assert_eq!(engines(line), [Some(engine)], "{line}");
        }
    }

    #[test]
    fn an_id_below_a_cgroup_of_the_users_choice_is_told_without_an_engine() {
        for line in ["0::/my-parent/ID", "5:devices:/ecs/55091c13b8cf/ID", "0::/default/ID", "0::/ID"] {
            assert_eq!(engines(line), [None], "{line}");
        }
    }

    #[test]
    fn what_is_no_container_is_passed_over() {
        for line in [
            "",
            "0::/",
            "0::/init.scope",
            "0::/system.slice/docker.service",
            "0::/system.slice/containerd.service",
            "0::/user.slice/user-1000.slice/session-3.scope",
            "0::/machine.slice/libpod-conmon-ID.scope",
            "0::/kubepods.slice/crio-conmon-ID.scope",
            "0::/lxc.payload.web",
            "0::/docker/IDa",
            "0::/system.slice/docker-IDa.scope",
            "0::/system.slice/dockerID.scope",
            "/system.slice/docker-ID.scope",
            "0:/system.slice/docker-ID.scope",
        ] {
            assert_eq!(engines(line), [], "{line}");
        }
        assert_eq!(mentions(&format!("0::/docker/{}", ID.to_uppercase())), []);
    }

    #[test]
    fn a_container_inside_a_container_comes_after_it_and_none_comes_twice() {
        let text = format!("9:pids:/docker/{ID}/docker/{INNER}\n0::/docker/{ID}/docker/{INNER}\n");
        let ids: Vec<String> = mentions(&text).into_iter().map(|mention| mention.id).collect();
        assert_eq!(ids, [ID, INNER]);
    }

    proptest! {
        #[test]
        fn any_text_gives_ids_or_nothing(text: String) {
            prop_assert!(mentions(&text).iter().all(|mention| is_id(&mention.id)));
        }

        #[test]
        fn text_like_a_cgroups_gives_ids_or_nothing(text in "([0-9]{1,2}:[a-z=,]{0,5}:)?(/(docker-|libpod[:-]|é|pod)?[0-9a-f]{62,66}(.scope)?){0,4}\n?") {
            prop_assert!(mentions(&text).iter().all(|mention| is_id(&mention.id) && text.contains(&mention.id)));
        }
    }
}
