//! Prometheus scrapes the exporter with the configuration, rules and dashboard that are deployed.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use macvlan_common::child::Mode;
use macvlan_ctl::exporter::metrics;
use macvlan_tests::{
    cli::run,
    dashboard::{dashboard, filled_in, metrics_in, prometheus_files, queries, variables},
    exporter::Exporter,
    fail::{OrFail as _, wait_for},
    http::ask_simply,
    lab::Lab,
    needs,
    netns::Netns,
    require,
    talk::ping,
};
use serde_json::Value;

/// In the lab's own `/run`, so nothing stays behind.
const DIRECTORY: &str = "/run/prometheus";

/// What the dashboard may show nothing of in a lab where all is well.
const MAY_BE_EMPTY: [&str; 2] = ["macvlan_bpf_prog_run_count_total", "macvlan_datapath_degraded{"];

#[test]
fn the_dashboard_leaves_the_data_source_to_the_reader() {
    let dashboard = dashboard();
    let list = dashboard["templating"]["list"].as_array().or_fail("find variables");
    assert_eq!((&list[0]["name"], &list[0]["type"]), (&"datasource".into(), &"datasource".into()));
    assert_eq!(list[0]["query"], "prometheus");
    let panels = dashboard["panels"].as_array().or_fail("find panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let shown = panels.iter().filter(|panel| panel["type"] != "row");
    let asking = list.iter().filter(|variable| variable["type"] == "query");
    let mut count = 0;
    for part in shown.chain(targets).chain(asking) {
        assert_eq!(part["datasource"]["uid"], "${datasource}", "{part:#}");
        assert_eq!(part["datasource"]["type"], "prometheus", "{part:#}");
        count += 1;
    }
    assert!(count > 40, "only {count} parts were looked at");
    let ids: BTreeMap<_, _> = panels.iter().map(|panel| (panel["id"].as_u64(), panel)).collect();
    assert_eq!(ids.len(), panels.len(), "panels of the same id");
}

#[test]
fn every_metric_that_is_asked_for_is_served() {
    let dashboard = dashboard();
    let rules =
        fs::read_to_string(prometheus_files().join("macvlan-ctl.rules.yml")).or_fail("read the rules");
    let rules = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ").map(str::to_owned));
    let series = variables(&dashboard).into_iter().map(|(series, _)| series);
    let all: Vec<String> = queries(&dashboard).into_iter().chain(series).chain(rules).collect();
    assert!(all.len() > 35, "only {} queries were found", all.len());
    for query in &all {
        let asked = metrics_in(query);
        assert!(!asked.is_empty() || query.starts_with("up{"), "no metric in {query}");
        for name in asked {
            let metric = metrics::ALL.iter().find(|metric| metric.name == name);
            let metric = metric.or_fail(format!("find {name} among the metrics that are served: {query}"));
            let places = query.match_indices(&name).filter(|(at, _)| {
                !query[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
            });
            for (at, _) in places {
                let changes = ["rate(", "increase("].iter().any(|function| query[..at].ends_with(function));
                assert_eq!(changes, metric.is_counter, "{name} in {query}");
            }
        }
    }
}

#[test]
fn prometheus_scrapes_and_answers_every_query_of_dashboard_and_rules() {
    needs!(require::lab, require::binary, require::prometheus);
    let lab = Lab::new();
    let (child, other) = (lab.child("web", Mode::Bridge), lab.child("db", Mode::Private));
    lab.introduce(&[&lab.host, &lab.wire, &child, &other]);
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    assert!(ping(&lab.host, child.ip.into()));
    let exporter = Exporter::by_command(&lab);
    let prometheus = Prometheus::start(&lab, exporter.address);

    let labels = format!("{{master=\"eth0\",mac=\"{}\",path=\"host\"}}", child.mac);
    let series = format!("macvlan_child_receive_packets_total{labels}");
    let scraped = exporter.scrape().get(&series).or_fail("scrape a counter");
    assert!(scraped > 0.0);
    let value = wait_for("Prometheus to scrape", || prometheus.query(&series).first().map(value));
    assert_eq!(value, scraped);

    let named = "macvlan_child_receive_packets_total * on (instance, master, mac) group_left (container) \
                 macvlan_child_info{mode=\"private\"}";
    let rows =
        wait_for("the child's identity", || Some(prometheus.query(named)).filter(|rows| !rows.is_empty()));
    assert_eq!(rows.len(), 3, "one for each path");

    // Rates need two scrapes.
    wait_for("a second scrape", || {
        let rates = prometheus.query(&format!("rate({series}[1m])"));
        (!rates.is_empty()).then_some(())
    });
    let dashboard = dashboard();
    for query in queries(&dashboard) {
        // Traffic all the while: a share of nothing has no value.
        assert!(ping(&lab.host, child.ip.into()));
        let query = filled_in(&query);
        let found = prometheus.query(&query);
        let may_be_empty = MAY_BE_EMPTY.iter().any(|part| query.contains(part));
        assert!(!found.is_empty() || may_be_empty, "nothing is found by {query}");
    }
    for (series, label) in variables(&dashboard) {
        let found = prometheus.query(&filled_in(&series));
        assert!(!found.is_empty(), "nothing is found by {series}");
        // Here is no engine, and an empty label is none.
        let is_told = found.iter().any(|sample| sample["metric"][&label].is_string());
        assert!(is_told || label == "container", "{label} of {series}");
    }

    wait_for("the rules to be evaluated", || {
        let groups = prometheus.get("/api/v1/rules");
        let rules: Vec<_> = groups["groups"]
            .as_array()?
            .iter()
            .filter_map(|group| group["rules"].as_array())
            .flatten()
            .collect();
        assert!(rules.iter().all(|rule| rule["health"] != "err"), "{groups:#}");
        // Nothing is wrong in this lab.
        assert!(rules.iter().all(|rule| rule["alerts"].as_array().is_some_and(Vec::is_empty)), "{groups:#}");
        (rules.len() == 17 && rules.iter().all(|rule| rule["health"] == "ok")).then_some(())
    });

    lab.ctl(&["detach", "eth0"]).succeeded();
    // Until `run` looks again, its pins are missing; afterwards it knows that there is no data path.
    let gone = "ALERTS{alertname=~\"MacvlanDatapathUnreadable|MacvlanWithoutDatapath\",master=\"eth0\"}";
    wait_for("an alert about the data path that is gone", || {
        (prometheus.query(gone).len() == 1).then_some(())
    });
    // An event of the kernel is what makes it look.
    lab.host.ns.ip("link set eth0 txqueuelen 500");
    wait_for("an alert about the hairpin that is off", || {
        let alerts = prometheus.query("ALERTS{alertname=\"MacvlanWithoutDatapath\",master=\"eth0\"}");
        (alerts.len() == 1).then_some(())
    });
    // What cannot be read is missing, rather than what it was.
    assert!(prometheus.query(&series).is_empty());
}

/// Prometheus in the host's namespace and the lab's mounts, until this is dropped.
struct Prometheus {
    ns: Netns,
    address: SocketAddr,
    process: Child,
}

impl Prometheus {
    #[track_caller]
    fn start(lab: &Lab, target: SocketAddr) -> Self {
        let config = format!("{DIRECTORY}/prometheus.yml");
        lab.mounts().enter(|| {
            fs::create_dir(DIRECTORY).or_fail("make a directory");
            for file in ["prometheus.yml", "macvlan-ctl.rules.yml"] {
                let text = fs::read_to_string(prometheus_files().join(file)).or_fail("read a configuration");
                let text = text
                    .replace("127.0.0.1:10099", &target.to_string())
                    .replace("interval: 15s", "interval: 1s");
                fs::write(format!("{DIRECTORY}/{file}"), text).or_fail("write a configuration");
            }
        });
        run(lab.command(&lab.host.ns, "promtool").args(["check", "config", &config]));
        let address = SocketAddr::from(([127, 0, 0, 1], 9090));
        let mut command = lab.command(&lab.host.ns, "prometheus");
        command.arg(format!("--config.file={config}"));
        command.arg(format!("--storage.tsdb.path={DIRECTORY}/data"));
        command.arg(format!("--web.listen-address={address}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        dies_with_this_thread(&mut command);
        let process = command.spawn().or_fail("run prometheus");
        let mut prometheus = Self { ns: lab.host.ns.share(), address, process };
        let start = Instant::now();
        // Slower to start than anything else here.
        while ask_simply(&prometheus.ns, address, "GET /-/ready").map_or(0, |answer| answer.status) != 200 {
            let ended = prometheus.process.try_wait().or_fail("look at prometheus");
            assert!(ended.is_none(), "prometheus ended: {ended:?}");
            assert!(start.elapsed() < Duration::from_secs(60), "prometheus does not get ready");
        }
        prometheus
    }

    /// What the query finds now.
    #[track_caller]
    fn query(&self, query: &str) -> Vec<Value> {
        let found = self.get(&format!("/api/v1/query?query={}", percent_encoded(query)));
        found["result"].as_array().or_fail(format!("read the result of {query}")).clone()
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let answer =
            ask_simply(&self.ns, self.address, &format!("GET {path}")).or_fail(format!("get {path}"));
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let body: Value = serde_json::from_str(&answer.body).or_fail(format!("read the answer to {path}"));
        assert_eq!(body["status"], "success", "{path}: {body:#}");
        body["data"].clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Lets the kernel end `command` when the test is killed.
fn dies_with_this_thread(command: &mut Command) {
    // SAFETY: the call takes a number and touches no memory of ours.
    let ask = || match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: between fork and exec this makes one system call and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

fn value(sample: &Value) -> f64 {
    let text = sample["value"][1].as_str().or_fail("read a value");
    text.parse().or_fail("read a value")
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
