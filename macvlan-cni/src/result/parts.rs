//! What a result of ADD is made of.

use std::net::IpAddr;

use macvlan_core::kernel::netlink::ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{CniError, CniResult, code};

/// A device in a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its MAC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Path of the namespace it is in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
}

/// An address in a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// "4" or "6": before version 1.0.0 alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Index into the result's interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<u32>,
    /// The address, with the length of its prefix.
    pub address: String,
    /// Its network's gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// A route in a result.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub dst: String,
    /// By way of whom; the gateway of the first address of its family if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// Largest packet (version 1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Largest TCP segment to announce (version 1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Metric (version 1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Routing table (version 1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Scope (version 1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

/// What ADD answers; of another plugin, what of it concerns us.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AddResult {
    /// Devices.
    #[serde(default, deserialize_with = "or_default")]
    pub interfaces: Vec<Interface>,
    /// Addresses.
    #[serde(default, deserialize_with = "or_default")]
    pub ips: Vec<Address>,
    /// Routes.
    #[serde(default, deserialize_with = "or_default")]
    pub routes: Vec<Route>,
    /// For resolvers.
    #[serde(default)]
    pub dns: Value,
}

/// Go writes an empty list as null.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Address {
    /// The address, checked.
    ///
    /// # Errors
    ///
    /// Code 6 when it is none that a device can have.
    pub fn net(&self) -> CniResult<IpNet> {
        self.address.parse().map_err(|error| {
            CniError::new(code::DECODING_FAILURE, format!("bad address in a result: {error:#}"))
        })
    }
}

impl Route {
    /// The destination and the length of its prefix.
    ///
    /// # Errors
    ///
    /// Code 6 when it is no prefix.
    pub fn destination(&self) -> CniResult<(IpAddr, u8)> {
        let bad = || CniError::new(code::DECODING_FAILURE, format!("bad route in a result: {:?}", self.dst));
        let (address, len) = self.dst.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let len: u8 = len.parse().map_err(|_| bad())?;
        if len > if address.is_ipv4() { 32 } else { 128 } {
            return Err(bad());
        }
        Ok((address, len))
    }
}
