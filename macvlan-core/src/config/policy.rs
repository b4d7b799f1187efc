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
        rules::{ContainerLike, Rule, Subject},
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
    "mac-change",
    "rate-rx",
    "rate-tx",
    "rate-scope",
];

const MATCH_KEYS: &[&str] = &["mac", "name", "netns", "container", "image", "label"];

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
        mac_change: fields.boolean("mac-change")?,
        named: false,
        takes_mode: false,
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
        container: ContainerLike {
            name: fields.text("container", |text| pattern(text, "container"))?,
            image: fields.text("image", |text| pattern(text, "image"))?,
            labels: match fields.is_text("label") {
                true => fields.text("label", |text| pattern(text, "label"))?.into_iter().collect(),
                false => fields.texts("label", |text| pattern(text, "label"))?,
            },
        },
    };
    Ok(subject)
}

fn is_of_container(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-:*?".contains(c)
}

fn pattern(text: &str, key: &str) -> Result<Glob> {
    let glob = Glob::new(text);
    if text.is_empty() || text.len() > LONGEST_PATTERN {
        bail!("{key} must have 1 to {LONGEST_PATTERN} bytes, not {}", text.len());
    }
    // One that no child could ever have is a mistake.
    match key {
        "name" if glob.is_plain() => drop(text.parse::<IfName>()?),
        "netns" if glob.is_plain() => drop(text.parse::<NetnsRef>()?),
        "container" if !text.chars().all(is_of_container) => bail!(
            "{text:?} is no container: a name or an id of letters, digits, '.', '_' and '-', with its engine before \
             a colon or without, * for any text and ? for any one character"
        ),
        "image" if text.contains(char::is_whitespace) => {
            bail!("no image has the name {text:?}: it has a space")
        }
        "label" if !text.contains('=') && !text.contains('*') => {
            bail!("{text:?} is no label: say key=value, like \"tier=front\", or \"tier=*\" for any value")
        }
        _ => {}
    }
    Ok(glob)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{
        config::Config,
        kernel::netns::place::Place,
        model::child::Child,
        policy::{
            home::{Facts, Home, Homes, Origin},
            rules::Policies,
        },
    };

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
            assert_eq!(policies.of(child.identity(&Homes::default())).host_access, expected, "{child:?}");
        }
        assert_eq!(
            Policies::default().of(child("a", one, None).identity(&Homes::default())).host_access,
            None
        );
    }

    #[test]
    fn a_namespace_is_known_by_any_of_its_names() {
        let own = format!("/proc/{}/ns/net", std::process::id());
        let (mac, here) = ("02:00:00:00:00:01", "/proc/self/ns/net");
        let by_netns = |netns: &str| {
            policies(&format!("policy = [{{ match = {{ netns = {netns:?} }}, host-access = false }}]"))
        };
        assert_eq!(
            by_netns(&own).of(child("a", mac, Some(here)).identity(&Homes::default())).host_access,
            Some(false)
        );
        assert_eq!(
            by_netns("/proc/self/ns/mnt")
                .of(child("a", mac, Some(here)).identity(&Homes::default()))
                .host_access,
            None
        );
        assert_eq!(by_netns(&own).of(child("a", mac, None).identity(&Homes::default())).host_access, None);
    }

    #[test]
    fn what_a_child_says_of_itself_comes_before_the_policies() {
        let policies = policies(
            "child = [{ name = 'web', netns = 'blue', host-access = true }, { name = 'db', host-access = true }]
             policy = [{ match = { name = '*' }, host-access = false }]",
        );
        let mac = "02:00:00:00:00:01";
        assert_eq!(
            policies.of(child("web", mac, Some("blue")).identity(&Homes::default())).host_access,
            Some(true)
        );
        assert_eq!(
            policies.of(child("web", mac, Some("red")).identity(&Homes::default())).host_access,
            Some(false)
        );
        assert_eq!(policies.of(child("web", mac, None).identity(&Homes::default())).host_access, Some(false));
        assert_eq!(policies.of(child("db", mac, None).identity(&Homes::default())).host_access, Some(true));
        assert_eq!(
            policies.of(child("db", mac, Some("blue")).identity(&Homes::default())).host_access,
            Some(false)
        );
    }

    /// A child in a namespace that is this one's.
    fn told(policies: &Policies, home: Home) -> (Option<bool>, Vec<Option<bool>>) {
        let mut homes = Homes::default();
        homes.learn(1, home);
        let child = child("eth0", "02:00:00:00:00:01", Some("/run/docker/netns/1"));
        let identity = child.identity(&homes);
        let possible = policies.possible(identity).into_iter().map(|setting| setting.host_access).collect();
        (policies.of(identity).host_access, possible)
    }

    fn facts(name: &str, image: &str, labels: &[&str]) -> Facts {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let origin = Some(Origin { image: image.into(), labels });
        Facts { engine: "docker", id: "c0ffee".repeat(11), name: Some(name.into()), origin }
    }

    #[test]
    fn policies_match_by_container_image_and_label() {
        let policies = policies(
            "policy = [
                { match = { container = 'docker:web*' }, host-access = false },
                { match = { container = 'db', image = 'postgres:*' }, host-access = false },
                { match = { label = 'tier=back' }, host-access = false },
                { match = { label = ['tier=front', 'com.example.team=*'] }, host-access = false },
                { match = { container = 'c0ffeec0ffee' }, host-access = true },
            ]",
        );
        for (facts, expected) in [
            (facts("web-1", "nginx", &[]), false),
            (facts("db", "postgres:16", &[]), false),
            (facts("db", "mysql:8", &[]), true),
            (facts("x", "nginx", &["tier=back"]), false),
            (facts("x", "nginx", &["tier=front"]), true),
            (facts("x", "nginx", &["com.example.team=a", "tier=front"]), false),
            (Facts { engine: "podman", ..facts("web-1", "nginx", &[]) }, true),
        ] {
            assert_eq!(
                told(&policies, Home::Container(facts.clone())),
                (Some(expected), vec![]),
                "{facts:?}"
            );
        }
        assert_eq!(told(&policies, Home::Nobody), (None, vec![]));
    }

    #[test]
    fn what_a_rule_may_yet_say_no_later_rule_does() {
        let policies = policies(
            "policy = [
                { match = { image = 'evil*' }, host-access = false },
                { match = { name = 'eth*' }, host-access = true },
            ]",
        );
        assert_eq!(told(&policies, Home::Unknown), (None, vec![Some(false), Some(true)]));
        assert_eq!(told(&policies, Home::Nobody), (Some(true), vec![]));
        let unnamed = Facts { origin: None, ..facts("web", "", &[]) };
        assert_eq!(told(&policies, Home::Container(unnamed)), (None, vec![Some(false), Some(true)]));
        assert_eq!(told(&policies, Home::Container(facts("web", "evil:1", &[]))), (Some(false), vec![]));
    }

    #[test]
    fn what_no_container_could_have_is_refused() {
        for (pattern, expected) in [
            ("container = 'a b'", "is no container"),
            ("image = 'a b'", "no image has the name"),
            ("label = 'tier'", "is no label: say key=value"),
            ("label = ['a=b', 'tier']", "is no label: say key=value"),
            ("container = ''", "container must have 1 to"),
            ("label = 7", "label"),
        ] {
            let text = format!(
                "[[master]]\nname = \"eth0\"\npolicy = [{{ match = {{ {pattern} }}, host-access = false }}]"
            );
            let error = Config::parse(&text, Path::new("x.toml")).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{pattern}: {error:#}");
        }
    }
}
