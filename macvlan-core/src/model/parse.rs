//! The values of settings, from text.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Error, Result, anyhow, bail};
use macvlan_common::{child::Mode, mac::Mac};

use crate::kernel::netlink::{ipnet::IpNet, kind::Kind};

/// The kind that is called so.
///
/// # Errors
///
/// There is no such kind.
pub fn parse_kind(text: &str) -> Result<Kind> {
    match text {
        "macvlan" => Ok(Kind::Macvlan),
        "macvtap" => Ok(Kind::Macvtap),
        "port" => Ok(Kind::Port),
        _ => bail!("unknown kind {text:?}: macvlan, macvtap or port"),
    }
}

/// The mode that `ip link` calls so.
///
/// # Errors
///
/// When there is no such mode.
pub fn parse_mode(text: &str) -> Result<Mode> {
    match text {
        "bridge" => Ok(Mode::Bridge),
        "vepa" => Ok(Mode::Vepa),
        "private" => Ok(Mode::Private),
        "passthru" => Ok(Mode::Passthru),
        "source" => Ok(Mode::Source),
        _ => bail!("unknown mode {text:?}: bridge, vepa, private, passthru or source"),
    }
}

/// A MAC that a device can have.
///
/// # Errors
///
/// The text is no MAC, or a multicast or all-zero one.
pub fn parse_mac(text: &str) -> Result<Mac> {
    let mac: Mac = text.parse().map_err(|error| Error::new(error).context(format!("bad MAC {text:?}")))?;
    if mac.is_group() {
        bail!("MAC {mac} is a multicast address: the lowest bit of its first byte must be 0");
    }
    if !mac.is_assignable() {
        bail!("MAC {mac} cannot be a device's own");
    }
    Ok(mac)
}

/// An address of a child, with the prefix of its network. Without one, the child would be alone on its
/// network, which hardly anybody means.
///
/// # Errors
///
/// It is no address that a device can have, or lacks its prefix.
pub fn parse_address(text: &str) -> Result<IpNet> {
    let net: IpNet = text.parse()?;
    if !text.contains('/') {
        let usual = if net.address.is_ipv4() { 24 } else { 64 };
        bail!("address {text:?} lacks its prefix length, as in {text}/{usual}; for the address alone: {net}");
    }
    Ok(net)
}

/// The address of a gateway.
///
/// # Errors
///
/// When it is no IP address.
pub fn parse_gateway(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| anyhow!("gateway {text:?} is not an IP address"))
}

/// Where to listen. Brackets may be around an address of either family: so one text does for both, in which a variable
/// stands for the address.
///
/// # Errors
///
/// When it is not `ADDRESS:PORT`.
pub fn parse_listener(text: &str) -> Result<SocketAddr> {
    let in_brackets = || {
        let (address, port) = text.strip_prefix('[')?.split_once("]:")?;
        Some(SocketAddr::new(address.parse::<Ipv4Addr>().ok()?.into(), port.parse().ok()?))
    };
    let address = text.parse().ok().or_else(in_brackets);
    address.ok_or_else(|| anyhow!("{text:?} is not ADDRESS:PORT, like 127.0.0.1:10099"))
}

/// The value of a setting that is a number.
///
/// # Errors
///
/// When it is none from 0 to 2^32 - 1.
pub fn number(key: &str, text: &str) -> Result<u32> {
    text.parse().map_err(|_| anyhow!("{key} {text:?} is not a whole number, or too large"))
}

pub(crate) fn on_off(key: &str, text: &str) -> Result<bool> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => bail!("{key} {text:?} is neither on nor off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_may_have_brackets_whatever_its_family() {
        let listener = |text| parse_listener(text).map(|address| address.to_string()).ok();
        for (text, is) in [
            ("127.0.0.1:10099", "127.0.0.1:10099"),
            ("[192.0.2.1]:10099", "192.0.2.1:10099"),
            ("[2001:db8::1]:10099", "[2001:db8::1]:10099"),
        ] {
            assert_eq!(listener(text).as_deref(), Some(is));
        }
        for text in
            ["", "10099", "192.0.2.1", "[192.0.2.1]", "[192.0.2.1]:", "[192.0.2.1]:99999", "[]:1", "web:1"]
        {
            assert_eq!(listener(text), None, "{text:?}");
        }
    }
}
