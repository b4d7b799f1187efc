//! One frame through one program, and everything it did compared with the verdict.

use std::{fmt::Debug, os::fd::OwnedFd};

use macvlan_common::{
    cases::{self, Case, HOST, World},
    config::Config,
    counters::Count,
    decide::decide,
    flood::{FIRST_INDEX, tag_beyond, tag_through},
    frame::{Frame, Hook},
    gso,
    inspect::{cases::MemoryPacket, inspect, is_control},
    l3::Address,
    mac::Mac,
    names,
    presence::Presence,
    tag::{Hairpin, Sender, Tag},
    verdict::{Action, Total, Verdict},
};
use macvlan_tests::{
    fail::{OrFail as _, wait_for},
    frames::{self, Marker},
    handwritten,
    netns::Netns,
    progs::{Counters, Programs, Skb, SkbRun},
    require,
    sniff::{Kind, Tap},
};
use nix::time::{ClockId, clock_gettime};

// `enum xdp_action` and `TC_ACT_*` of the kernel's headers.
pub const XDP_PASS: u32 = 2;
pub const XDP_DROP: u32 = 1;
pub const TC_ACT_UNSPEC: i32 = -1;
pub const TC_ACT_SHOT: i32 = 2;
pub const TC_ACT_REDIRECT: i32 = 7;

/// A mark and a time that a sender may have set, and what may lie where a tag would.
pub const FOREIGN_MARK: u32 = 0x1234;
pub const FOREIGN_TIME: u64 = 1_000_000_007;
pub const FOREIGN_TAG: Tag = Tag { low: 0x1234, high: 0x5678 };

/// The tag of what has gone through a flood device.
pub const FLOODED: Tag = tag_through(FIRST_INDEX + 7);

/// The largest frame that the programs get in one buffer in a test run.
pub const ONE_BUFFER: usize = 3000;

/// The device in a bench.
pub const DEVICE: &str = "eth0";

/// Where test runs send copies to.
const COPIES: &str = "eth1";
/// Where those are sent on to, their tags made visible.
const SHOWN: &str = "eth2";

/// Segmentation offload, as a test run can be told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// A frame of its own.
    None,
    /// It stands for `count` frames with `size` bytes of payload each.
    Segments { count: u32, size: u32 },
}

/// Runs `work` in a namespace with a device for the programs to send copies to.
pub fn in_bench(work: impl FnOnce(&mut Bench<'_>) + Send) {
    let ns = Netns::new();
    ns.enter(|| work(&mut Bench::new(&ns)));
}

/// The programs, and a device.
pub struct Bench<'ns> {
    /// The thread's own namespace.
    pub ns: &'ns Netns,
    /// The programs, attached to nothing.
    pub programs: Programs,
    /// The addresses of the one child that the programs were told of.
    pub own: Vec<Address>,
    ifindex: u32,
    copies_at: u32,
    /// Sees the copies as a capture on the master does.
    capture: Tap,
    /// Sees their tags.
    shown: Tap,
    /// What sends them there; only a link (kernel 6.6) puts it in place without `tc` and a pin.
    telling: Option<OwnedFd>,
    _peer: Netns,
}

