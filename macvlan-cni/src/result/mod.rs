//! Results of ADD, ours and those of plugins that manage addresses.

mod former;
mod parts;

use serde_json::{Value, json};

use self::former::Former;
pub use self::parts::{AddResult, Address, Interface, Route};
use crate::{
    error::{CniError, CniResult, code},
    version::Version,
};

/// Most addresses and most routes of one attachment that are taken from another plugin.
const MOST_ADDRESSES: usize = 256;

const MOST_ROUTES: usize = 4096;

impl AddResult {
    /// Reads what a plugin that manages addresses printed.
    ///
    /// # Errors
    ///
    /// Code 6 when it is no result, has no address, or too many.
    pub fn of_ipam(output: &[u8], plugin: &str) -> CniResult<Self> {
        let bad =
            |why: String| CniError::new(code::DECODING_FAILURE, format!("IPAM plugin {plugin:?} {why}"));
        let result = read(output)
            .map_err(|error| bad("answered with something else than a result".into()).with_details(error))?;
        if result.ips.is_empty() {
            return Err(bad("gave no address".into()));
        }
        if result.ips.len() > MOST_ADDRESSES || result.routes.len() > MOST_ROUTES {
            return Err(bad(format!("gave more than {MOST_ADDRESSES} addresses or {MOST_ROUTES} routes")));
        }
        Ok(result)
    }

    /// The result as this version of the specification has it.
    ///
    /// # Errors
    ///
    /// When an address is none.
    pub fn to_json(&self, version: Version) -> CniResult<Value> {
        if version < Version::V0_3_0 {
            return Ok(json!(Former::of(self, version)?));
        }
        let mut result = self.clone();
        for address in &mut result.ips {
            let is_ipv4 = address.net()?.address.is_ipv4();
            let family = if is_ipv4 { "4" } else { "6" };
            address.version = (version < Version::V1_0_0).then(|| family.to_owned());
        }
        if version < Version::V1_1_0 {
            for Route { mtu, advmss, priority, table, scope, .. } in &mut result.routes {
                (*mtu, *advmss, *priority, *table, *scope) = (None, None, None, None, None);
            }
        }
        let mut json =
            json!({ "cniVersion": version.as_str(), "interfaces": result.interfaces, "dns": result.dns });
        if !result.ips.is_empty() {
            json["ips"] = json!(result.ips);
        }
        if !result.routes.is_empty() {
            json["routes"] = json!(result.routes);
        }
        Ok(json)
    }
}

fn read(output: &[u8]) -> serde_json::Result<AddResult> {
    let value: Value = serde_json::from_slice(output)?;
    if value.get("ip4").or(value.get("ip6")).is_some() {
        return Ok(serde_json::from_value::<Former>(value)?.into());
    }
    serde_json::from_value(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IPAM: &str = r#"{"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.7/24", "gateway": "10.9.0.1"}],
                           "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}], "dns": {}}"#;

    #[test]
    fn each_version_has_its_own_shape() {
        let result = AddResult::of_ipam(IPAM.as_bytes(), "test").unwrap();
        for version in Version::ALL.into_iter().filter(|version| *version >= Version::V0_3_0) {
            let json = result.to_json(version).unwrap();
            assert_eq!(json["cniVersion"], version.as_str());
            assert_eq!(json["ips"][0]["version"] == "4", version < Version::V1_0_0, "{version:?}");
            assert_eq!(json["routes"][0]["mtu"] == 1400, version == Version::V1_1_0, "{version:?}");
        }
    }

    #[test]
    fn what_another_plugin_says_is_checked() {
        let many = format!(r#"{{"ips": [{}]}}"#, vec![r#"{"address": "10.0.0.1/8"}"#; 257].join(","));
        for output in ["", "{}", r#"{"ips": null}"#, r#"{"ips": [{"address": 7}]}"#, &many] {
            let error = AddResult::of_ipam(output.as_bytes(), "test").unwrap_err();
            assert_eq!(error.code, code::DECODING_FAILURE, "{output}");
        }
        for dst in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129"] {
            let route = Route { dst: dst.into(), ..Route::default() };
            assert!(route.destination().is_err(), "{dst}");
        }
    }

    proptest! {
        #[test]
        fn any_output_is_read_without_a_panic(output: Vec<u8>) {
            let _ = AddResult::of_ipam(&output, "test");
        }
    }
}
