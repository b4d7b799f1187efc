//! Data paths of masters in other namespaces: one that lives is left alone, one whose master is gone is
//! removed by whatever command comes next, and none that another command works on.

use std::{fs::File, path::PathBuf, sync::Arc, thread};

use macvlan_common::child::Mode;
use macvlan_tests::{
    cli,
    control::{spec, status},
    fail::OrFail as _,
    lab::Lab,
    leak::pins,
    mounts::Mounts,
    needs, require,
    talk::ping,
};

const TCX: &[&str] = &["--tc", "tcx"];
const CLSACT: &[&str] = &["--tc", "clsact"];
const GENERIC: &[&str] = &["--tc", "clsact", "--xdp", "generic"];

fn unshare() -> Result<(), String> {
    require::program("unshare")
}

/// Two hosts of one machine: they share its mounts.
fn neighbours() -> (Lab, Lab) {
    let mounts = Arc::new(Mounts::new());
    (Lab::with().build_in(mounts.clone()), Lab::with().build_in(mounts))
}

#[test]
fn a_data_path_in_a_namespace_that_is_not_visible_from_here_stays() {
    needs!(require::lab, require::tc, require::binary, unshare);
    for args in [TCX, CLSACT, GENERIC] {
        let (far, near) = neighbours();
        let web = far.child("web", Mode::Bridge);
        far.ctl(&[&["attach", "eth0", "--require-bpf"], args].concat()).succeeded();
        // A process there sees none but itself, and no namespace but its own.
        let mut attach = near.command(&near.host.ns, "unshare");
        attach.args(["--pid", "--fork", "--mount-proc"]).arg(cli::binary()).args(["attach", "eth0"]);

        cli::output(&mut attach).succeeded();

        assert_eq!(status(&far)["datapath"], "bpf", "{args:?}");
        assert!(ping(&far.host, web.ip.into()), "{args:?}");
    }
}

#[test]
fn a_data_path_whose_namespace_is_gone_is_removed_by_a_command_in_another() {
    needs!(require::lab, require::tc, require::binary);
    for args in [TCX, CLSACT, GENERIC] {
        let (far, near) = neighbours();
        near.ctl(&["attach", "eth0"]).succeeded();
        let before = pins(&near);
        far.ctl(&[&["attach", "eth0", "--require-bpf"], args].concat()).succeeded();
        assert_ne!(pins(&near), before, "{args:?}");
        let device = far.host.dev.clone();
        // The kernel takes a namespace down some time after its last user; its devices go at once here.
        far.host.ns.ip(&format!("link del {device}"));
        drop(far);

        near.ctl(&["attach", "eth0"]).succeeded();

        assert_eq!(pins(&near), before, "{args:?}");
    }
}

#[test]
fn pins_of_a_master_that_another_command_works_on_are_left_to_that_command() {
    needs!(require::lab, require::tc, require::binary);
    for args in [TCX, CLSACT, GENERIC] {
        let (far, near) = neighbours();
        near.ctl(&["attach", "eth0"]).succeeded();
        let without_far = pins(&near);
        far.ctl(&[&["attach", "eth0", "--require-bpf"], args].concat()).succeeded();
        let with_far = pins(&near);
        let of_far: Vec<PathBuf> = with_far.difference(&without_far).cloned().collect();
        let directory = of_far.iter().find(|pin| pin.is_absolute() && pin.extension().is_none());
        let key = directory.and_then(|directory| directory.file_name()).or_fail("find the pin directory");
        let lock = PathBuf::from("/run/macvlan-ctl").join(format!("{}.lock", key.to_string_lossy()));
        // As a command holds it that has taken the links off already.
        let held = near.mounts().enter(|| {
            std::fs::create_dir_all("/run/macvlan-ctl").or_fail("make the directory of locks");
            let file = File::create(&lock).or_fail("make a lock file");
            file.lock().or_fail("take the lock");
            file
        });
        far.host.ns.ip("link del eth0");

        near.ctl(&["attach", "eth0"]).succeeded();
        assert_eq!(pins(&near), with_far, "{args:?}: pins in another command's hands are gone");

        drop(held);
        near.ctl(&["attach", "eth0"]).succeeded();
        assert_eq!(pins(&near), without_far, "{args:?}");
    }
}

#[test]
fn commands_in_two_namespaces_do_not_meet() {
    needs!(require::lab, require::tc, require::binary);
    const TURNS: usize = 25;
    let (left, right) = neighbours();
    let turns = |lab: &Lab| {
        let web = lab.newcomer("web");
        let child = spec(&web, "");
        let turn = [&["attach", "eth0", "--child", &child][..], &["detach", "eth0", "--delete-children"]];
        let commands: Vec<_> = (0..TURNS).flat_map(|_| turn.map(|args| lab.ctl_command(args))).collect();
        (web, commands)
    };
    // The children's namespaces live until all commands have ended.
    let [(_web, left), (_db, right)] = [turns(&left), turns(&right)];
    thread::scope(|scope| {
        for commands in [left, right] {
            scope.spawn(move || {
                for mut command in commands {
                    cli::output(&mut command).succeeded();
                }
            });
        }
    });
}
