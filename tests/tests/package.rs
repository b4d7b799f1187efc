//! What is installed: the Debian package in a root of its own, the units and manual pages.

use std::{
    fs::{self, File},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use macvlan_tests::{
    cli::{self, Ran, workspace},
    fail::OrFail as _,
    lab::Lab,
    needs,
    netns::on_own_thread,
    package::{PACKAGE, RPM, make_package, package_in},
    require,
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

/// Runs a command without the limit of time that [`cli::output`] has: dpkg and its triggers, and
/// lintian, do a lot.
#[track_caller]
fn to_its_end(command: &mut Command) -> Ran {
    let line = format!("{command:?}");
    let output = command.output().or_fail(format!("run {line}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { line, status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The machine's files with a layer above them, where all changes go: dpkg installs into it for
/// real, and the machine stays as it is.
struct Root {
    mounts: OwnedFd,
    directory: PathBuf,
}

impl Root {
    #[track_caller]
    fn new() -> Self {
        // Each has its own: a directory that is removed takes along what others have mounted on it.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("macvlan-package-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).or_fail("make a directory");
        let at = directory.clone();
        let mounts = on_own_thread(move || {
            unshare(CloneFlags::CLONE_NEWNS).or_fail("make a mount namespace");
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
                .or_fail("make mounts private");
            mount(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), none).or_fail("mount a tmpfs");
            let [upper, work, root] = ["upper", "work", "root"].map(|name| at.join(name));
            for directory in [&upper, &work, &root] {
                fs::create_dir(directory).or_fail("make a directory");
            }
            let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
            mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
                .or_fail("mount an overlay");
            for (kind, target) in [("proc", "proc"), ("sysfs", "sys"), ("tmpfs", "run"), ("tmpfs", "tmp")] {
                mount(Some(kind), &root.join(target), Some(kind), MsFlags::empty(), none)
                    .or_fail(format!("mount {target}"));
            }
            mount(Some("/dev"), &root.join("dev"), none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
                .or_fail("mount devices");
            mount(Some("bpf"), &root.join("sys/fs/bpf"), Some("bpf"), MsFlags::empty(), none)
                .or_fail("mount a BPF file system");
            File::open("/proc/thread-self/ns/mnt").or_fail("open the mount namespace")
        });
        Self { mounts: mounts.into(), directory }
    }

    /// A command whose root this is.
    fn command(&self, program: &str) -> Command {
        let mounts = self.mounts.try_clone().or_fail("keep a mount namespace");
        let root = self.directory.join("root");
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").env("PATH", PATH);
        let enter = move || {
            setns(&mounts, CloneFlags::CLONE_NEWNS)?;
            std::os::unix::fs::chroot(&root)?;
            std::env::set_current_dir("/")
        };
        // SAFETY: between fork and exec this makes system calls alone; the paths are so short that
        // the library needs no memory for them.
        unsafe { command.pre_exec(enter) };
        command
    }

    #[track_caller]
    fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().or_fail("read a command line"));
        to_its_end(command.args(words)).succeeded().stdout
    }

    /// Installs the package, copied to where this root sees it.
    #[track_caller]
    fn install(&self) {
        self.put("/tmp/macvlan-ctl.deb", &fs::read(&*PACKAGE).or_fail("read the package"));
        self.run("dpkg --install /tmp/macvlan-ctl.deb");
    }

    /// Writes a file into this root.
    #[track_caller]
    fn put(&self, path: &str, content: &[u8]) {
        let (mounts, path) = (&self.mounts, self.directory.join("root").join(path.trim_start_matches('/')));
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_FS).or_fail("stop sharing the working directory");
            setns(mounts, CloneFlags::CLONE_NEWNS).or_fail("enter a mount namespace");
            fs::write(&path, content).or_fail(format!("write {}", path.display()));
        });
    }

    /// All files of this root that are called after us, but what `man` keeps for itself.
    #[track_caller]
    fn ours(&self) -> Vec<String> {
        let found = self.run("find /usr /lib /etc /var /run /sys/fs/bpf -xdev -path /var/cache/man -prune -o -name *macvlan*ctl* -print");
        found.lines().map(str::to_owned).collect()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Its mounts end with the namespace; the directory below them is empty.
        let _ = fs::remove_dir(&self.directory);
    }
}

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

