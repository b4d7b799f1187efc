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
use macvlan_ctl::{
    bpffs,
    exporter::{self, Server},
    status::status,
    view::{MasterView, Tallies, View},
};
use tokio::sync::watch;

use crate::{
    fail::{OrFail as _, wait_for},
    http::get,
    lab::Lab,
    netns::Netns,
};

/// Metrics served, until this is dropped.
pub struct Exporter {
    ns: Netns,
    /// Where.
    pub address: SocketAddr,
    _means: Means,
}

/// Who serves.
enum Means {
    Library { _server: Server, _views: watch::Sender<Arc<View>> },
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
    /// Serves the metrics of a lab's master in the host's namespace.
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
        let address = SocketAddr::from(([127, 0, 0, 1], 9099));
        let mut command = lab.ctl_command(&["run", &lab.host.dev, "--metrics", &address.to_string()]);
        let process = command.stdin(Stdio::null()).spawn().or_fail("run the command");
        let exporter = Self { ns: lab.host.ns.share(), address, _means: Means::Command(process) };
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
                let masters = masters.map(|status| MasterView { status, pins: pins.clone() }).collect();
                prepare();
                Self::here(ns, View { masters })
            })
        })
    }

    /// Serves this view in `ns`, with no pins but those that this process sees.
    #[track_caller]
    pub fn of_view(ns: &Netns, view: View) -> Self {
        ns.enter(|| Self::here(ns, view))
    }

    #[track_caller]
    fn here(ns: &Netns, view: View) -> Self {
        let listener = exporter::bind(SocketAddr::from(([127, 0, 0, 1], 0))).or_fail("bind");
        let (views, receiver) = watch::channel(Arc::new(view));
        let server = exporter::serve(listener, receiver, Arc::new(Tallies::default())).or_fail("serve");
        let address = server.address();
        Self { ns: ns.share(), address, _means: Means::Library { _server: server, _views: views } }
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

/// The pin directory of the only master that has one.
fn only_pins() -> Option<PathBuf> {
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
}
