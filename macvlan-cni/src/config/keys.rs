//! The keys of a configuration: how they may be spelled, and which there are.
//!
//! Those of the specification and of the reference plugin are found in any case, as Go finds the keys of
//! its structures (`encoding/json`, `Unmarshal`). Our own are found as they are written alone.

use serde_json::{Map, Value};

use crate::error::{CniError, CniResult, code};

/// What a runtime names the attachments that are valid by.
pub const VALID_ATTACHMENTS: &str = "cni.dev/valid-attachments";

/// What libcni named them by first, and still does beside.
pub const FORMER_VALID_ATTACHMENTS: &str = "cni.dev/attachments";

/// Keys of the specification, of the reference plugin, and what runtimes put beside them.
const SHARED: [&str; 22] = [
    "args",
    "bcqueuelen",
    "capabilities",
    "cniVersion",
    "cniVersions",
    FORMER_VALID_ATTACHMENTS,
    VALID_ATTACHMENTS,
    // Multus, of a network with a resource.
    "deviceID",
    "disableCheck",
    "disableGC",
    "dns",
    "ipMasq",
    "ipam",
    "linkInContainer",
    "mac",
    "master",
    "mode",
    "mtu",
    "name",
    "pciBusID",
    "prevResult",
    "runtimeConfig",
];

/// `type`, and keys of objects in the configuration.
const INNER: [&str; 25] = [
    "type",
    "mac",
    "bandwidth",
    "ingressRate",
    "ingressBurst",
    "egressRate",
    "egressBurst",
    "containerID",
    "ifname",
    "interfaces",
    "ips",
    "routes",
    "dns",
    "name",
    "sandbox",
    "interface",
    "address",
    "gateway",
    "dst",
    "gw",
    "mtu",
    "advmss",
    "priority",
    "table",
    "scope",
];

/// Keys of objects whose keys are looked for in any case.
const FOLDED: [&str; 5] =
    ["runtimeConfig", "prevResult", "ipam", VALID_ATTACHMENTS, FORMER_VALID_ATTACHMENTS];

/// Our own keys.
pub const OWN: [&str; 11] = [
    "antiSpoof",
    "duplicateWait",
    "group",
    "hostAccess",
    "isolation",
    "kind",
    "macChange",
    "onMissingBpf",
    "rate",
    "singleMac",
    "xdp",
];

/// From here on one key is taken for a slip of another.
const ALIKE: f64 = 0.8;

/// The longest part of a value that an error repeats.
const LONGEST_VALUE: usize = 64;

/// The configuration, each key as this plugin writes it. A null is left out, but that of a list of
/// attachments: that is Go's empty list.
///
/// # Errors
///
/// Code 6 when it is no JSON object.
pub fn object(input: &[u8]) -> CniResult<Map<String, Value>> {
    let parsed: Map<String, Value> = serde_json::from_slice(input).map_err(|error| {
        CniError::new(code::DECODING_FAILURE, "the network configuration is no JSON object")
            .with_details(error)
    })?;
    let mut object = fold(parsed, &[&SHARED[..], &["type"]].concat());
    for (key, value) in &mut object {
        if FOLDED.contains(&key.as_str()) {
            fold_inside(value);
        }
        if [VALID_ATTACHMENTS, FORMER_VALID_ATTACHMENTS].contains(&key.as_str()) && value.is_null() {
            *value = Value::Array(Vec::new());
        }
    }
    object.retain(|_, value| !value.is_null());
    Ok(object)
}

/// Refuses a key that neither the specification, the reference plugin nor this one has: most likely it is
/// a slip, and what it asks for would not be done. One with a slash has somebody's name before it.
///
/// # Errors
///
/// Code 2, with the key, its value, and the key that is most like it.
pub fn refuse_unknown(object: &Map<String, Value>) -> CniResult<()> {
    let is_known =
        |key: &str| SHARED.contains(&key) || OWN.contains(&key) || key == "type" || key.contains('/');
    let Some((key, value)) = object.iter().find(|(key, _)| !is_known(key)) else { return Ok(()) };
    let value: String = value.to_string().chars().take(LONGEST_VALUE).collect();
    let alike = OWN.iter().chain(&SHARED).map(|known| (likeness(key, known), known));
    let remedy = match alike.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        Some((likeness, nearest)) if likeness >= ALIKE => format!("did you mean {nearest:?}?"),
        _ => format!("the keys of this plugin alone are {}", OWN.join(", ")),
    };
    Err(CniError::new(code::UNSUPPORTED_FIELD, format!("unknown key {key:?} (of {value}): {remedy}")))
}

