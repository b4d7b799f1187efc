//! A child as a person asks for it.

use std::{fmt, net::IpAddr, str::FromStr};

use anyhow::{Context as _, Error, Result, bail};
use macvlan_common::{
    child::{AntiSpoof, Mode},
    mac::Mac,
};

use crate::{
    kernel::{
        ifname::IfName,
        netlink::{ipnet::IpNet, kind::Kind},
        netns::NetnsRef,
    },
    model::{
        child_name::ChildName,
        parse::{number, on_off, parse_address, parse_gateway, parse_kind, parse_mac, parse_mode},
    },
    policy::{
        change::{
            PolicyChange, Reflection, parse_anti_spoof, parse_group, parse_new_group, parse_reflection,
        },
        rate::{parse_rate, parse_scope},
    },
};

/// A child that a user asks for: `NAME[,key=value]...`. One that is to be made has the name of its interface;
/// one that is there is [named](ChildName) by whatever it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSpec<Name = IfName> {
    /// Name in its own namespace.
    pub name: Name,
    /// The other settings.
    pub settings: Settings,
}

/// A child that is there, and what is to become of it.
pub type ChildChange = ChildSpec<ChildName>;

/// Everything of a child but its name; `None` means "the default", or "as it is" in a change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// macvlan by default.
    pub kind: Option<Kind>,
    /// Bridge by default.
    pub mode: Option<Mode>,
    /// Drawn by the kernel by default.
    pub mac: Option<Mac>,
    /// The master's by default.
    pub mtu: Option<u32>,
    /// The master's by default.
    pub netns: Option<NetnsRef>,
    /// None by default.
    pub addresses: Vec<IpNet>,
    /// None by default.
    pub gateways: Vec<IpAddr>,
    /// The kernel's by default.
    pub bcqueuelen: Option<u32>,
    /// What it may do.
    pub policy: PolicyChange,
    /// The group it is to be in need not be there yet.
    pub new_group: bool,
    /// Up by default.
    pub up: Option<bool>,
}

/// Keys of a child specification, as `--help` and errors list them.
pub const SPEC_KEYS: &str = "mode, kind, mac, mtu, netns, ip, gw, bcqueuelen, host-access, \
                              sibling-access, group, new-group, anti-spoof, vepa-reflect, isolation, \
                              ra, dhcp-server, host-control, mac-change, rate-rx, rate-tx, rate-scope, up, \
                              down";

impl<Name: FromStr<Err = Error> + fmt::Display> FromStr for ChildSpec<Name> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',');
        if let Some((key, _)) = text.split_once('=')
            && SPEC_KEYS.split(", ").any(|known| known == key)
        {
            // The kernel would take it for a name.
            bail!("{text:?} is a setting, not a child; write it behind its child: NAME,{text}");
        }
        let name: Name = parts.next().unwrap_or_default().parse()?;
        let mut settings = Settings::default();
        let in_child = || format!("in child {:?}", name.to_string());
        let mut is_strict = None;
        for part in parts {
            match part.split_once('=') {
                Some((key @ "isolation", value)) => {
                    parse_isolation(value).and_then(|()| once(&mut is_strict, key, ()))
                }
                _ => settings.set(part),
            }
            .with_context(in_child)?;
        }
        if is_strict.is_some() {
            settings.isolate().with_context(in_child)?;
        }
        Ok(Self { name, settings })
    }
}

impl Settings {
    /// Whether a change to these leaves everything as it is: they say at most where the child is.
    pub fn change_nothing(&self) -> bool {
        *self == Self { netns: self.netns.clone(), ..Self::default() }
    }

    /// Asks for a child that is strict: all that it gets passes hooks of the master, for the driver gives what siblings
    /// send to bridge children alone; and nobody passes for it.
    ///
    /// # Errors
    ///
    /// Another mode or reflection is asked for, or that it is not held to its MAC.
    pub fn isolate(&mut self) -> Result<()> {
        let (mode, reflect) = (Mode::Vepa, Reflection::Local);
        if let Some(other) = self.mode.filter(|asked| *asked != mode) {
            bail!("isolation=strict is in mode {}, not {}: leave out mode", mode.as_str(), other.as_str());
        }
        if let Some(other) = self.policy.vepa_reflect.filter(|asked| *asked != reflect) {
            bail!(
                "isolation=strict is vepa-reflect={}, not {}: leave it out",
                reflect.as_str(),
                other.as_str()
            );
        }
        if self.policy.anti_spoof == Some(AntiSpoof::Off) {
            bail!("isolation=strict is anti-spoof=mac or ip, not off: leave it out");
        }
        self.mode = Some(mode);
        self.policy.vepa_reflect = Some(reflect);
        self.policy.anti_spoof = self.policy.anti_spoof.or(Some(AntiSpoof::Mac));
        Ok(())
    }

