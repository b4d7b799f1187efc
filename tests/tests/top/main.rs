//! `top` on a terminal: what it shows of real traffic, what keys do, and how it leaves.

mod pty;

use std::process::Stdio;

use macvlan_common::child::Mode;
use macvlan_tests::{
    cli,
    fail::{OrFail as _, wait_for},
    frames::{self, Marker},
    lab::{Lab, Station},
    needs, require,
    sniff::Injector,
};
use nix::sys::signal::Signal;

use self::pty::{Pty, cells_of};

/// Starts `top` on a terminal of 80 by 24.
#[track_caller]
fn top(lab: &Lab, args: &[&str]) -> Pty {
    let mut command = lab.ctl_command(&[&["top"], args].concat());
    command.env_remove("NO_COLOR");
    let mut pty = Pty::start(command, 80, 24);
    pty.wait_for("the screen", |pty| pty.is_taken() && pty.lines()[0].starts_with("macvlan-ctl top"));
    pty
}

/// A lab with the children `web` and `db`, attached.
fn attached() -> (Lab, Station, Station) {
    let lab = Lab::new();
    let (web, db) = (lab.child("web", Mode::Bridge), lab.child("db", Mode::Bridge));
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    (lab, web, db)
}

/// A column of a child's row, counted from its name.
fn cell(pty: &Pty, name: &str, column: usize) -> Option<String> {
    cells_of(pty.row(name)?.get(1..)?, name)?.get(column).map(|cell| (*cell).to_owned())
}

/// Whether such a column has a number above 0.
fn is_counting(pty: &Pty, name: &str, column: usize) -> bool {
    cell(pty, name, column).is_some_and(|text| text != "0" && text != "-")
}

#[test]
fn traffic_is_shown_where_it_goes() {
    needs!(require::lab, require::binary);
    let (lab, web, db) = attached();
    let sender = Injector::new(&lab.wire.ns, &lab.wire.dev);
    let frame = frames::marked(web.mac, lab.wire.mac, Marker::new());
    let mut pty = top(&lab, &["eth0"]);
    assert!(pty.is_raw());
    pty.wait_for_text("eth0: bpf, demux tc, hairpin tcx, 1 degraded, 2 children");
    pty.wait_for("a rate of what is received", |pty| {
        sender.send_times(&frame, 50);
        is_counting(pty, "web", 3)
    });
    // Behind the interface and the MAC, bits received and sent: nothing went the other way, or elsewhere.
    assert_eq!((cell(&pty, "web", 4).as_deref(), cell(&pty, "db", 3).as_deref()), (Some("0"), Some("0")));

    pty.types("2");
    pty.wait_for("the path of the wire", |pty| {
        sender.send_times(&frame, 50);
        pty.lines()[0].contains("  wire  ") && is_counting(pty, "web", 1) && is_counting(pty, "web", 5)
    });
    pty.types("4");
    pty.wait_for("nothing on the path of siblings", |pty| {
        pty.lines()[0].contains("  sibling  ") && cell(pty, "web", 5).as_deref() == Some("0")
    });
    let between = Injector::new(&web.ns, &web.dev);
    let frame = frames::marked(db.mac, web.mac, Marker::new());
    pty.wait_for("siblings, who send and receive", |pty| {
        between.send_times(&frame, 50);
        is_counting(pty, "web", 7) && is_counting(pty, "db", 5)
    });
}