fn likeness(key: &str, known: &str) -> f64 {
    strsim::jaro_winkler(&key.to_ascii_lowercase(), &known.to_ascii_lowercase())
}

fn fold(object: Map<String, Value>, known: &[&str]) -> Map<String, Value> {
    let (mut folded, others): (Map<_, _>, Map<_, _>) =
        object.into_iter().partition(|(key, _)| known.contains(&key.as_str()));
    for (key, value) in others {
        let meant = known.iter().find(|known| known.eq_ignore_ascii_case(&key));
        // Written as it should be, it wins.
        folded.entry(meant.map_or(key, |known| (*known).to_owned())).or_insert(value);
    }
    folded
}

fn fold_inside(value: &mut Value) {
    match value {
        Value::Object(object) => {
            *object = fold(std::mem::take(object), &INNER);
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(fold_inside);
        }
        Value::Array(values) => values.iter_mut().for_each(fold_inside),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &Value) -> Value {
        Value::Object(object(json.to_string().as_bytes()).unwrap())
    }

    fn refused(json: &Value) -> CniError {
        refuse_unknown(&object(json.to_string().as_bytes()).unwrap()).unwrap_err()
    }

    #[test]
    fn keys_of_others_are_found_in_any_case_and_our_own_are_not() {
        let written = json!({"Name": "lan", "MTU": 1400, "LinkInContainer": false, "BCQueueLen": 7,
            "RuntimeConfig": {"Mac": "02:00:00:00:00:01", "Bandwidth": {"IngressRate": 1}},
            "Ipam": {"Type": "static"}, "HostAccess": true});
        let meant = json!({"name": "lan", "mtu": 1400, "linkInContainer": false, "bcqueuelen": 7,
            "runtimeConfig": {"mac": "02:00:00:00:00:01", "bandwidth": {"ingressRate": 1}},
            "ipam": {"type": "static"}, "HostAccess": true});
        assert_eq!(read(&written), meant);
        assert_eq!(read(&meant), meant);
    }

    #[test]
    fn the_key_as_it_should_be_wins() {
        assert_eq!(read(&json!({"MASTER": "a", "master": "b", "Master": "c"})), json!({"master": "b"}));
    }

    #[test]
    fn a_null_is_nothing_but_of_attachments() {
        let written = json!({"mtu": null, "ipam": {"type": null}, "cni.dev/valid-attachments": null});
        assert_eq!(read(&written), json!({"ipam": {}, "cni.dev/valid-attachments": []}));
    }

    #[test]
    fn an_unknown_key_is_told_with_its_value_and_the_nearest() {
        for (key, nearest) in [
            ("hostAcess", "hostAccess"),
            ("HostAccess", "hostAccess"),
            ("antispoof", "antiSpoof"),
            ("onMissingBPF", "onMissingBpf"),
            ("mastr", "master"),
        ] {
            let error = refused(&json!({"name": "lan", key: true}));
            let msg = format!("unknown key {key:?} (of true): did you mean {nearest:?}?");
            assert_eq!((error.code, error.msg), (code::UNSUPPORTED_FIELD, msg));
        }
        let error = refused(&json!({"colour": "x".repeat(1000)}));
        assert!(error.msg.len() < 256 && error.msg.contains("hostAccess, isolation"), "{}", error.msg);
    }

    #[test]
    fn keys_of_others_are_no_slips() {
        let known: Map<String, Value> =
            SHARED.iter().chain(&OWN).map(|key| ((*key).into(), json!(1))).collect();
        refuse_unknown(&known).unwrap();
        let others =
            json!({"type": "macvlan-cni", "example.com/colour": "red", "ARGS": {}, "DisableCheck": true});
        refuse_unknown(&object(others.to_string().as_bytes()).unwrap()).unwrap();
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for input in ["", "[]", "{", "7", "null", "{\"a\": 1} x"] {
            assert_eq!(object(input.as_bytes()).unwrap_err().code, code::DECODING_FAILURE, "{input}");
        }
    }
}
