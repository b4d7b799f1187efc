//! The product's counters, as `stats -j` prints them.

use std::ops::Sub;

use macvlan_common::counters::{Count, DROP_REASONS, DropReason, FloodOrigin, Path};
use serde_json::{Value, json};

use crate::fail::OrFail as _;

/// One master's counters.
#[derive(Debug, Clone)]
pub struct Stats {
    master: Value,
}

impl Stats {
    /// Of the one master in the output of `stats -j`.
    #[track_caller]
    pub fn of(output: &Value) -> Self {
        let masters = output.as_array().or_fail("read `stats -j`: an array is wanted");
        assert_eq!(masters.len(), 1, "one master is wanted: {output:#}");
        Self { master: masters[0].clone() }
    }

    /// Frames for nobody here.
    #[track_caller]
    pub fn unknown_unicast(&self) -> Count {
        count(&self.master["unknown_unicast"])
    }

    /// Dropped without a child to charge it to.
    #[track_caller]
    pub fn master_dropped(&self, reason: DropReason) -> Count {
        count(&self.master["drops"][reason.as_str()])
    }

    /// Broadcast and multicast from there.
    #[track_caller]
    pub fn flood(&self, origin: FloodOrigin) -> Count {
        count(&self.master["flood"][origin.as_str()])
    }

    /// What the child with this address received.
    #[track_caller]
    pub fn rx(&self, child: &str, path: Path) -> Count {
        count(&self.child(child)[path.as_str()]["rx"])
    }

    /// What the child with this name sent.
    #[track_caller]
    pub fn tx(&self, child: &str, path: Path) -> Count {
        count(&self.child(child)[path.as_str()]["tx"])
    }

    /// What was dropped of the child with this name.
    #[track_caller]
    pub fn dropped(&self, child: &str, reason: DropReason) -> Count {
        count(&self.child(child)["drops"][reason.as_str()])
    }

    /// Every counter of every child that is not zero: its name, path and direction (or `drops` and
    /// the reason), and the count; sorted.
    pub fn all(&self) -> Vec<(String, &'static str, &'static str, Count)> {
        let mut all = Vec::new();
        for child in self.children() {
            let name = child["ifname"].as_str().or_fail("read a child's name").to_owned();
            for path in macvlan_common::counters::PATHS {
                for direction in ["rx", "tx"] {
                    let count = count(&child[path.as_str()][direction]);
                    all.push((name.clone(), path.as_str(), direction, count));
                }
            }
            for reason in DROP_REASONS {
                let count = count(&child["drops"][reason.as_str()]);
                all.push((name.clone(), "drops", reason.as_str(), count));
            }
        }
        all.retain(|(.., count)| *count != Count::default());
        all.sort_by(|one, other| (&one.0, one.1, one.2).cmp(&(&other.0, other.1, other.2)));
        all
    }

    fn children(&self) -> &[Value] {
        self.master["children"].as_array().or_fail("read the children in `stats -j`")
    }

    #[track_caller]
    fn child(&self, name: &str) -> &Value {
        let found = self.children().iter().find(|child| child["ifname"] == name);
        found.or_fail(format!("find child {name} in {:#}", self.master))
    }
}

/// The counters gained since: both sides must speak of the same master, and of the same children.
impl Sub<&Stats> for &Stats {
    type Output = Stats;

    fn sub(self, before: &Stats) -> Stats {
        Stats { master: difference(&self.master, &before.master) }
    }
}

#[track_caller]
fn count(value: &Value) -> Count {
    let number = |key: &str| value[key].as_u64().or_fail(format!("read {key} of the count {value}"));
    Count { packets: number("packets"), bytes: number("bytes") }
}

/// Numbers subtracted, children matched by name, everything else as it is now.
fn difference(now: &Value, before: &Value) -> Value {
    match now {
        Value::Number(number) => {
            let (Some(now), Some(before)) = (number.as_u64(), before.as_u64()) else {
                return Value::Number(number.clone());
            };
            json!(
                now.checked_sub(before).or_fail(format!("subtract: the counter fell from {before} to {now}"))
            )
        }
        Value::Array(items) => {
            let counterpart = |item: &Value| {
                let same = |other: &&Value| other["ifname"] == item["ifname"];
                before.as_array().and_then(|all| all.iter().find(same)).cloned().unwrap_or_default()
            };
            items.iter().map(|item| difference(item, &counterpart(item))).collect()
        }
        Value::Object(entries) => {
            let fields = entries.iter().map(|(key, value)| (key.clone(), difference(value, &before[key])));
            Value::Object(fields.collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => now.clone(),
    }
}
