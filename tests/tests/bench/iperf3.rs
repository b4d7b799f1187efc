//! Our figures beside those of iperf3 on the same path.

use std::{fs, process::Stdio, time::Duration};

use macvlan_bench::lab::{
    cpu::{Cpus, Side, go_first},
    traffic::{stream::stream, udp},
};
use macvlan_tests::{
    cli,
    fail::{OrFail as _, wait_for},
    lab::{Lab, Station},
    needs, require,
};
use serde_json::Value;

use super::agreement::{TOLERANCE, Verdict, judge};

fn iperf3() -> Result<(), String> {
    require::program("iperf3")?;
    require::program("ethtool")
}

/// How long each measures: iperf3 counts whole seconds.
const TIME: Duration = Duration::from_secs(1);

#[test]
fn figures_are_those_of_iperf3_on_the_same_path() {
    needs!(require::lab, iperf3);
    let _alone = super::alone();
    // Before other tests, as the product does with its own: both are to be measured, not who gets the
    // processor.
    go_first().or_fail("go first");
    let lab = Lab::new();
    // The kernel makes every segment by itself: the path then takes most of the time. Else the tools take a
    // good part of it, and more of it where iperf3 sends from a file's pages and asks before each block.
    cli::run(lab.host.ns.command("ethtool").args(["-K", &lab.host.dev, "tso", "off", "gso", "off"]));
    let cpus = Cpus::allowed().or_fail("tell the processors");
    let [near, far] = [&lab.host, &lab.wire].map(Station::endpoint);
    agree("TCP, bit/s", || {
        let ours = 8.0 * stream(&cpus, near, far, 1, TIME).or_fail("measure a stream");
        let theirs = run_iperf3(&lab, &cpus, &[])["end"]["sum_received"]["bits_per_second"].as_f64();
        (ours, theirs.or_fail("read iperf3's figure"))
    });
    // Large ones: of small ones, more is spent on waking the receiver, which iperf3's sender does less
    // often because its receiver takes longer over each.
    const PACKET: usize = (32 << 10) + udp::HEADERS;
    agree("UDP, datagrams/s", || {
        let ours = udp::datagrams(&cpus, near, far, PACKET, TIME).or_fail("measure datagrams").rate();
        let len = (PACKET - udp::HEADERS).to_string();
        let sum = run_iperf3(&lab, &cpus, &["-u", "-b", "0", "-l", &len])["end"]["sum"].clone();
        let number = |name: &str| sum[name].as_f64().or_fail(format!("read {name} of {sum}"));
        (ours, (number("packets") - number("lost_packets")) / number("seconds"))
    });
}

/// Asserts that ratios of pairs, measured in turn, are near 1.
fn agree(what: &str, mut measure: impl FnMut() -> (f64, f64)) {
    let mut ratios = Vec::new();
    loop {
        let (ours, theirs) = measure();
        ratios.push(ours / theirs);
        println!("{what}: ours {ours:.0}, iperf3 {theirs:.0}, ratio {:.3}", ours / theirs);
        match judge(&ratios) {
            Verdict::Agree => return,
            Verdict::Undecided => {}
            Verdict::Differ => panic!("{what}: not within {TOLERANCE} of iperf3's: {ratios:.3?}"),
        }
    }
}

/// One run of iperf3 from the host to the wire, on the processors that ours has.
fn run_iperf3(lab: &Lab, cpus: &Cpus, args: &[&str]) -> Value {
    let mut server = lab.wire.ns.command("iperf3");
    server.args(["-s", "-1", "-J"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = Reaped(server.spawn().or_fail("run iperf3"));
    wait_for("iperf3 to listen", || is_listening(lab).then_some(()));
    let affinity = format!("{},{}", cpus.of(Side::Near, 0), cpus.of(Side::Far, 0));
    let mut client = lab.host.ns.command("iperf3");
    client.args(["-c", &lab.wire.ip.to_string(), "-t", "1", "-A", &affinity, "-J"]).args(args);
    let ran = cli::output(&mut client).succeeded();
    server.0.wait().or_fail("wait for iperf3");
    ran.json()
}

fn is_listening(lab: &Lab) -> bool {
    // 5201, its port, in the state LISTEN.
    lab.wire.ns.enter(|| {
        ["tcp", "tcp6"].iter().any(|table| {
            let table = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
            table.lines().any(|line| line.contains(":1451 ") && line.contains(" 0A "))
        })
    })
}

/// A process that ends with the test.
struct Reaped(std::process::Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It has ended by itself, unless the test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