    /// Whether nothing is said of what strict isolation is made of.
    pub fn say_nothing_of_isolation(&self) -> bool {
        (self.mode, self.policy.vepa_reflect, self.policy.anti_spoof) == (None, None, None)
    }

    fn set(&mut self, part: &str) -> Result<()> {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key, value),
            None if part == "up" || part == "down" => (part, ""),
            None => bail!("{part:?} is not key=value; keys are: {SPEC_KEYS}"),
        };
        match key {
            "kind" => once(&mut self.kind, key, parse_kind(value)?),
            "mode" => once(&mut self.mode, key, parse_mode(value)?),
            "mac" => once(&mut self.mac, key, parse_mac(value)?),
            "mtu" => once(&mut self.mtu, key, number(key, value)?),
            "netns" => once(&mut self.netns, key, value.parse()?),
            "bcqueuelen" => once(&mut self.bcqueuelen, key, number(key, value)?),
            "host-access" => once(&mut self.policy.host_access, key, on_off(key, value)?),
            "sibling-access" => once(&mut self.policy.sibling_access, key, on_off(key, value)?),
            "group" => once(&mut self.policy.group, key, parse_group(value)?),
            "new-group" => {
                self.new_group = true;
                once(&mut self.policy.group, "group", Some(parse_new_group(value)?))
            }
            "anti-spoof" => once(&mut self.policy.anti_spoof, key, parse_anti_spoof(value)?),
            "vepa-reflect" => once(&mut self.policy.vepa_reflect, key, parse_reflection(value)?),
            "rate-rx" => once(&mut self.policy.rate_rx, key, parse_rate(value)?),
            "rate-tx" => once(&mut self.policy.rate_tx, key, parse_rate(value)?),
            "rate-scope" => once(&mut self.policy.rate_scope, key, parse_scope(value)?),
            "ra" => once(&mut self.policy.ra, key, on_off(key, value)?),
            "dhcp-server" => once(&mut self.policy.dhcp_server, key, on_off(key, value)?),
            "host-control" => once(&mut self.policy.host_control, key, on_off(key, value)?),
            "mac-change" => once(&mut self.policy.mac_change, key, on_off(key, value)?),
            "up" | "down" if value.is_empty() => once(&mut self.up, "up", key == "up"),
            "ip" => {
                self.addresses.push(parse_address(value)?);
                Ok(())
            }
            "gw" => {
                self.gateways.push(parse_gateway(value)?);
                Ok(())
            }
            _ => bail!("unknown key {key:?}; keys are: {SPEC_KEYS}"),
        }
    }
}

/// A child is strict or what its other settings make it.
///
/// # Errors
///
/// Another word is said.
pub fn parse_isolation(text: &str) -> Result<()> {
    match text {
        "strict" => Ok(()),
        _ => bail!(
            "unknown isolation {text:?} of a child: strict; to end it, say mode, vepa-reflect and anti-spoof"
        ),
    }
}

