//! The exporter at work in a lab, and what is scraped from it.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Stdio},
    sync::Arc,
};

use caps::{CapSet, Capability, CapsHashSet};
use macvlan_common::{child::Mode, mac::Mac};
use macvlan_core::{
    commands::status::status,
    follow::snapshot::{MasterSnapshot, Snapshot, Tallies},
    kernel::bpffs,
};
use macvlan_ctl::exporter::{self, Server};
use tokio::sync::watch;

use crate::{
    fail::{OrFail as _, wait_for},
    frames::{self, Marker},
    http::get,
    lab::{Lab, Station},
    netns::Netns,
    sniff::Injector,
    talk::ping,
};

/// Metrics served, until this is dropped.
pub struct Exporter {
    ns: Netns,
    /// Where.
    pub address: SocketAddr,
    means: Means,
}

/// Who serves.
enum Means {
    Library { _server: Server, views: Option<watch::Sender<Arc<Snapshot>>> },
    Command(Child),
}

impl Drop for Means {
    fn drop(&mut self) {
        if let Self::Command(process) = self {
            // It may have ended by itself; that is as good.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Exporter {
    /// Serves the metrics of a lab's master in the host's namespace, as it is now: nobody follows it.
    #[track_caller]
    pub fn start(lab: &Lab) -> Self {
        Self::by_library(lab, || ())
    }

    /// By a thread with access to pins and `CAP_BPF`, and no other capability.
    #[track_caller]
    pub fn with_cap_bpf_alone(lab: &Lab) -> Self {
        Self::by_library(lab, || {
            let alone = CapsHashSet::from([Capability::CAP_BPF]);
            for set in [CapSet::Effective, CapSet::Permitted] {
                caps::set(None, set, &alone).or_fail("drop capabilities");
            }
        })
    }

    /// By `run --metrics`, which attaches if need be.
    #[track_caller]
    pub fn by_command(lab: &Lab) -> Self {
        Self::by_command_of(lab, &[&lab.host.dev])
    }

    /// The same of these masters, which need not be there.
    #[track_caller]
    pub fn by_command_of(lab: &Lab, masters: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 10099));
        let metrics = format!("--metrics={address}");
        let mut command = lab.ctl_command(&[&["run"], masters, &[&metrics]].concat());
        let process = command.stdin(Stdio::null()).spawn().or_fail("run the command");
        let exporter = Self { ns: lab.host.ns.share(), address, means: Means::Command(process) };
        wait_for("the command to serve metrics", || {
            let answer = crate::http::ask(&exporter.ns, address, "GET /healthz").ok()?;
            (answer.status == 200).then_some(())
        });
        exporter
    }

    /// By the library, of what `status` tells of the master now; `prepare` runs on the thread that
    /// the server's own is made by.
    #[track_caller]
    fn by_library(lab: &Lab, prepare: impl Fn() + Send + Sync) -> Self {
        let (dev, ns) = (lab.host.dev.as_str(), &lab.host.ns);
        lab.mounts().enter(|| {
            ns.enter(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let statuses = runtime.or_fail("start an event loop").block_on(status(Some(dev)));
                let pins = only_pins();
                let masters = statuses.or_fail("tell the status").into_iter();
                let masters = masters.map(|status| MasterSnapshot::new(status, pins.clone())).collect();
                prepare();
                Self::here(ns, Snapshot { masters, waiting: Vec::new() })
            })
        })
    }

    /// Serves this view in `ns`, with no pins but those that this process sees.
    #[track_caller]
    pub fn of_view(ns: &Netns, view: Snapshot) -> Self {
        ns.enter(|| Self::here(ns, view))
    }

    #[track_caller]
    fn here(ns: &Netns, view: Snapshot) -> Self {
        let listener = exporter::bind(SocketAddr::from(([127, 0, 0, 1], 0))).or_fail("bind");
        let (views, receiver) = watch::channel(Arc::new(view));
        let server = exporter::serve(listener, receiver, Arc::new(Tallies::default())).or_fail("serve");
        let address = server.address();
        Self { ns: ns.share(), address, means: Means::Library { _server: server, views: Some(views) } }
    }

    /// Ends the follower, but not the exporter.
    pub fn end_follower(&mut self) {
        if let Means::Library { views, .. } = &mut self.means {
            views.take();
        }
    }

    /// The text of a scrape.
    #[track_caller]
    pub fn text(&self) -> String {
        get(&self.ns, self.address, "/metrics")
    }

    /// A scrape.
    #[track_caller]
    pub fn scrape(&self) -> Samples {
        Samples::of(&self.text())
    }

    /// Scrapes until `ready`: a text may be a moment old.
    #[track_caller]
    pub fn scrape_until(&self, what: &str, ready: impl Fn(&Samples) -> bool) -> Samples {
        wait_for(what, || Some(self.scrape()).filter(&ready))
    }
}