impl<'ns> Bench<'ns> {
    fn new(ns: &'ns Netns) -> Self {
        let peer = Netns::new();
        for name in ["all", "default"] {
            ns.sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), 1);
            peer.sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), 1);
        }
        let peer_path = peer.path();
        for (device, other) in [(DEVICE, "peer0"), (COPIES, "peer1"), (SHOWN, "peer2")] {
            ns.ip(&format!(
                "link add {device} address {HOST} type veth peer name {other} netns {}",
                peer_path.display()
            ));
            ns.ip(&format!("link set {device} up"));
            peer.ip(&format!("link set {other} up"));
        }
        let telling = require::tcx().is_ok().then(|| {
            let program = handwritten::telling_tags(ns.ifindex(SHOWN));
            handwritten::at_ingress(ns, COPIES, &program)
        });
        Self {
            own: Vec::new(),
            ifindex: ns.ifindex(DEVICE),
            copies_at: ns.ifindex(COPIES),
            programs: Programs::load(),
            ns,
            capture: Tap::on_device(ns, COPIES),
            shown: Tap::on_device(ns, SHOWN),
            telling,
            _peer: peer,
        }
    }

    /// Runs every case of the contract whose hook is wanted.
    pub fn all_cases(&mut self, wanted: impl Fn(Hook) -> bool) {
        let mut count = 0;
        for mut case in cases::all().into_iter().filter(|case| wanted(case.hook)) {
            if case.hook == Hook::AfterXdp {
                case.world.config.flags |= Config::XDP_GENERIC;
            }
            self.programs.set_world(&case.world);
            let [dst, src] = macs(case.frame);
            let frame = frames::marked(dst, src, Marker::new());
            let judged = decide(case.hook, case.frame, &case.world);
            assert_eq!(judged, case.verdict, "{}: the decision function differs", case.row);
            let outcome = self.check(&mut case.world, case.hook, case.frame.sender, &frame, Offload::None);
            outcome.unwrap_or_else(|difference| panic!("{}: {difference}", case.row));
            count += 1;
        }
        assert!(count > 0, "no case was run");
    }

    /// Lets the kernel carry a frame through XDP to TC ingress, where `programs` are attached.
    pub fn check_both_hooks(&self, programs: &Programs, program: &str, case: &Case) {
        let (marker, [dst, src]) = (Marker::new(), macs(case.frame));
        let mut input = Tap::on_protocol(self.ns, DEVICE, frames::EXPERIMENTAL);
        let before = programs.counters();

        let frame = frames::marked(dst, src, marker);
        programs.inject_through_xdp(program, self.ifindex, &frame).or_fail("inject a frame");

        // What XDP leaves to TC ingress is judged there, as if XDP had not been.
        let verdict = match case.verdict.action {
            Action::Defer => {
                let frame = frame_at(Hook::Ingress, case.frame.sender, &frame);
                decide(Hook::Ingress, frame, &case.world)
            }
            _ => case.verdict,
        };
        if verdict.action.drop_reason().is_none() {
            input.wait_for(marker, 1);
        }
        let size = Count { packets: 1, bytes: frame.len() as u64 };
        assert_eq!(programs.counters(), charged(&before, &verdict, size), "{program}: {case:?}");
    }

    /// Runs the programs of a hook on `frame` and compares all they do with the verdict.
    pub fn check(
        &mut self,
        world: &mut World,
        hook: Hook,
        sender: Sender,
        frame: &[u8],
        offload: Offload,
    ) -> Result<(), String> {
        let macs = frame_at(hook, sender, frame);
        let verdict = judge(hook, macs, world, &MemoryPacket { frame, own: &self.own });
        let described = |what: String| {
            format!("{what}\n{hook:?}, {offload:?}, {} bytes {:02x?}\n{verdict:?}", frame.len(), &frame[..14])
        };
        let world = &*world;
        match hook {
            Hook::Xdp => self.check_xdp(world, &verdict, frame),
            Hook::Ingress | Hook::AfterXdp | Hook::Turned(_) => {
                self.check_ingress(world, (hook, sender), &verdict, frame, offload)
            }
            Hook::Egress => self.check_egress(world, sender, &verdict, frame, offload),
            Hook::Judged => Err("metadata cannot be given to a test run of a TC program".into()),
        }
        .and_then(|()| same_presences(&self.programs, world))
        .map_err(described)
    }

    fn check_xdp(&self, world: &World, verdict: &Verdict<usize>, frame: &[u8]) -> Result<(), String> {
        for program in self.programs.xdp_names() {
            let before = self.programs.counters();

            let run = self.programs.run_xdp(program, frame, frame.len());

            let action = match verdict.action {
                action if action.drop_reason().is_some() => XDP_DROP,
                Action::Pass | Action::Defer => XDP_PASS,
                other => return Err(format!("{other:?} cannot be done in XDP")),
            };
            let judged = verdict.action == Action::Pass && verdict.counts();
            // Behind generic XDP, TC ingress knows without being told.
            let told = judged && !world.config.xdp_is_generic();
            let meta = if told { world.config.meta.to_le_bytes().to_vec() } else { Vec::new() };
            same("action", run.action, action)?;
            same("metadata", run.meta, meta)?;
            same("frame", &run.frame[..], frame)?;
            let size = Count { packets: 1, bytes: frame.len() as u64 };
            same("counters", self.programs.counters(), charged(&before, verdict, size))?;
        }
        Ok(())
    }

    fn check_ingress(
        &self,
        world: &World,
        (hook, sender): (Hook, Sender),
        verdict: &Verdict<usize>,
        frame: &[u8],
        offload: Offload,
    ) -> Result<(), String> {
        let tags = match hook {
            Hook::Turned(kind) => vec![world.config.tag_of(kind)],
            _ if sender == Sender::Vouched => vec![world.config.vouching_tag(key(&frame[6..12]))],
            _ => Self::foreign_tags(&world.config).to_vec(),
        };
        for tag in tags {
            let before = self.programs.counters();

            let run = self.run(names::INGRESS, &self.skb(frame, offload, FOREIGN_MARK, tag))?;

            let dropped = verdict.action.drop_reason().is_some();
            // What was said is said once.
            let left = match hook {
                Hook::Turned(kind) => tag_beyond(kind),
                _ if sender == Sender::Vouched => Tag::default(),
                _ => tag,
            };
            same("action", run.action, if dropped { TC_ACT_SHOT } else { TC_ACT_UNSPEC })?;
            same("mark", run.mark, FOREIGN_MARK)?;
            same("tag", run.tag, left)?;
            same("frame", &run.frame[..], frame)?;
            let expected = charged(&before, verdict, size_of_skb(frame, offload));
            same("counters", self.programs.counters(), expected)?;
        }
        Ok(())
    }

    fn check_egress(
        &mut self,
        world: &World,
        sender: Sender,
        verdict: &Verdict<usize>,
        frame: &[u8],
        offload: Offload,
    ) -> Result<(), String> {
        // What a sender sets has no say, nor what lies where our tag does, not even our own.
        let turned = world.config.tag_of(Hairpin::Unicast);
        let (vouched, flooded, unsaid) = (
            [(FOREIGN_MARK, world.config.vouching_tag(key(&frame[6..12])))],
            [(FOREIGN_MARK, FLOODED)],
            [(0, Tag::default()), (FOREIGN_MARK, FOREIGN_TAG), (FOREIGN_MARK, turned)],
        );
        let is_vouched = sender == Sender::Vouched;
        let said = match sender {
            Sender::Vouched => &vouched[..],
            Sender::Flooded => &flooded[..],
            Sender::Unknown | Sender::Macvlan => &unsaid[..],
        };
        self.programs.set_sending(sender == Sender::Macvlan);
        for (mark, tag) in said.iter().copied() {
            let before = self.programs.counters();

            let run = self.run(names::EGRESS, &self.skb(frame, offload, mark, tag))?;

            let tag = if is_vouched { Tag::default() } else { tag };
            let (action, left, time) = match verdict.action {
                action if action.drop_reason().is_some() || action == Action::End => {
                    (TC_ACT_SHOT, (mark, tag), FOREIGN_TIME)
                }
                Action::Turn => (TC_ACT_REDIRECT, (0, turned), 0),
                Action::Pass
                | Action::CopyToChildren
                | Action::CopyToAll
                | Action::CopyBroadcastToHost
                | Action::CopyMulticastToHost => (TC_ACT_UNSPEC, (mark, tag), FOREIGN_TIME),
                other => return Err(format!("{other:?} cannot be done at egress")),
            };
            same("action", run.action, action)?;
            same("mark and tag", (run.mark, run.tag), left)?;
            same("time", run.tstamp, time)?;
            same("frame", &run.frame[..], frame)?;
            let size = size_of_skb(frame, offload);
            let mut expected = charged(&before, verdict, size);
            let copied = verdict.action.hairpin().filter(|_| verdict.action != Action::Turn);
            if copied.is_some() && offload != Offload::None {
                // The offloaded frames of a test run have no protocol to be cut by, and the kernel
                // refuses to clone them.
                expected.totals.copy_failed.add(size);
            }
            same("counters", self.programs.counters(), expected)?;
            if let Some(kind) = copied.filter(|_| offload == Offload::None) {
                let mut copy = frame.to_vec();
                if matches!(kind, Hairpin::BroadcastToHost | Hairpin::MulticastToHost) {
                    copy[..6].copy_from_slice(&HOST.octets());
                }
                let copies = wait_for(format_args!("a copy of {:02x?}", &frame), || {
                    Some(self.copies()).filter(|copies| !copies.is_empty())
                });
                let tag = self.telling.as_ref().map_or(0, |_| world.config.tag_of(kind).low);
                same("copies", copies, vec![(0, tag, copy)])?;
            }
            same("further copies", self.copies(), Vec::new())?;
        }
        Ok(())
    }

    /// Not ours: none, somebody's, those that are ours in all but one bit, and no kind of ours.
    pub fn foreign_tags(config: &Config) -> [Tag; 5] {
        let ours = config.tag_of(Hairpin::Flood);
        [
            Tag::default(),
            FOREIGN_TAG,
            Tag { low: ours.low ^ 0x100, ..ours },
            Tag { high: ours.high ^ 1, ..ours },
            Tag { low: ours.low & !Config::TAG_KIND, ..ours },
        ]
    }

    /// A frame on the device, as a sender may have set it up.
    pub fn skb<'a>(&self, frame: &'a [u8], offload: Offload, mark: u32, tag: Tag) -> Skb<'a> {
        let (gso_segs, gso_size) = match offload {
            Offload::None => (0, 0),
            Offload::Segments { count, size } => (count, size),
        };
        Skb { frame, ifindex: self.copies_at, mark, tag, tstamp: FOREIGN_TIME, gso_segs, gso_size }
    }

    /// Runs a TC program.
    pub fn run(&self, program: &str, skb: &Skb<'_>) -> Result<SkbRun, String> {
        let run = self.programs.run_tc(program, skb);
        run.map_err(|error| format!("cannot run {program}: {error:?}"))
    }

    /// Mark, lower word of the tag (0 where nothing tells it), and bytes of every copy that has come up
    /// since the last call.
    pub fn copies(&mut self) -> Vec<(u32, u32, Vec<u8>)> {
        if self.telling.is_none() {
            let copies = self.capture.take().into_iter().filter(|seen| seen.kind != Kind::Outgoing);
            return copies.map(|seen| (seen.mark, 0, seen.whole())).collect();
        }
        let shown = self.shown.take().into_iter().filter(|seen| seen.kind == Kind::Outgoing);
        let tags: Vec<u32> = shown.map(|seen| seen.mark).collect();
        if tags.is_empty() {
            return Vec::new();
        }
        // What has been shown has come up before.
        let copies = self.capture.take().into_iter().filter(|seen| seen.kind != Kind::Outgoing);
        copies.zip(tags).map(|(seen, tag)| (seen.mark, tag, seen.whole())).collect()
    }
}