#[test]
fn keys_change_what_is_shown() {
    needs!(require::lab, require::binary);
    let (lab, web, _db) = attached();
    let mut pty = top(&lab, &["eth0"]);
    let place = |pty: &Pty, name: &str| pty.lines().iter().position(|line| cells_of(line, name).is_some());
    pty.types("N>");
    pty.wait_for("interfaces upwards", |pty| {
        place(pty, "db") < place(pty, "web") && pty.lines()[0].contains("by IFACE▲")
    });
    pty.types("r");
    pty.wait_for("interfaces downwards", |pty| {
        place(pty, "web") < place(pty, "db") && pty.lines()[0].contains("by IFACE▼")
    });
    pty.types(&format!("/{}\r", web.mac));
    pty.wait_for("one child", |pty| pty.row("web").is_some() && pty.row("db").is_none());
    pty.types("\r");
    pty.wait_for_text(&format!("web on eth0  {}", web.mac));
    pty.wait_for_text(&format!("addresses: {}/", web.ip));
    pty.wait_for_text("isolated");
    // A lone escape is told from the beginning of an arrow key.
    pty.types("\x1b");
    pty.wait_for("the table", |pty| pty.row("web").is_some());
    pty.types("\x1b");
    pty.wait_for("both children", |pty| pty.row("web").is_some() && pty.row("db").is_some());
    pty.types("+");
    pty.wait_for_text("every 2s");
    pty.types("-- ");
    pty.wait_for_text("PAUSED");
    pty.types(" ?");
    pty.wait_for_text("q, Ctrl-C");
    pty.types("\x1b[B");
    pty.wait_for("a line further down", |pty| !pty.lines().iter().any(|line| line.contains("q, Ctrl-C")));
}

#[test]
fn children_come_and_go_on_the_screen() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let mut pty = top(&lab, &[]);
    pty.wait_for_text("no children");
    lab.ctl(&["child", "add", "eth0", "late"]).succeeded();
    pty.wait_for("a mark of a new child", |pty| pty.row("late").is_some_and(|row| row.starts_with('+')));
    pty.wait_for("its mark to go", |pty| pty.row("late").is_some_and(|row| row.starts_with(' ')));
    lab.host.ns.ip("link del late");
    pty.wait_for("a mark of a child that is gone", |pty| {
        pty.row("late").is_some_and(|row| row.starts_with('x'))
    });
    pty.wait_for("it to go", |pty| pty.row("late").is_none());
}

#[test]
fn a_new_attach_does_not_disturb() {
    needs!(require::lab, require::binary);
    let (lab, web, _db) = attached();
    let sender = Injector::new(&lab.wire.ns, &lab.wire.dev);
    let frame = frames::marked(web.mac, lab.wire.mac, Marker::new());
    let mut pty = top(&lab, &["eth0"]);
    pty.wait_for("a rate", |pty| {
        sender.send_times(&frame, 50);
        is_counting(pty, "web", 3)
    });
    lab.ctl(&["detach", "eth0"]).succeeded();
    pty.wait_for("the kernel alone", |pty| {
        pty.lines().iter().any(|line| line.starts_with("eth0: kernel"))
            // The kernel counts frames, but drops by reason it does not tell.
            && cell(pty, "web", 5).as_deref() == Some("-")
    });
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    pty.wait_for("a rate again", |pty| {
        sender.send_times(&frame, 50);
        pty.lines().iter().any(|line| line.starts_with("eth0: bpf")) && is_counting(pty, "web", 3)
    });
}

#[test]
fn a_master_that_goes_is_waited_for() {
    needs!(require::lab, require::binary);
    let (lab, _web, _db) = attached();
    let mut pty = top(&lab, &["eth0"]);
    lab.host.ns.ip("link del eth0");
    pty.wait_for_text("cannot tell of \"eth0\": no such device; see: ip link; trying again");
    pty.wait_for("its children to go", |pty| pty.row("web").is_none());
    lab.host.ns.ip_batch(
        [
            "link add eth0 type veth peer name other0",
            "link set other0 up",
            "link set eth0 up",
            "link add link eth0 name own up type macvlan",
        ]
        .map(str::to_owned),
    );
    pty.wait_for("the new device", |pty| pty.row("own").is_some());
    assert!(!pty.lines().iter().any(|line| line.contains("trying again")));
    pty.types("q");
    assert!(pty.ends().success());
}

