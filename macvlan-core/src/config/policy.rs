//! What the configuration lets children do, whoever made them.

use anyhow::{Result, bail};
use macvlan_common::group::GroupName;

use crate::{
    config::reader::Fields,
    kernel::{ifname::IfName, netns::NetnsRef},
    model::{parse::parse_mac, spec::ChildSpec},
    policy::{
        change::{PolicyChange, parse_anti_spoof, parse_group, parse_reflection},
        glob::Glob,
        rate::{parse_rate, parse_scope},
        rules::{Rule, Subject},
    },
};

/// Longest pattern of a rule: a path.
const LONGEST_PATTERN: usize = 4096;

const KEYS: &[&str] = &[
    "match",
    "host-access",
    "sibling-access",
    "group",
    "anti-spoof",
    "vepa-reflect",
    "ra",
    "dhcp-server",
    "host-control",
    "rate-rx",
    "rate-tx",
    "rate-scope",
];

const MATCH_KEYS: &[&str] = &["mac", "name", "netns"];

/// The rule in a `[[master.policy]]`.
pub fn read_rule(fields: Fields<'_>, groups: &[GroupName]) -> Result<Rule> {
    let mut fields = fields.knowing(KEYS)?;
    let Some(subject) = fields.table("match")? else {
        return Err(fields.error("the policy lacks \"match\"; for every child: match = { name = \"*\" }"));
    };
    let subject = read_subject(subject)?;
    let setting = read_policy(&mut fields, groups)?;
    if setting.is_empty() {
        return Err(fields.error("the policy sets nothing; give it host-access, or another key"));
    }
    Ok(Rule { subject, setting })
}

/// What the file says of a child where it asks for it: it comes before every other rule.
pub fn rule_of_child(spec: &ChildSpec) -> Option<Rule> {
    let setting = Some(spec.settings.policy).filter(|policy| !policy.is_empty())?;
    let subject = Subject::Own { name: spec.name.clone(), netns: spec.settings.netns.clone() };
    Some(Rule { subject, setting })
}

/// The keys that say what a child may do; its group is one of those that its master declares.
pub fn read_policy(fields: &mut Fields<'_>, groups: &[GroupName]) -> Result<PolicyChange> {
    Ok(PolicyChange {
        host_access: fields.boolean("host-access")?,
        sibling_access: fields.boolean("sibling-access")?,
        group: fields.text("group", |text| declared(text, groups))?,
        anti_spoof: fields.text("anti-spoof", parse_anti_spoof)?,
        vepa_reflect: fields.text("vepa-reflect", parse_reflection)?,
        rate_rx: fields.text("rate-rx", parse_rate)?,
        rate_tx: fields.text("rate-tx", parse_rate)?,
        rate_scope: fields.text("rate-scope", parse_scope)?,
        ra: fields.boolean("ra")?,
        dhcp_server: fields.boolean("dhcp-server")?,
        host_control: fields.boolean("host-control")?,
        named: false,
    })
}

fn declared(text: &str, groups: &[GroupName]) -> Result<Option<GroupName>> {
    let group = parse_group(text)?;
    if let Some(name) = group.filter(|name| !groups.contains(name)) {
        bail!("its master has no group {name:?}; declare it there: groups = [{:?}]", name.as_str());
    }
    Ok(group)
}

fn read_subject(fields: Fields<'_>) -> Result<Subject> {
    let mut fields = fields.knowing(MATCH_KEYS)?;
    if fields.is_empty() {
        return Err(fields.error("\"match\" is empty; for every child: match = { name = \"*\" }"));
    }
    let subject = Subject::Like {
        mac: fields.text("mac", parse_mac)?,
        name: fields.text("name", |text| pattern(text, "name"))?,
        netns: fields.text("netns", |text| pattern(text, "netns"))?,
    };
    Ok(subject)
}

fn pattern(text: &str, key: &str) -> Result<Glob> {
    let glob = Glob::new(text);
    if text.is_empty() || text.len() > LONGEST_PATTERN {
        bail!("{key} must have 1 to {LONGEST_PATTERN} bytes, not {}", text.len());
    }
    if glob.is_plain() {
        // One that no child could ever have is a mistake.
        match key {
            "name" => drop(text.parse::<IfName>()?),
            _ => drop(text.parse::<NetnsRef>()?),
        }
    }
    Ok(glob)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{config::Config, kernel::netns::place::Place, model::child::Child, policy::rules::Policies};

    fn child(name: &str, mac: &str, netns: Option<&str>) -> Child {
        let place = Place { nsid: netns.map(|_| 1), label: netns.map(str::to_owned) };
        Child { place, ..Child::example(name, mac.parse().unwrap()) }
    }

    fn policies(text: &str) -> Policies {
        let text = format!("[[master]]\nname = \"eth0\"\n{text}");
        let mut config = Config::parse(&text, Path::new("x.toml")).unwrap();
        config.masters.remove(0).policies
    }

    #[test]
    fn the_first_policy_that_matches_wins() {
        let policies = policies(
            "policy = [
                { match = { mac = '02:00:00:00:00:01' }, host-access = true },
                { match = { name = 'guest*', netns = 'blue' }, host-access = false },
                { match = { netns = '/run/docker/netns/*' }, host-access = false },
                { match = { name = 'guest*' }, host-access = true },
            ]",
        );
        let (one, two) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
        for (child, expected) in [
            (child("guest1", one, Some("blue")), Some(true)),
            (child("guest1", two, Some("blue")), Some(false)),
            (child("guest1", two, Some("red")), Some(true)),
            (child("guest1", two, None), Some(true)),
            (child("eth0", two, Some("/run/docker/netns/4711")), Some(false)),
            (child("eth0", two, Some("blue")), None),
            (child("eth0", two, None), None),
        ] {
            assert_eq!(policies.of(child.identity()).host_access, expected, "{child:?}");
        }
        assert_eq!(Policies::default().of(child("a", one, None).identity()).host_access, None);
    }

    #[test]
    fn a_namespace_is_known_by_any_of_its_names() {
        let own = format!("/proc/{}/ns/net", std::process::id());
        let (mac, here) = ("02:00:00:00:00:01", "/proc/self/ns/net");
        let by_netns = |netns: &str| {
            policies(&format!("policy = [{{ match = {{ netns = {netns:?} }}, host-access = false }}]"))
        };
        assert_eq!(by_netns(&own).of(child("a", mac, Some(here)).identity()).host_access, Some(false));
        assert_eq!(
            by_netns("/proc/self/ns/mnt").of(child("a", mac, Some(here)).identity()).host_access,
            None
        );
        assert_eq!(by_netns(&own).of(child("a", mac, None).identity()).host_access, None);
    }

    #[test]
    fn what_a_child_says_of_itself_comes_before_the_policies() {
        let policies = policies(
            "child = [{ name = 'web', netns = 'blue', host-access = true }, { name = 'db', host-access = true }]
             policy = [{ match = { name = '*' }, host-access = false }]",
        );
        let mac = "02:00:00:00:00:01";
        assert_eq!(policies.of(child("web", mac, Some("blue")).identity()).host_access, Some(true));
        assert_eq!(policies.of(child("web", mac, Some("red")).identity()).host_access, Some(false));
        assert_eq!(policies.of(child("web", mac, None).identity()).host_access, Some(false));
        assert_eq!(policies.of(child("db", mac, None).identity()).host_access, Some(true));
        assert_eq!(policies.of(child("db", mac, Some("blue")).identity()).host_access, Some(false));
    }
}