/// The decision, and what a guard of the sender makes of it; the world learns from the frame.
pub fn judge(hook: Hook, macs: Frame, world: &mut World, bytes: &MemoryPacket<'_>) -> Verdict<usize> {
    let is_tagged = matches!(bytes.frame[12..14], [0x81, 0x00] | [0x88, 0xa8]);
    let verdict = world.judge(hook, macs, is_tagged, now());
    // What may tell TC ingress of another MAC of the host is not dropped in XDP.
    if hook == Hook::Xdp && verdict.action == Action::DropUnknown && may_be_answer(bytes.frame) {
        return Verdict::new(Action::Defer);
    }
    let may_control = |child: usize| world.children[child].policy.host_control();
    let verdict = match verdict.sender_to_host() {
        Some(child) if !may_control(child) && is_control(bytes) => verdict.without_host(),
        _ => verdict,
    };
    let Some(sender) = verdict.tx.filter(|_| world.config.inspects()) else { return verdict };
    let policy = world.children[sender].policy;
    let refused = policy.is_inspected().then(|| inspect(policy, macs.src, bytes)).flatten();
    refused.map_or(verdict, |reason| Verdict::refused(reason, sender))
}

/// A frame as a hook meets it; every device here has the MAC of [`HOST`].
pub fn frame_at(hook: Hook, sender: Sender, bytes: &[u8]) -> Frame {
    let to_host = bytes[..6] == HOST.octets() && matches!(hook, Hook::Ingress | Hook::AfterXdp);
    Frame { dst: key(&bytes[..6]), src: key(&bytes[6..12]), sender, to_host }
}

