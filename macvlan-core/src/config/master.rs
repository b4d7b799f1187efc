//! One `[[master]]` of a configuration, with its children.

use std::collections::{BTreeMap, btree_map::Entry};

use anyhow::{Error, Result, bail};
use macvlan_common::group::GroupName;

use crate::{
    config::{
        policy::{read_policy, read_rule, rule_of_child},
        reader::{Fields, twice},
    },
    kernel::ifname::IfName,
    model::{
        keyword::parse_keyword,
        master_name::MasterName,
        options::{MOST_CHILDREN, MissingChoice, Options, SingleMac, StormLimit, parse_storm_limit},
        parse::{parse_address, parse_gateway, parse_kind, parse_mac, parse_mode},
        request::AttachRequest,
        spec::{ChildSpec, Settings, parse_isolation},
    },
    policy::{
        change::parse_new_group,
        rules::{Policies, Rule},
    },
};

/// What the file says of one master.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterConfig {
    /// What it is called there.
    pub name: MasterName,
    /// Its data path and children, as `attach` takes them; with the policies.
    pub request: AttachRequest,
    /// What its children may do: the same as in the request.
    pub policies: Policies,
}

/// Where each child was asked for first: by name and namespace, over all masters.
#[derive(Debug, Default)]
pub struct FirstMentions(BTreeMap<(IfName, Option<String>), usize>);

const KEYS: &[&str] = &[
    "name",
    "xdp",
    "tc",
    "ingress",
    "adopt",
    "drop-unknown",
    "vepa-switch",
    "single-mac",
    "isolation",
    "directed-neigh",
    "storm-limit",
    "max-children",
    "on-missing-bpf",
    "require-bpf",
    "prune",
    "groups",
    "child",
    "policy",
];

const CHILD_KEYS: &[&str] = &[
    "name",
    "kind",
    "mode",
    "mac",
    "mtu",
    "netns",
    "ip",
    "gw",
    "bcqueuelen",
    "host-access",
    "sibling-access",
    "group",
    "anti-spoof",
    "vepa-reflect",
    "isolation",
    "rate-rx",
    "rate-tx",
    "rate-scope",
    "ra",
    "dhcp-server",
    "host-control",
    "mac-change",
    "up",
];

/// The master in a `[[master]]`.
///
/// # Errors
///
/// A key is unknown or missing, or its value is not allowed.
pub fn read_master(fields: Fields<'_>, mentions: &mut FirstMentions) -> Result<MasterConfig> {
    let mut fields = fields.knowing(KEYS)?;
    let Some(name) = fields.text("name", str::parse)? else {
        return Err(fields.error("the master lacks \"name\", like name = \"eth0\""));
    };
    let options = Options {
        xdp: fields.text("xdp", |text| parse_keyword("xdp", text))?,
        tc: fields.text("tc", |text| parse_keyword("tc", text))?,
        ingress: fields.text("ingress", |text| parse_keyword("ingress", text))?,
        adopt: fields.boolean("adopt")?,
        storm_limit: read_storm_limit(&mut fields)?,
        directed_neigh: fields.boolean("directed-neigh")?,
        max_children: read_max_children(&mut fields)?,
        drop_unknown: fields.text("drop-unknown", |text| parse_keyword("drop-unknown", text))?,
        vepa_switch: fields.boolean("vepa-switch")?,
        single_mac: read_single_mac(&mut fields)?,
        isolation: fields.text("isolation", |text| parse_keyword("isolation", text))?,
        on_missing_bpf: read_on_missing(&mut fields)?,
    };
    let prune = fields.boolean("prune")?.unwrap_or_default();
    let groups = fields.texts("groups", parse_new_group)?;
    let mut children = Vec::new();
    for child in fields.tables("child")? {
        children.push(read_child(child, &groups, mentions)?);
    }
    let mut rules: Vec<Rule> = children.iter().filter_map(rule_of_child).collect();
    for policy in fields.tables("policy")? {
        rules.push(read_rule(policy, &groups)?);
    }
    let policies = Policies::new(rules);
    let request =
        AttachRequest { children, options, policies: policies.clone(), prune, ..AttachRequest::default() };
    Ok(MasterConfig { name, request, policies })
}

