//! The dashboard, and the PromQL in it and in the alert rules.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use crate::{cli::workspace, fail::OrFail as _};

/// The dashboard, as it is deployed.
#[track_caller]
pub fn dashboard() -> Value {
    let path = workspace().join("deploy/grafana/macvlan-ctl.json");
    let text = fs::read_to_string(&path).or_fail(format!("read {}", path.display()));
    serde_json::from_str(&text).or_fail(format!("read {}", path.display()))
}

/// Where the configuration of Prometheus and its rules are.
pub fn prometheus_files() -> PathBuf {
    workspace().join("deploy/prometheus")
}

/// The queries of all panels.
#[track_caller]
pub fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().or_fail("find panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().or_fail("find a query").to_owned()).collect()
}

/// The queries of all variables, of which each is `label_values(SERIES, LABEL)`: series and label.
#[track_caller]
pub fn variables(dashboard: &Value) -> Vec<(String, String)> {
    let list = dashboard["templating"]["list"].as_array().or_fail("find variables");
    let queries = list.iter().filter_map(|variable| variable["query"]["query"].as_str());
    queries
        .map(|query| {
            let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (series, label) = inside.and_then(|inside| inside.rsplit_once(", ")).or_fail(query);
            (series.to_owned(), label.to_owned())
        })
        .collect()
}

/// The query with values in place of Grafana's variables.
///
/// # Panics
///
/// When a variable is left.
#[track_caller]
pub fn filled_in(query: &str) -> String {
    let mut query = query.replace("$__rate_interval", "1m");
    for variable in ["$instance", "$master", "$child", "$path"] {
        query = query.replace(variable, ".*");
    }
    assert!(!query.contains('$'), "an unknown variable is in {query}");
    query
}

/// Every metric of ours that a query names.
pub fn metrics_in(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.starts_with("macvlan_")).map(str::to_owned).collect()
}
