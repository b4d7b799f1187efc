//! Results as versions before 0.3.0 have them: one address of either family, with its own routes, and no
//! devices.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::parts::{AddResult, Address, Route, or_default};
use crate::{error::CniResult, version::Version};

/// A result of version 0.1.0 or 0.2.0.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Former {
    #[serde(default)]
    cni_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip4: Option<Family>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip6: Option<Family>,
    #[serde(default)]
    dns: Value,
}

/// An address, and where it leads.
#[derive(Debug, Serialize, Deserialize)]
struct Family {
    ip: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<std::net::IpAddr>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
}

impl Former {
    /// The part of a result that these versions can tell: the first address of either family.
    ///
    /// # Errors
    ///
    /// When an address or a route is none.
    pub fn of(result: &AddResult, version: Version) -> CniResult<Self> {
        Ok(Self {
            cni_version: version.as_str().to_owned(),
            ip4: family(result, true)?,
            ip6: family(result, false)?,
            dns: result.dns.clone(),
        })
    }
}

fn family(result: &AddResult, is_ipv4: bool) -> CniResult<Option<Family>> {
    for ip in &result.ips {
        if ip.net()?.address.is_ipv4() != is_ipv4 {
            continue;
        }
        let mut routes = Vec::new();
        for route in &result.routes {
            if route.destination()?.0.is_ipv4() == is_ipv4 {
                routes.push(Route { dst: route.dst.clone(), gw: route.gw, ..Route::default() });
            }
        }
        return Ok(Some(Family { ip: ip.address.clone(), gateway: ip.gateway, routes }));
    }
    Ok(None)
}

impl From<Former> for AddResult {
    fn from(former: Former) -> Self {
        let (mut ips, mut routes) = (Vec::new(), Vec::new());
        for family in [former.ip4, former.ip6].into_iter().flatten() {
            let Family { ip, gateway, routes: own } = family;
            ips.push(Address { version: None, interface: None, address: ip, gateway });
            routes.extend(own);
        }
        Self { interfaces: Vec::new(), ips, routes, dns: former.dns }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_address_of_either_family_is_told_with_its_routes() {
        let newer = json!({
            "ips": [{"address": "10.9.0.7/24", "gateway": "10.9.0.1"}, {"address": "10.9.0.8/24"},
                    {"address": "fd09::7/64"}],
            "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}, {"dst": "::/0", "gw": "fd09::1"}],
            "dns": {"nameservers": ["10.9.0.1"]},
        });
        let result = AddResult::of_ipam(newer.to_string().as_bytes(), "test").unwrap();
        let former = json!({
            "cniVersion": "0.2.0",
            "ip4": {"ip": "10.9.0.7/24", "gateway": "10.9.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
            "ip6": {"ip": "fd09::7/64", "routes": [{"dst": "::/0", "gw": "fd09::1"}]},
            "dns": {"nameservers": ["10.9.0.1"]},
        });
        assert_eq!(result.to_json(Version::V0_2_0).unwrap(), former);
        let read = AddResult::of_ipam(former.to_string().as_bytes(), "test").unwrap();
        assert_eq!(read.to_json(Version::V0_2_0).unwrap(), former);
    }

    #[test]
    fn a_device_without_addresses_has_a_result_too() {
        let former = AddResult::default().to_json(Version::V0_1_0).unwrap();
        assert_eq!(former, json!({"cniVersion": "0.1.0", "dns": null}));
    }
}
