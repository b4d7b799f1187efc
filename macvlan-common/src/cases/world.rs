//! What the maps hold while a case runs.

use crate::{
    child::{AntiSpoof, Mode, Policy},
    config::Config,
    decide::{Tables, decide},
    filter,
    frame::{Frame, Hook},
    index,
    mac::{Mac, is_group},
    presence::{Presence, keeps_place},
    tag::Sender,
    verdict::Verdict,
};

/// One child of a [`World`].
#[derive(Debug, Clone, Copy)]
pub struct WorldChild {
    /// Name in the cases: its mode's letter and a number.
    pub name: &'static str,
    /// Its MAC.
    pub mac: Mac,
    /// Its policy.
    pub policy: Policy,
    /// Where its MAC is.
    pub presence: Presence,
}

impl WorldChild {
    /// One that is here, and has just sent a broadcast.
    pub const fn new(name: &'static str, mac: Mac, policy: Policy) -> Self {
        Self { name, mac, policy, presence: JUST_SPOKE }
    }
}

/// What the maps hold while a case runs.
#[derive(Debug, Clone)]
pub struct World {
    /// The master's settings.
    pub config: Config,
    /// The children, by slot.
    pub children: Vec<WorldChild>,
    filter: Vec<u64>,
    buckets: Vec<index::Bucket>,
}

/// The host's MAC in every world.
pub const HOST: Mac = Mac::new([0x02, 0, 0, 0, 0, 0x01]);
/// A MAC beyond the wire, in every world.
pub const OUTSIDE: Mac = Mac::new([0x02, 0, 0, 0, 0, 0xee]);
/// Another one.
pub const STRANGER: Mac = Mac::new([0x02, 0, 0, 0, 0, 0xef]);
/// All IPv6 nodes (RFC 2464, section 7).
pub const MULTICAST: Mac = Mac::new([0x33, 0x33, 0, 0, 0, 1]);

/// The nearest bridge (IEEE 802.1AB-2016, 7.1).
pub const LLDP: Mac = Mac::new([0x01, 0x80, 0xc2, 0, 0, 0x0e]);

/// A child that is here, whose MAC on the wire is an echo: it has sent a broadcast at the end of time.
pub const JUST_SPOKE: Presence = Presence { away: Presence::HERE, spoke: i64::MAX.cast_unsigned() };

impl World {
    /// A world with these children; the flags follow from their modes as at attach.
    pub fn new(children: Vec<WorldChild>) -> Self {
        let passthru = children.iter().find(|child| child.policy.mode() == Mode::Passthru);
        let config = Config {
            master: HOST.key(),
            passthru: passthru.map_or(0, |child| child.mac.key()),
            flags: Config::flags_of(children.iter().map(|child| child.policy))
                | if children.iter().any(|child| child.presence.is_absent()) { Config::ABSENT } else { 0 },
            secret: 0x0073_6563_7265_7400,
            meta: 0x7a65_7461,
            flood: 0,
            other_mac: 0,
            home: 0,
        };
        let mut filter = vec![0; filter::WORDS as usize];
        for child in children.iter().filter(|child| !child.presence.is_absent()) {
            let (word, mask) = filter::position(child.mac.key());
            filter[word as usize] |= mask;
        }
        let present = (0..).zip(&children).filter(|(_, child)| !child.presence.is_absent());
        let slots = present.map(|(slot, child)| (child.mac.key(), slot));
        let buckets = index::buckets(slots);
        Self { config, children, filter, buckets }
    }

    /// The words of the filter.
    pub fn filter(&self) -> &[u64] {
        &self.filter
    }

    /// The index of slots.
    pub fn buckets(&self) -> &[index::Bucket] {
        &self.buckets
    }

    /// Two bridge, two private, two VEPA children, one source child, one without host access.
    pub fn mixed() -> Self {
        let child = |index: u8, name, mode, access| {
            WorldChild::new(name, Mac::new([0x02, 0, 0, 0, 1, index]), Policy::new(mode, access))
        };
        Self::new(vec![
            child(1, "b1", Mode::Bridge, true),
            child(2, "b2", Mode::Bridge, true),
            child(3, "p1", Mode::Private, true),
            child(4, "p2", Mode::Private, true),
            child(5, "v1", Mode::Vepa, true),
            child(6, "v2", Mode::Vepa, true),
            child(7, "s1", Mode::Source, true),
            child(8, "n1", Mode::Bridge, false),
            child(9, "n2", Mode::Private, false),
        ])
    }