/// `require-bpf = true` says the same as `on-missing-bpf = "fail"`.
fn read_on_missing(fields: &mut Fields<'_>) -> Result<Option<MissingChoice>> {
    let at = fields.place_of("on-missing-bpf");
    let chosen = fields.text("on-missing-bpf", |text| parse_keyword("on-missing-bpf", text))?;
    let required = fields.boolean("require-bpf")?.unwrap_or_default();
    match chosen {
        Some(chosen) if required && chosen != MissingChoice::Fail => {
            Err(fields.source().error(at, "on-missing-bpf contradicts require-bpf = true: leave one out"))
        }
        _ if required => Ok(Some(MissingChoice::Fail)),
        chosen => Ok(chosen),
    }
}

fn read_max_children(fields: &mut Fields<'_>) -> Result<Option<u32>> {
    let at = fields.place_of("max-children");
    let max_children = fields.number("max-children")?;
    if let Some(given) = max_children.filter(|given| !(1..=MOST_CHILDREN).contains(given)) {
        return Err(fields.source().error(at, format!("max-children is 1 to {MOST_CHILDREN}, not {given}")));
    }
    Ok(max_children)
}

/// A number, or "off".
fn read_storm_limit(fields: &mut Fields<'_>) -> Result<Option<StormLimit>> {
    if fields.is_text("storm-limit") {
        return fields.text("storm-limit", parse_storm_limit);
    }
    let at = fields.place_of("storm-limit");
    let limit = fields.number("storm-limit")?.map(StormLimit::of).transpose();
    limit.map_err(|error| fields.source().error(at, format!("{error:#}")))
}

/// true and false as "on" and "off"; or one of these words.
fn read_single_mac(fields: &mut Fields<'_>) -> Result<Option<SingleMac>> {
    if fields.is_text("single-mac") {
        return fields.text("single-mac", |text| parse_keyword("single-mac", text));
    }
    let is_on = fields.boolean("single-mac")?;
    Ok(is_on.map(|is_on| if is_on { SingleMac::On } else { SingleMac::Off }))
}

fn read_child(fields: Fields<'_>, groups: &[GroupName], mentions: &mut FirstMentions) -> Result<ChildSpec> {
    let mut fields = fields.knowing(CHILD_KEYS)?;
    let Some(name) = fields.text("name", str::parse::<IfName>)? else {
        return Err(fields.error("the child lacks \"name\", like name = \"web\""));
    };
    let policy = read_policy(&mut fields, groups)?;
    let mut settings = Settings {
        kind: fields.text("kind", parse_kind)?,
        mode: fields.text("mode", parse_mode)?,
        mac: fields.text("mac", parse_mac)?,
        mtu: fields.number("mtu")?,
        netns: fields.text("netns", str::parse)?,
        addresses: fields.texts("ip", parse_address)?,
        gateways: fields.texts("gw", parse_gateway)?,
        bcqueuelen: fields.number("bcqueuelen")?,
        // Declared, so that it need not have a member yet.
        new_group: policy.group.flatten().is_some(),
        policy,
        up: fields.boolean("up")?,
    };
    let is_strict = fields.text("isolation", parse_isolation)?.is_some();
    let in_child = |error: Error| fields.error(format!("in child {:?}: {error:#}", name.as_str()));
    if is_strict {
        settings.isolate().map_err(in_child)?;
    }
    check_gateways(&settings).map_err(in_child)?;
    check_addresses(&settings).map_err(in_child)?;
    let place = (name.clone(), settings.netns.as_ref().map(ToString::to_string));
    match mentions.0.entry(place) {
        Entry::Vacant(entry) => drop(entry.insert(fields.at())),
        Entry::Occupied(entry) => {
            let first = fields.source().line(*entry.get());
            return Err(fields.error(twice("child", &name, first)));
        }
    }
    Ok(ChildSpec { name, settings })
}

/// What the kernel would take and then not hold: of two default routes the second replaces the
/// first, and a device that is down has none.
fn check_gateways(settings: &Settings) -> Result<()> {
    let gateways = &settings.gateways;
    if [true, false].iter().any(|v6| gateways.iter().filter(|gw| gw.is_ipv6() == *v6).count() > 1) {
        bail!("\"gw\" has two of one family, and a device has one default route of each");
    }
    if settings.up == Some(false) && !gateways.is_empty() {
        bail!("\"gw\" needs the device up, and up = false");
    }
    Ok(())
}

fn check_addresses(settings: &Settings) -> Result<()> {
    let nets = &settings.addresses;
    for (number, net) in nets.iter().enumerate() {
        if nets[..number].iter().any(|earlier| earlier.address == net.address) {
            bail!("\"ip\" has {} twice", net.address);
        }
    }
    Ok(())
}
