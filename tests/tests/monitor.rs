//! `monitor`: what happens, as lines.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    fail::{OrFail as _, PATIENCE, wait_for},
    frames::{self, ArpOperation, Marker},
    lab::Lab,
    needs, require,
    sniff::Injector,
    talk::ping,
};
use serde_json::Value;

struct Monitor {
    process: Child,
    lines: Receiver<String>,
}

impl Monitor {
    #[track_caller]
    fn start(lab: &Lab, args: &[&str]) -> Self {
        let mut command = lab.ctl_command(args);
        let mut process = command.stdout(Stdio::piped()).spawn().or_fail("run the program under test");
        let stdout = process.stdout.take().or_fail("read standard output");
        let (sender, lines) = channel();
        thread::spawn(move || {
            let read = BufReader::new(stdout).lines().map_while(Result::ok);
            let _ = read.map(|line| sender.send(line)).find(Result::is_err);
        });
        let monitor = Self { process, lines };
        lab.host.ns.ip("link add probe0 link eth0 type macvlan mode bridge");
        // It listens once it tells of something.
        let mut mtu = 1400;
        wait_for("the first line", || {
            mtu += 1;
            lab.host.ns.ip(&format!("link set probe0 mtu {mtu}"));
            monitor.lines.recv_timeout(Duration::from_millis(20)).ok()
        });
        monitor
    }

    /// The next line with this in it.
    #[track_caller]
    fn wait_for(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).or_fail(format!("see a line with {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn lines_tell_what_happens_to_children_and_masters() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    // It has seen the child up then: of what goes up and down before it looks, there is nothing to tell.
    let monitor = Monitor::start(&lab, &["monitor"]);
    let db = lab.child("db", Mode::Bridge);
    let line = monitor.wait_for("child \"db\"");
    assert!(line.ends_with("added"), "{line}");
    monitor.wait_for(&format!("has {}/24", db.ip));
    web.ns.ip("link set web down");
    assert!(monitor.wait_for(" down").contains("\"web\""));
    web.ns.ip("link set web name shop");
    assert!(monitor.wait_for("renamed").contains("child \"shop\""));
    lab.host.ns.ip("link set eth0 mtu 1400");
    assert!(monitor.wait_for("has MTU 1400, it was 1500").contains("eth0: device"));
    web.ns.ip("link del shop");
    assert!(monitor.wait_for("removed").contains("child \"shop\""));
}

#[test]
fn lines_of_json_bear_the_names_of_ip() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let monitor = Monitor::start(&lab, &["-j", "monitor", "eth0"]);
    let web = lab.child("web", Mode::Private);
    let line: Value = serde_json::from_str(&monitor.wait_for("\"web\"")).or_fail("read JSON");
    assert_eq!(
        (&line["event"], &line["link"], &line["ifname"], &line["mode"]),
        (&"added".into(), &"eth0".into(), &"web".into(), &"private".into())
    );
    assert_eq!(line["address"], web.mac.to_string());
    assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    web.ns.ip_batch([
        "link set web down".to_owned(),
        "link set web address 02:00:00:00:07:07".to_owned(),
        "link set web up".to_owned(),
    ]);
    let line: Value = serde_json::from_str(&monitor.wait_for("readdressed")).or_fail("read JSON");
    assert_eq!((&line["address"], &line["was"]), (&"02:00:00:00:07:07".into(), &web.mac.to_string().into()));
}

#[test]
fn what_the_programs_learn_and_other_commands_set_is_told() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    assert!(ping(&web, lab.host.ip.into()));
    let text = Monitor::start(&lab, &["monitor", "eth0"]);
    lab.host.ns.ip("link del probe0");
    let json = Monitor::start(&lab, &["-j", "monitor", "eth0"]);
    let both = |line: &str, object: &str| {
        assert!(text.wait_for(line).contains("eth0: "));
        json.wait_for(object);
    };
    let set = |on: &str| {
        lab.ctl(&["child", "set", "eth0", &format!("{},host-access={on}", web.mac)]).succeeded();
    };
    set("off");
    both("no longer reaches the host", r#""host_access":false"#);
    set("on");
    both("reaches the host now", r#""host_access":true"#);

    let wire = Injector::new(&lab.wire.ns, &lab.wire.dev);
    wait_for("its MAC to be elsewhere", || {
        wire.send(&frames::marked(Mac::BROADCAST, web.mac, Marker::new()));
        let line = text.lines.recv_timeout(Duration::from_millis(300)).ok()?;
        line.contains("is elsewhere: its MAC was heard on the wire").then_some(())
    });
    json.wait_for(r#""event":"elsewhere""#);
    assert!(ping(&web, lab.host.ip.into()), "what it sends brings it back");
    both("is here again", r#""event":"here""#);

    lab.ctl(&["detach", "eth0"]).succeeded();
    both("device detached", r#""event":"detached""#);
    lab.ctl(&["attach", "eth0"]).succeeded();
    both("device attached", r#""event":"attached""#);
}

#[test]
fn an_address_that_somebody_on_the_wire_claims_is_told() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let json = Monitor::start(&lab, &["-j", "monitor", "eth0"]);
    // It has looked at the data path then.
    lab.ctl(&["child", "set", "eth0", &format!("{},host-access=off", web.mac)]).succeeded();
    json.wait_for("host-access");
    let claim = frames::arp(
        Mac::BROADCAST,
        ArpOperation::Request,
        (lab.wire.mac, web.ip),
        (Mac::new([0; 6]), web.ip),
        Marker::new(),
    );
    Injector::new(&lab.wire.ns, &lab.wire.dev).send(&claim);
    let line: Value = serde_json::from_str(&json.wait_for("contested")).or_fail("read JSON");
    assert_eq!(
        (&line["event"], &line["ifname"], &line["local"]),
        (&"contested".into(), &"web".into(), &web.ip.to_string().into())
    );
}

#[test]
fn a_device_that_is_not_there_cannot_be_watched() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let ran = lab.ctl(&["monitor", "eth9"]);
    assert!(ran.failed(1).contains("cannot watch \"eth9\": no such device"));
}