/// The pin directory of the only master that has one, seen from within the lab's mounts.
#[track_caller]
pub fn only_pins() -> Option<PathBuf> {
    let mut directories = fs::read_dir(bpffs::root()).ok()?;
    let directory = directories.next()?.or_fail("list pin directories").path();
    assert!(directories.next().is_none(), "more than one pin directory");
    Some(directory)
}

/// Samples by series, as they are written: `name{label="value",...}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples(pub BTreeMap<String, f64>);

impl Samples {
    /// Of this text.
    ///
    /// # Panics
    ///
    /// When a series is there twice.
    #[track_caller]
    pub fn of(text: &str) -> Self {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').or_fail(format!("read {line:?}"));
            let value = value.parse().or_fail(format!("read the value of {line:?}"));
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} is there twice");
        }
        Self(samples)
    }

    /// The value of one series.
    pub fn get(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    /// Series of this metric, and their values.
    pub fn of_metric<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let of = move |series: &str| series.split('{').next() == Some(name);
        self.0.iter().filter(move |(series, _)| of(series)).map(|(series, value)| (series.as_str(), *value))
    }

    /// The counters of data paths, sorted by series; not those that the kernel keeps without one.
    pub fn counters(&self) -> Vec<(String, f64)> {
        let is_counter = |series: &str| {
            let name = series.split('{').next().unwrap_or_default();
            let of_path = name.starts_with("macvlan_child_") || name.starts_with("macvlan_master_");
            let of_kernel = name.starts_with("macvlan_master_kernel_") || series.contains("path=\"all\"");
            of_path && !of_kernel && name.ends_with("_total")
        };
        let kept = self.0.iter().filter(|(series, _)| is_counter(series));
        kept.map(|(series, value)| (series.clone(), *value)).collect()
    }

    /// Frames that a child received from the host.
    pub fn received(&self, mac: Mac) -> Option<f64> {
        let labels = format!("{{master=\"eth0\",mac=\"{mac}\",path=\"host\"}}");
        self.get(&format!("macvlan_child_receive_packets_total{labels}"))
    }
}

/// A data path, children, and a bit of everything that is counted of them.
#[track_caller]
pub fn busy_children(lab: &Lab, args: &[&str]) -> [Station; 3] {
    let (one, two) = (lab.child("b1", Mode::Bridge), lab.child("b2", Mode::Bridge));
    let private = lab.child("p1", Mode::Private);
    lab.introduce(&[&lab.host, &lab.wire, &one, &two, &private]);
    lab.ctl(&[&["attach", "eth0", "--require-bpf"], args].concat()).succeeded();
    assert!(ping(&lab.host, one.ip.into()));
    assert!(ping(&lab.wire, one.ip.into()));
    assert!(ping(&one, two.ip.into()));
    let isolated = frames::marked(one.mac, private.mac, Marker::new());
    Injector::new(&private.ns, &private.dev).send_times(&isolated, 3);
    let wire = Injector::new(&lab.wire.ns, &lab.wire.dev);
    wire.send(&frames::marked(Mac::new([2, 0, 0, 0, 9, 9]), lab.wire.mac, Marker::new()));
    wire.send(&frames::marked(Mac::BROADCAST, lab.wire.mac, Marker::new()));
    [one, two, private]
}
