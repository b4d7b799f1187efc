//! `bench --real`: two nodes, a server that anybody may talk to.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
};

use macvlan_tests::{cli, fail::OrFail as _, lab::Lab, needs, netns::Netns, require};
use serde_json::Value;

/// `bench --real ... --serve` until this is dropped.
struct Server(Child);

impl Server {
    fn start(lab: &Lab, netns: &Netns, device: &str) -> Self {
        let mut command = lab.command(netns, cli::binary());
        command.args(["bench", "--real", device, "--serve"]).stderr(Stdio::piped());
        let mut server = command.spawn().or_fail("run a server");
        let said = server.stderr.take().or_fail("hear the server");
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).or_fail("hear the server");
        assert!(line.starts_with("serving on 10.9.0.1 port 5299"), "{line}");
        Self(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It runs until then; a test that failed has said why.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn two_nodes_measure_what_is_between_them_both_ways() {
    needs!(require::lab, require::binary);
    let _alone = super::alone();
    let lab = Lab::new();
    let _server = Server::start(&lab, &lab.wire.ns, &lab.wire.dev);
    // Nobody may keep it from others, or make it do too much.
    hostile(&lab);
    let mut client = lab.command(&lab.host.ns, cli::binary());
    client.args(["-j", "bench", "--quick", "--real", &lab.host.dev, "--to", "10.9.0.1"]);
    let output = client.output().or_fail("run a client");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).or_fail("read JSON");
    assert_eq!(report["failures"], Value::Array(Vec::new()), "{:#}", report["failures"]);
    for (workload, contender) in [
        ("tcp-stream-1", "sent"),
        ("tcp-stream-1", "received"),
        ("tcp-stream-8", "sent"),
        ("tcp-stream-8", "received"),
        ("tcp-rr", "sent"),
        ("tcp-rr-p999", "sent"),
        ("tcp-crr", "sent"),
        ("udp-64", "sent"),
        ("udp-64", "received"),
        ("udp-1500", "sent"),
        ("udp-1500", "received"),
    ] {
        let mut figures = report["figures"].as_array().or_fail("read the figures").iter();
        let figure = figures
            .find(|figure| figure["workload"] == workload && figure["contender"] == contender)
            .or_fail(format!("find {workload}, {contender}"));
        assert!(figure["least"].as_f64().is_some_and(|least| least > 0.0), "{figure}");
    }
}

/// What a server must survive: no language of ours, a line without end, too much of everything.
fn hostile(lab: &Lab) {
    let endless = "x".repeat(1 << 16);
    let lines = [
        "hello\n",
        "{\"workload\":\"stream\",\"flows\":4000000000,\"millis\":1,\"back\":true}\n",
        "{\"workload\":\"datagrams\",\"packet\":1500,\"millis\":4000000000,\"back\":true}\n",
        "{\"workload\":\"over\"}\n",
        &endless,
    ];
    for line in lines {
        let answer = lab.host.ns.enter(|| {
            let mut stream = TcpStream::connect(("10.9.0.1", 5299)).or_fail("connect");
            // It may close before all is written.
            let _ = stream.write_all(line.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = String::new();
            // Or close so that what it said is lost.
            let _ = stream.read_to_string(&mut answer);
            answer
        });
        assert!(!answer.contains("done"), "{line:.60}: {answer}");
    }
}

#[test]
fn a_node_that_does_not_serve_is_named() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let refused = |args: &[&str]| {
        let mut command = lab.command(&lab.host.ns, cli::binary());
        cli::output(command.args(["bench", "--real"]).args(args))
    };
    let ran = refused(&["eth0", "--to", "10.9.0.1"]);
    assert!(ran.failed(1).contains("cannot connect to 10.9.0.1:5299"), "{}", ran.report());
    let ran = refused(&["eth9", "--to", "10.9.0.1"]);
    assert!(ran.failed(1).contains("cannot use \"eth9\": no such device"), "{}", ran.report());
    let ran = refused(&["eth0"]);
    assert_eq!(ran.code(), 2, "{}", ran.report());
}