/// Whether a frame is ARP or ICMPv6 without a VLAN tag.
fn may_be_answer(frame: &[u8]) -> bool {
    match frame[12..14] {
        [0x08, 0x06] => true,
        [0x86, 0xdd] => frame.get(20) == Some(&58),
        _ => false,
    }
}

/// Says where the programs know a child to be elsewhere than the world does.
pub fn same_presences(programs: &Programs, world: &World) -> Result<(), String> {
    let told = |presence: &Presence| (presence.is_absent(), presence.is_elsewhere());
    let expected: Vec<_> = world.children.iter().map(|child| told(&child.presence)).collect();
    same("presences", programs.presences().iter().map(told).collect::<Vec<_>>(), expected)
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).or_fail("tell the time");
    time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs()
}

/// The counters after a frame of this size was charged as the verdict says, written anew from
/// the meaning of a verdict.
pub fn charged(before: &Counters, verdict: &Verdict<usize>, size: Count) -> Counters {
    let mut after = before.clone();
    if let Some(child) = verdict.tx {
        after.children[child].tx[verdict.path as usize].add(size);
    }
    if let Some(child) = verdict.rx {
        after.children[child].rx[verdict.path as usize].add(size);
    }
    if let Some(reason) = verdict.action.drop_reason() {
        match verdict.dropped {
            Some(child) => after.children[child].drops[reason as usize].add(size),
            None => after.totals.drops[reason as usize].add(size),
        }
    }
    match verdict.total {
        Some(Total::UnknownUnicast) => after.totals.unknown_unicast.add(size),
        Some(Total::Flood(origin)) => after.totals.flood[origin as usize].add(size),
        None => {}
    }
    after
}