    /// The same; the control frames of the children with these names reach the host.
    pub fn with_host_control(mut self, names: &[&str]) -> Self {
        for child in self.children.iter_mut().filter(|child| names.contains(&child.name)) {
            child.policy = child.policy.with_host_control(true);
        }
        self
    }

    /// Children in two groups and in none, one that keeps to itself.
    pub fn grouped() -> Self {
        let bridge = Policy::new(Mode::Bridge, true);
        Self::of([
            ("a1", bridge.with_group(1)),
            ("a2", bridge.with_group(1)),
            ("c1", bridge.with_group(2)),
            ("b1", bridge),
            ("b2", bridge),
            ("x1", bridge.with_sibling_access(false)),
            ("av", Policy::new(Mode::Vepa, true).with_group(1)),
            ("as", Policy::new(Mode::Source, true).with_group(1)),
        ])
    }

    /// Children held to their MACs, and some that are not.
    pub fn guarded() -> Self {
        let held = |mode| Policy::new(mode, true).with_anti_spoof(AntiSpoof::Mac);
        Self::of([
            ("g1", held(Mode::Bridge)),
            ("g2", held(Mode::Bridge)),
            ("gv", held(Mode::Vepa)),
            ("gp", held(Mode::Private)),
            ("b1", Policy::new(Mode::Bridge, true)),
            ("v1", Policy::new(Mode::Vepa, true)),
        ])
    }

    /// The same; the devices of children that want it vouch for their frames.
    pub fn vouched(mut self) -> Self {
        for child in self.children.iter_mut().filter(|child| child.policy.wants_vouching()) {
            child.policy = child.policy.with_vouched(true);
        }
        self.config.flags |= Config::VOUCHED;
        self
    }

    /// VEPA children that are reflected to here, and their siblings.
    pub fn reflecting() -> Self {
        let here = |access| Policy::new(Mode::Vepa, access).with_reflection(true);
        Self::of([
            ("r1", here(true)),
            ("r2", here(true)),
            ("rn", here(false)),
            ("rx", here(true).with_sibling_access(false)),
            ("v1", Policy::new(Mode::Vepa, true)),
            ("v2", Policy::new(Mode::Vepa, true)),
            ("b1", Policy::new(Mode::Bridge, true)),
            ("bn", Policy::new(Mode::Bridge, false)),
            ("p1", Policy::new(Mode::Private, true)),
            ("s1", Policy::new(Mode::Source, true)),
        ])
    }

    /// Children here, elsewhere (names that end with `e`) and absent (`a`), and devices of the host's own
    /// (`h`).
    pub fn scattered() -> Self {
        let host = |mode| Policy::new(mode, true).with_hosts(true);
        let mut world = Self::of([
            ("b1", Policy::new(Mode::Bridge, true)),
            ("be", Policy::new(Mode::Bridge, true)),
            ("ba", Policy::new(Mode::Bridge, true)),
            ("bh", host(Mode::Bridge)),
            ("p1", Policy::new(Mode::Private, true)),
            ("pe", Policy::new(Mode::Private, true)),
            ("pa", Policy::new(Mode::Private, true)),
            ("ph", host(Mode::Private)),
        ]);
        for child in &mut world.children {
            child.presence.away = match child.name.as_bytes() {
                [_, b'e'] => 7,
                [_, b'a'] => Presence::ABSENT,
                _ => Presence::HERE,
            };
        }
        Self::new(world.children)
    }

    /// The same; the children are held to their MACs.
    pub fn held(mut self) -> Self {
        for child in self.children.iter_mut().filter(|child| !child.policy.is_hosts()) {
            child.policy = child.policy.with_anti_spoof(AntiSpoof::Mac);
        }
        Self::new(self.children)
    }