fn dpkg() -> Result<(), String> {
    require::program("dpkg-deb")
}

fn rpm() -> Result<(), String> {
    require::program("rpmbuild").and_then(|()| require::program("rpm"))
}

fn lintian() -> Result<(), String> {
    require::program("lintian")
}

fn man() -> Result<(), String> {
    require::program("man")
}

fn systemd() -> Result<(), String> {
    require::program("systemd-analyze")
}

/// Sandboxing may get better than this; worse is an error. Of 100, for a program that runs as root
/// and changes devices.
const MOST_EXPOSED: &str = "35";

const UNITS: [&str; 2] = ["macvlan-ctl.service", "macvlan-ctl@.service"];

#[test]
fn the_package_installs_runs_and_leaves_nothing() {
    needs!(require::lab, require::binary, dpkg, man, systemd);
    let root = Root::new();
    assert_eq!(root.ours(), Vec::<String>::new(), "something of ours is installed on this machine");

    root.install();

    assert_eq!(root.run("macvlan-ctl --version"), format!("macvlan-ctl {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(root.run("dpkg --verify macvlan-ctl"), "", "files are not what the package says");
    assert!(root.run("man --warnings 8 macvlan-ctl-attach").contains("MACVLAN-CTL-ATTACH(8)"));
    for unit in UNITS {
        let unit = format!("/lib/systemd/system/{}", unit.replace('@', "@eth0"));
        let mut verify = root.command("systemd-analyze");
        let ran = to_its_end(verify.args(["verify", "--recursive-errors=no", &unit])).succeeded();
        assert!(!ran.stderr.contains("macvlan-ctl"), "{}", ran.report());
    }

    let mut plugin = root.command("/usr/lib/cni/macvlan-cni");
    let versions = to_its_end(plugin.env("CNI_COMMAND", "VERSION")).succeeded().json();
    assert_eq!(versions["supportedVersions"][0], "0.1.0", "{versions:#}");
    let thin = root.run("stat --format %s /usr/lib/cni/macvlan-cni /usr/bin/macvlan-ctl");
    let sizes: Vec<u64> = thin.lines().map(|size| size.parse().or_fail("read a size")).collect();
    assert!(sizes[0] * 5 < sizes[1] * 3, "the plugin is not the thin one: {sizes:?}");
    root.run("macvlan-ctl install-cni --plugins /tmp/plugins");
    root.run("cmp /tmp/plugins/macvlan-cni /usr/lib/cni/macvlan-cni");

    root.put("/etc/macvlan-ctl/config.toml", b"# somebody's own\n");
    // The same package again is an upgrade to dpkg: nothing that a person wrote is touched.
    root.run("dpkg --install /tmp/macvlan-ctl.deb");
    assert_eq!(root.run("cat /etc/macvlan-ctl/config.toml"), "# somebody's own\n");
    root.run("dpkg --remove macvlan-ctl");
    assert_eq!(root.run("cat /etc/macvlan-ctl/config.toml"), "# somebody's own\n");
    root.run("dpkg --purge macvlan-ctl");
    assert_eq!(root.ours(), Vec::<String>::new());
}

#[test]
fn an_upgrade_keeps_the_data_path_and_a_removal_takes_it_off() {
    needs!(require::lab, require::binary, dpkg);
    let lab = Lab::new();
    let root = Root::new();
    root.install();
    let inside = |line: &str| {
        let mut words = line.split_whitespace();
        let mut command = root.command(words.next().or_fail("read a command line"));
        lab.host.ns.put_inside(&mut command);
        to_its_end(command.args(words)).succeeded()
    };
    inside("macvlan-ctl attach eth0 --require-bpf --child web");
    inside("dpkg --install /tmp/macvlan-ctl.deb");
    let status = inside("macvlan-ctl -j status eth0").json();
    assert_eq!(status[0]["datapath"], "bpf", "{status:#}");

    let removed = inside("dpkg --remove macvlan-ctl");

    assert!(!removed.stderr.contains("macvlan-ctl:"), "{}", removed.report());
    assert_eq!(inside("find /sys/fs/bpf -name macvlan*").stdout, "", "pins are left");
    assert_eq!(lab.host.ns.ip_json("link show dev web")[0]["ifname"], "web", "the child is gone");
    inside("dpkg --purge macvlan-ctl");
    lab.host.ns.ip("link del web");
}

#[test]
fn the_rpm_package_installs_keeps_the_data_path_and_leaves_nothing() {
    needs!(require::lab, require::binary, rpm);
    let lab = Lab::new();
    let root = Root::new();
    root.put("/tmp/macvlan-ctl.rpm", &fs::read(&*RPM).or_fail("read the package"));
    let inside = |line: &str| {
        let mut words = line.split_whitespace();
        let mut command = root.command(words.next().or_fail("read a command line"));
        lab.host.ns.put_inside(&mut command);
        to_its_end(command.args(words)).succeeded()
    };
    // Debian knows none of its packages by RPM, and has `rpm` ask twice before it installs.
    inside("rpm --install --force-debian --nodeps /tmp/macvlan-ctl.rpm");
    assert_eq!(inside("rpm --verify --nodeps macvlan-ctl").stdout, "");
    assert_eq!(inside("rpm --query macvlan-ctl --queryformat %{VERSION}").stdout, env!("CARGO_PKG_VERSION"));
    let version = format!("macvlan-ctl {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(inside("macvlan-ctl --version").stdout, version);
    assert!(inside("man --warnings 8 macvlan-cni").stdout.contains("MACVLAN-CNI(8)"));
    inside("macvlan-ctl attach eth0 --require-bpf --child web");
    inside("rpm --upgrade --force-debian --nodeps --replacepkgs /tmp/macvlan-ctl.rpm");
    let status = inside("macvlan-ctl -j status eth0").json();
    assert_eq!(status[0]["datapath"], "bpf", "{status:#}");

    let removed = inside("rpm --erase --force-debian --nodeps macvlan-ctl");

    assert!(!removed.stderr.contains("macvlan-ctl:"), "{}", removed.report());
    assert_eq!(inside("find /sys/fs/bpf -name macvlan*").stdout, "", "pins are left");
    assert_eq!(lab.host.ns.ip_json("link show dev web")[0]["ifname"], "web", "the child is gone");
    lab.host.ns.ip("link del web");
    assert_eq!(root.ours(), Vec::<String>::new());
}

#[test]
fn the_packages_are_the_same_when_it_is_made_again() {
    needs!(require::root, dpkg, rpm);
    if std::env::var_os("MACVLAN_CTL_DEB").is_some() {
        return require::missing(
            "MACVLAN_CTL_DEB names a package of somebody else: nothing can be made again",
        );
    }
    let read = |path: &Path| fs::read(path).or_fail(format!("read {}", path.display()));
    let out = std::env::temp_dir().join(format!("macvlan-package-again-{}", std::process::id()));
    make_package(&out);
    let again = ["deb", "rpm", "json"].map(|kind| read(&package_in(&out, kind)));
    fs::remove_dir_all(&out).or_fail("remove the package made again");
    let bill = package_in(RPM.parent().or_fail("find the directory of the packages"), "json");
    let first = [&*PACKAGE, &*RPM, &bill].map(|path| read(path));
    for (kind, (first, again)) in ["deb", "rpm", "json"].into_iter().zip(first.into_iter().zip(again)) {
        assert!(first == again, "the {kind} differs when it is made again");
    }
}

#[test]
fn the_bill_of_materials_names_what_is_in_the_programs_and_nothing_else() {
    needs!(require::root, dpkg, rpm);
    let path = package_in(RPM.parent().or_fail("find the directory of the packages"), "json");
    let bill = fs::read(path).or_fail("read the bill");
    let bill: serde_json::Value = serde_json::from_slice(&bill).or_fail("read the bill");
    assert_eq!(
        (&bill["bomFormat"], &bill["metadata"]["component"]["name"]),
        (&"CycloneDX".into(), &"macvlan-ctl".into())
    );
    let components = bill["components"].as_array().or_fail("find the components");
    let named = |name: &str| components.iter().find(|component| component["name"] == name);
    for name in ["aya", "aya-ebpf", "clap", "macvlan-cni", "macvlan-core", "macvlan-ebpf", "tokio"] {
        let component = named(name).or_fail(format!("find {name}"));
        assert!(component["licenses"].is_array(), "{component}");
        assert_eq!(component["hashes"].is_array(), !name.starts_with("macvlan"), "{component}");
    }
    for name in ["criterion", "proptest", "xtask", "macvlan-tests"] {
        assert!(named(name).is_none(), "{name}");
    }
}

#[test]
fn lintian_finds_no_error() {
    needs!(require::root, dpkg, lintian);
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error"]).arg(&*PACKAGE);
    to_its_end(&mut lintian).succeeded();
}

#[test]
fn the_units_are_sandboxed_as_far_as_the_program_allows() {
    needs!(systemd);
    for unit in UNITS {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--no-pager", "--offline=true", "--threshold", MOST_EXPOSED]);
        cli::output(analyze.arg(workspace().join("deploy/systemd").join(unit))).succeeded();
    }
}

#[test]
fn the_units_differ_only_in_what_they_run() {
    let text =
        |unit: &str| fs::read_to_string(workspace().join("deploy/systemd").join(unit)).or_fail("read a unit");
    let settings = |text: &str| -> Vec<String> {
        let own = ["Description=", "BindsTo=", "After=", "ConditionPathExists=", "ExecStart=", "WantedBy="];
        let shared = text.lines().filter(|line| line.contains('=') && !line.starts_with('#'));
        shared.filter(|line| !own.iter().any(|key| line.starts_with(key))).map(str::to_owned).collect()
    };
    assert_eq!(settings(&text(UNITS[0])), settings(&text(UNITS[1])));
}

#[test]
fn what_the_units_leave_of_capabilities_is_all_that_is_needed() {
    needs!(require::lab, require::setpriv, require::binary);
    let unit = workspace().join("deploy/systemd").join(UNITS[0]);
    let unit = fs::read_to_string(unit).or_fail("read a unit");
    let bounds = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let bounds = bounds.or_fail("find the capabilities").to_lowercase();
    let kept: Vec<String> = bounds.split_whitespace().map(|name| name.replacen("cap_", "+", 1)).collect();
    let lab = Lab::new();
    let bounded = |args: &[&str]| {
        let mut command = lab.command(&lab.host.ns, "setpriv");
        command.args(["--no-new-privs", "--bounding-set", &format!("-all,{}", kept.join(","))]);
        cli::output(command.arg(cli::binary()).args(args))
    };
    let found = bounded(&["-j", "doctor", "eth0"]).succeeded().json();
    let lacking = found.as_array().into_iter().flatten();
    let lacking: Vec<_> = lacking.filter(|finding| finding["status"] == "warning").collect();
    assert!(lacking.is_empty(), "{lacking:#?}");
    bounded(&["attach", "eth0", "--require-bpf"]).succeeded();
    bounded(&["detach", "eth0"]).succeeded();
}

#[test]
fn manual_pages_are_set_without_a_warning() {
    needs!(require::binary, man);
    let directory = std::env::temp_dir().join(format!("macvlan-pages-{}", std::process::id()));
    cli::run(Command::new(cli::binary()).args(["generate", "man"]).arg(&directory));
    let mut pages = 0;
    for entry in fs::read_dir(&directory).or_fail("list the pages") {
        let page = entry.or_fail("list the pages").path();
        let mut man = Command::new("man");
        man.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8").args(["--warnings", "--local-file"]).arg(&page);
        let ran = cli::output(&mut man).succeeded();
        assert_eq!(ran.stderr, "", "{}", ran.report());
        let is_file = page.extension().is_some_and(|section| section == "5");
        assert!(ran.stdout.contains(if is_file { "[[master]]" } else { "EXIT STATUS" }), "{}", ran.report());
        pages += 1;
    }
    fs::remove_dir_all(&directory).or_fail("remove the pages");
    assert!(pages > 10, "{pages} pages");
}