fn once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => bail!("{key:?} is given twice"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::rate::RateScope;

    fn refused(text: &str) -> String {
        format!("{:#}", text.parse::<ChildSpec>().unwrap_err())
    }

    #[test]
    fn a_whole_specification_is_understood() {
        let text = "db,mode=private,netns=db,ip=10.9.0.7/24,ip=fd00::7/64,gw=10.9.0.1,mac=02:00:00:00:00:07,\
                    mtu=1400,kind=macvtap,bcqueuelen=5000,host-access=off,down,\
                    sibling-access=off,group=blue,anti-spoof=mac,vepa-reflect=local,ra=off,dhcp-server=on,\
                    host-control=on,mac-change=on,\
                    rate-rx=100mbit+50kpps/256k,rate-tx=off,rate-scope=wire";
        let spec: ChildSpec = text.parse().unwrap();
        assert_eq!(spec.name.as_str(), "db");
        let settings = spec.settings;
        assert_eq!(settings.mode, Some(Mode::Private));
        assert_eq!(settings.kind, Some(Kind::Macvtap));
        assert_eq!(settings.netns, Some(NetnsRef::Name("db".into())));
        assert_eq!(settings.addresses.len(), 2);
        assert_eq!(settings.gateways.len(), 1);
        assert_eq!(settings.mac.unwrap().to_string(), "02:00:00:00:00:07");
        assert_eq!((settings.mtu, settings.bcqueuelen), (Some(1400), Some(5000)));
        assert_eq!(settings.up, Some(false));
        let policy = PolicyChange {
            host_access: Some(false),
            sibling_access: Some(false),
            group: Some(Some("blue".parse().unwrap())),
            anti_spoof: Some(AntiSpoof::Mac),
            vepa_reflect: Some(Reflection::Local),
            rate_rx: Some(Some("100mbit+50kpps/256k".parse().unwrap())),
            rate_tx: Some(None),
            rate_scope: Some(RateScope::Wire),
            ra: Some(false),
            dhcp_server: Some(true),
            host_control: Some(true),
            mac_change: Some(true),
            named: false,
            takes_mode: false,
        };
        assert_eq!(settings.policy, policy);
        assert_eq!("a,group=none".parse::<ChildSpec>().unwrap().settings.policy.group, Some(None));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(refused("web,modus=bridge").contains("unknown key \"modus\"; keys are: mode"));
        assert!(refused("web,mode=brigde").contains("unknown mode \"brigde\": bridge, vepa"));
        assert!(refused("web,mac=03:00:00:00:00:01").contains("multicast"));
        assert!(refused("web,mac=00:00:00:00:00:00").contains("cannot be a device's own"));
        assert!(refused("web,mac=zz").contains("bad MAC \"zz\""));
        assert!(refused("web,mtu=many").contains("mtu \"many\" is not a whole number"));
        assert!(refused("web,mtu=1,mtu=2").contains("\"mtu\" is given twice"));
        assert!(refused("web,up,down").contains("\"up\" is given twice"));
        assert!(refused("web,host-access=yes").contains("neither on nor off"));
        assert!(refused("web,sibling-access=no").contains("sibling-access \"no\" is neither on nor off"));
        assert!(refused("web,group=").contains("bad group \"\": a group has a name of 1 to 32 letters"));
        assert!(refused("web,group=a b").contains("bad group \"a b\""));
        assert!(refused("web,anti-spoof=on").contains("unknown anti-spoof \"on\": off, mac or ip"));
        assert!(refused("web,vepa-reflect=yes").contains("unknown vepa-reflect \"yes\": switch or local"));
        assert!(
            refused("web,rate-tx=0mbit").contains("bad rate \"0mbit\": a rate of 0 lets nothing through")
        );
        assert!(refused("web,rate-scope=lan").contains("unknown rate-scope \"lan\": wire or all"));
        assert!(refused("web,group=a,group=b").contains("\"group\" is given twice"));
        assert!(refused("web,group=a,new-group=a").contains("\"group\" is given twice"));
        assert!(refused("web,new-group=none").contains("no group can have the name \"none\""));
        assert!(refused("group=a").contains("\"group=a\" is a setting, not a child; write it behind"));
        assert!(refused("web,down=1").contains("unknown key"));
        assert!(refused("web,gw=there").contains("gateway \"there\""));
        assert!(refused("a-name-that-is-too-long").contains("too long"));
        assert!(refused("").contains("empty"));
    }

    #[test]
    fn isolation_is_what_it_is_made_of() {
        let made = |text: &str| text.parse::<ChildSpec>().unwrap();
        let whole = made("web,mode=vepa,vepa-reflect=local,anti-spoof=mac");
        assert_eq!(made("web,isolation=strict"), whole);
        assert_eq!(made("web,anti-spoof=mac,isolation=strict,mode=vepa"), whole);
        let held = made("web,isolation=strict,anti-spoof=ip").settings.policy.anti_spoof;
        assert_eq!(held, Some(AntiSpoof::Ip), "more than the least");
        for (contrary, word) in [
            ("mode=bridge", "is in mode vepa, not bridge"),
            ("vepa-reflect=switch", "is vepa-reflect=local, not switch"),
            ("anti-spoof=off", "is anti-spoof=mac or ip, not off"),
            ("isolation=strict", "\"isolation\" is given twice"),
        ] {
            let error = refused(&format!("web,{contrary},isolation=strict"));
            assert!(error.contains(word), "{error}");
        }
        assert!(refused("web,isolation=off").contains("unknown isolation \"off\" of a child: strict"));
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_refused(text: String) {
            let _ = text.parse::<ChildSpec>();
        }
    }
}