    fn of<const N: usize>(children: [(&'static str, Policy); N]) -> Self {
        let children = (1_u8..).zip(children);
        let child =
            |(index, (name, policy))| WorldChild::new(name, Mac::new([0x02, 0, 0, 0, 1, index]), policy);
        Self::new(children.map(child).collect())
    }

    /// The same world with these flags of [`Config`] besides.
    pub fn with_flags(mut self, flags: u64) -> Self {
        self.config.flags |= flags;
        self
    }

    /// The same world, where the programs know the master by this MAC: the device has another one since.
    pub fn known_by(mut self, mac: Mac) -> Self {
        self.config.master = mac.key();
        self
    }

    /// A single passthru child; it bears the master's own MAC, as the kernel gives it.
    pub fn passthru() -> Self {
        Self::new(vec![WorldChild::new("t1", HOST, Policy::new(Mode::Passthru, true))])
    }

    /// No child at all.
    pub fn empty() -> Self {
        Self::new(Vec::new())
    }

    /// Judges a frame met at `now`, and learns from it as the programs do.
    pub fn judge(&mut self, hook: Hook, frame: Frame, is_tagged: bool, now: u64) -> Verdict<usize> {
        match hook {
            Hook::Egress => self.wake(frame),
            Hook::Ingress | Hook::AfterXdp if is_group(frame.dst) && !is_tagged => {
                self.hear(frame.src, now);
            }
            _ => {}
        }
        let verdict = decide(hook, frame, self);
        if let Some(sender) = verdict.shown_here().filter(|_| hook == Hook::Egress) {
            self.sent(sender, frame.dst);
        }
        verdict
    }

    fn wake(&mut self, frame: Frame) {
        if !self.config.misses_some() || frame.src == self.config.master || self.may_be_child(frame.src) {
            return;
        }
        let Some(child) = self.entry(frame.src) else { return };
        let policy = self.children[child].policy;
        if !(policy.is_guarded() && policy.is_vouched()) || frame.sender == Sender::Vouched {
            self.sent(child, 0);
            let (word, mask) = filter::position(frame.src);
            self.filter[word as usize] |= mask;
        }
    }

    fn sent(&mut self, child: usize, dst: u64) {
        let presence = &mut self.children[child].presence;
        presence.away = Presence::HERE;
        if is_group(dst) {
            presence.spoke = JUST_SPOKE.spoke;
        }
    }

    fn hear(&mut self, src: u64, now: u64) {
        if let Some(child) = self.entry(src)
            && !keeps_place(self.children[child].policy, &self.config)
            && self.children[child].presence.is_refuted(now)
        {
            self.children[child].presence.away = now;
        }
    }

    /// The child of this name.
    ///
    /// # Panics
    ///
    /// When the world has none: a mistake in a case.
    pub fn index(&self, name: &str) -> usize {
        let found = self.children.iter().position(|child| child.name == name);
        found.unwrap_or_else(|| panic!("no child {name:?} in this world"))
    }

    pub(super) fn mac(&self, name: &str) -> Mac {
        match name {
            "host" => HOST,
            "outside" => OUTSIDE,
            "nobody" => STRANGER,
            "broadcast" => Mac::BROADCAST,
            "multicast" => MULTICAST,
            "LLDP" => LLDP,
            child => self.children[self.index(child)].mac,
        }
    }
}

impl Tables for World {
    type Child = usize;

    fn config(&self) -> Config {
        self.config
    }

    fn may_be_child(&self, mac: u64) -> bool {
        let (word, mask) = filter::position(mac);
        self.filter[word as usize] & mask != 0
    }

    fn slot(&self, mac: u64) -> Option<u32> {
        index::find(&self.buckets[index::bucket_of(mac) as usize], mac)
    }

    fn entry(&self, mac: u64) -> Option<usize> {
        self.children.iter().position(|child| child.mac.key() == mac)
    }

    fn slot_of(&self, child: usize) -> u32 {
        child as u32
    }

    fn policy_at(&self, slot: u32) -> Policy {
        self.children[slot as usize].policy
    }

    fn presence_at(&self, slot: u32) -> Presence {
        self.children[slot as usize].presence
    }
}