#[test]
fn the_screen_follows_its_terminal() {
    needs!(require::lab, require::binary);
    let (lab, _web, _db) = attached();
    let mut pty = top(&lab, &["eth0"]);
    pty.wait_for("titles of 80 columns", |pty| {
        pty.lines().iter().any(|line| line.contains("MAC") && !line.contains("NETNS"))
    });
    for (columns, lines, rates) in [(120, 40, 4), (40, 8, 2), (250, 50, 16), (80, 24, 2)] {
        pty.resize(columns, lines);
        pty.wait_for("another size", |pty| {
            let screen = pty.lines();
            let titles = screen.iter().find(|line| line.contains("CHILD")).map(String::as_str);
            let shown = titles
                .unwrap_or_default()
                .split("X ")
                .filter(|title| title.starts_with("b/s") || title.starts_with("p/s"))
                .count();
            shown == rates && screen.last().is_some_and(|line| line.starts_with("q quit"))
        });
        pty.resize(10, 2);
        pty.wait_for_text("too small");
    }
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    needs!(require::lab, require::binary);
    let (lab, _web, _db) = attached();
    for key in ["q", "\x03", "/text\x03", "?q", "\rq"] {
        let mut pty = top(&lab, &["eth0"]);
        pty.types(key);
        assert!(pty.ends().success(), "{key:?}");
        pty.assert_given_back();
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        let mut pty = top(&lab, &["eth0"]);
        assert!(pty.is_raw() && pty.is_taken());
        pty.signal(signal);
        assert!(pty.ends().success(), "{signal}");
        pty.assert_given_back();
    }
}

#[test]
fn it_goes_to_the_background_and_comes_back() {
    needs!(require::lab, require::binary);
    let (lab, _web, _db) = attached();
    // With jobs, as in a shell that is typed at.
    let script = r#"set -m; "$0" -n "$1" top eth0; echo stopped; read go; fg; echo ended"#;
    let mut command = lab.command(&lab.wire.ns, "sh");
    command.args(["-c", script]).arg(cli::binary()).arg(lab.host.ns.path());
    let mut pty = Pty::start(command, 80, 24);
    pty.wait_for("the screen", |pty| pty.is_taken() && pty.row("web").is_some());
    pty.types("\x1a");
    pty.wait_for("the shell", |pty| !pty.is_taken() && pty.lines().iter().any(|line| line == "stopped"));
    pty.assert_given_back();
    pty.types("\n");
    pty.wait_for("the screen again", |pty| pty.is_taken() && pty.is_raw() && pty.row("web").is_some());
    pty.types("q");
    assert!(pty.ends().success());
    pty.assert_given_back();
    wait_for("the shell's last word", || pty.lines().iter().any(|line| line == "ended").then_some(()));
}

#[test]
fn colours_are_for_those_who_want_them() {
    needs!(require::lab, require::binary);
    let (lab, _web, _db) = attached();
    let mut pty = top(&lab, &["eth0"]);
    pty.wait_for("colours", Pty::has_colors);
    let mut command = lab.ctl_command(&["top", "eth0"]);
    command.env("NO_COLOR", "1");
    let mut pty = Pty::start(command, 80, 24);
    pty.wait_for("the screen", |pty| pty.row("web").is_some());
    assert!(!pty.has_colors());
}

#[test]
fn what_is_no_screen_gets_none() {
    needs!(require::lab, require::binary);
    let (lab, _web, _db) = attached();
    let see = "; see: macvlan-ctl stats --watch 1";
    assert_eq!(
        lab.ctl(&["top", "eth0"]).failed(1),
        format!("macvlan-ctl: cannot show a screen: standard output is not a terminal{see}")
    );
    assert_eq!(
        lab.ctl(&["-j", "top"]).failed(1),
        "macvlan-ctl: top shows a screen, not JSON; see: macvlan-ctl -j stats --watch 1"
    );
    assert_eq!(lab.ctl(&["top", "--interval", "0"]).code(), 2);
    // On a terminal, a wrong name is told as an ordinary error.
    let mut command = lab.ctl_command(&["top", "eth9"]);
    command.stdin(Stdio::null());
    let mut pty = Pty::start(command, 80, 24);
    assert_eq!(pty.ends().code().or_fail("read an exit code"), 1);
    pty.assert_given_back();
    wait_for("the error", || {
        (pty.lines()[0] == "macvlan-ctl: cannot tell of \"eth9\": no such device; see: ip link").then_some(())
    });
}