/// Whether the kernel takes a frame for a test run of a TC program: it wants a payload, and whole
/// IP headers where the EtherType promises them (`bpf_prog_test_run_skb` in `net/bpf/test_run.c`).
/// Real traffic has no such limit; the traffic tests send shorter ones.
pub fn runs_as_skb(frame: &[u8]) -> bool {
    let payload = frame.len() - frames::ETH_HLEN;
    match u16::from_be_bytes([frame[12], frame[13]]) {
        frames::IPV4 => payload >= 20,
        frames::IPV6 => payload >= 40,
        _ => payload > 0,
    }
}

/// What an offloaded frame counts as.
pub fn size_of_skb(frame: &[u8], offload: Offload) -> Count {
    let len = frame.len() as u32;
    let Offload::Segments { count, .. } = offload else {
        return Count { packets: 1, bytes: len.into() };
    };
    let headers = gso::header_len(|offset| {
        let bytes = frame.get(offset as usize..)?.get(..2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    });
    Count { packets: count.into(), bytes: gso::wire_len(len, count, headers) }
}

/// Says what differs from what was expected, if it does.
pub fn same<T: PartialEq + Debug>(what: &str, seen: T, expected: T) -> Result<(), String> {
    if seen == expected {
        return Ok(());
    }
    Err(format!("{what} differs\n    seen: {seen:02x?}\nexpected: {expected:02x?}"))
}

fn macs(frame: Frame) -> [Mac; 2] {
    [Mac::from_key(frame.dst), Mac::from_key(frame.src)]
}

/// The key of the MAC in these bytes.
pub fn key(bytes: &[u8]) -> u64 {
    let bytes: [u8; 6] = bytes.try_into().or_fail("read a MAC");
    Mac::new(bytes).key()
}
