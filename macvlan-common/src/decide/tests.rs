use proptest::{
    bool::weighted,
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

use super::*;
use crate::{
    cases::{self, HOST, World, WorldChild},
    child::{ANTI_SPOOFS, Mode, Policy},
    config::Config,
    counters::Path,
    mac::{Mac, is_group},
    plain::{Plain, Siblings, hairpinned, plain, siblings},
    presence::Presence,
    tag::{HAIRPINS, Sender},
};

#[test]
fn every_row_of_the_contract() {
    for case in cases::all() {
        let verdict = decide(case.hook, case.frame, &case.world);
        assert_eq!(verdict, case.verdict, "{}: {:?} {:x?}", case.row, case.hook, case.frame);
    }
}

fn mac() -> impl Strategy<Value = Mac> {
    // Few enough that frames meet children, with groups, zero and the host among them.
    prop_oneof![
        (0..8_u8).prop_map(|n| Mac::new([0x02, 0, 0, 0, 1, n])),
        Just(HOST),
        Just(Mac::BROADCAST),
        any::<[u8; 6]>().prop_map(Mac::new),
    ]
}

fn world() -> impl Strategy<Value = World> {
    const MODES: &[Mode] = &[Mode::Bridge, Mode::Private, Mode::Vepa, Mode::Source, Mode::Passthru];
    let presence = select(&[Presence::HERE, Presence::HERE, Presence::ABSENT, 7][..]);
    let presence = presence.prop_map(|away| Presence { away, spoke: 0 });
    let hosts = weighted(0.1);
    let guard = (any::<bool>(), select(&ANTI_SPOOFS[..]), any::<bool>(), 0..3_u16, hosts, presence);
    let child = (mac(), select(MODES), any::<bool>(), guard).prop_map(|(mac, mode, access, guard)| {
        let (siblings, anti_spoof, local, group, hosts, presence) = guard;
        let policy = Policy::new(mode, access).with_sibling_access(siblings).with_group(group);
        let policy = policy.with_anti_spoof(anti_spoof).with_reflection(local);
        WorldChild { name: "", mac, policy: policy.with_hosts(hosts), presence }
    });
    let options = select(&[0, Config::DROP_UNKNOWN, Config::VEPA_SWITCH, Config::XDP_NATIVE][..]);
    (vec(child, 0..6), options).prop_map(|(mut children, flags)| {
        let mut seen = std::collections::BTreeSet::new();
        children.retain(|child| seen.insert(child.mac));
        let mut world = World::new(children);
        world.config.flags |= flags;
        world
    })
}

fn sender() -> impl Strategy<Value = Sender> {
    select(&[Sender::Unknown, Sender::Vouched, Sender::Flooded, Sender::Macvlan][..])
}

fn hook() -> impl Strategy<Value = Hook> {
    let plain = [Hook::Xdp, Hook::Ingress, Hook::Judged, Hook::AfterXdp, Hook::Egress];
    let all: Vec<Hook> = plain.into_iter().chain(HAIRPINS.map(Hook::Turned)).collect();
    select(all)
}

proptest! {
    /// Generic XDP and TC ingress behind it see the same frame: together they judge it once.
    #[test]
    fn generic_xdp_and_ingress_behind_it_are_ingress(
        world in world(), dst in mac(), src in mac(), sender in sender(), to_host in any::<bool>(),
    ) {
        let mut world = world;
        world.config.flags &= !Config::XDP_NATIVE;
        world.config.flags |= Config::XDP_GENERIC;
        let frame = Frame { dst: dst.key(), src: src.key(), sender, to_host };
        let alone = decide(Hook::Ingress, frame, &world);
        let xdp = decide(Hook::Xdp, frame, &world);
        let behind = decide(Hook::AfterXdp, frame, &world);
        if xdp.action == Action::Defer {
            prop_assert_eq!(behind, alone);
        } else {
            prop_assert_eq!(xdp, alone);
            prop_assert!(!behind.counts() && behind.action == Action::Pass);
        }
    }

    /// The short way leads to the same.
    #[test]
    fn what_is_plain_is_decided_so(
        world in world(), dst in mac(), src in mac(), sender in sender(), to_host in any::<bool>(),
    ) {
        let frame = Frame { dst: dst.key(), src: src.key(), sender, to_host };
        let expected = match plain(frame, &world) {
            Some(Plain::Host) => Verdict::new(Action::Pass),
            Some(Plain::Child(slot)) => Verdict::new(Action::Pass).rx(Some(slot as usize), Path::Wire),
            Some(Plain::Nobody) => {
                prop_assert_eq!(decide(Hook::Xdp, frame, &world), Verdict::unknown_at_xdp(&world.config));
                let expected = Verdict::unknown_at_ingress(&world.config, to_host);
                prop_assert_eq!(decide(Hook::Ingress, frame, &world), expected);
                return Ok(());
            }
            None => return Ok(()),
        };
        for hook in [Hook::Xdp, Hook::Ingress] {
            prop_assert_eq!(decide(hook, frame, &world), expected, "{:?}", hook);
        }
    }

    /// That of siblings too, where nobody is asked who has sent the frame.
    #[test]
    fn what_siblings_send_is_decided_so(
        world in world(), from in any::<Index>(), to in any::<Index>(), to_host in any::<bool>(),
    ) {
        prop_assume!(!world.children.is_empty());
        let [src, dst] = [from, to].map(|index| index.get(&world.children).mac.key());
        let frame = Frame { dst, src, sender: Sender::Unknown, to_host };
        let Some(Siblings { from, to }) = siblings(frame, &world) else { return Ok(()) };
        let expected = Verdict::new(Action::Pass)
            .tx(Some(from as usize), Path::Sibling)
            .rx(Some(to as usize), Path::Sibling);
        prop_assert_eq!(decide(Hook::Ingress, frame, &world), expected);
    }

    /// And that of the hairpin.
    #[test]
    fn what_is_hairpinned_is_decided_so(
        world in world(), child in any::<Index>(), to_host in any::<bool>(),
    ) {
        prop_assume!(!world.children.is_empty());
        let child = child.get(&world.children).mac.key();
        let (dst, src) = if to_host { (HOST.key(), child) } else { (child, HOST.key()) };
        let frame = Frame { dst, src, sender: Sender::Unknown, to_host: false };
        let Some(short) = hairpinned(frame, &world) else { return Ok(()) };
        prop_assert_eq!(short.to_host, to_host);
        let (turn, slot) = (Verdict::new(Action::Turn), Some(short.slot as usize));
        let expected = if to_host { turn.tx(slot, Path::Host) } else { turn.rx(slot, Path::Host) };
        prop_assert_eq!(decide(Hook::Egress, frame, &world), expected);
    }

    #[test]
    fn any_frame_in_any_world_has_one_lawful_outcome(
        world in world(), hook in hook(), dst in mac(), src in mac(), sender in sender(), to_host in any::<bool>(),
    ) {
        let frame = Frame { dst: dst.key(), src: src.key(), sender, to_host };
        let verdict = decide(hook, frame, &world);

        // Each hook takes only the actions it can carry out.
        let lawful = match verdict.action {
            Action::Pass | Action::DropIsolated | Action::DropReflected | Action::DropSpoofed => true,
            Action::DropUnknown => hook != Hook::Egress,
            Action::Defer => hook == Hook::Xdp,
            Action::Turn
            | Action::CopyToChildren
            | Action::CopyToAll
            | Action::CopyBroadcastToHost
            | Action::CopyMulticastToHost => hook == Hook::Egress,
            Action::End => hook == Hook::Egress && sender == Sender::Flooded && frame.src == HOST.key(),
            Action::Untag | Action::UntagBroadcast | Action::UntagMulticast => {
                matches!(hook, Hook::Turned(_))
            }
            Action::HideFromHost => matches!(hook, Hook::Turned(_) | Hook::Ingress | Hook::AfterXdp),
            Action::DropStorm
            | Action::DropRaGuard
            | Action::DropDhcpGuard
            | Action::DropRate
            | Action::DropStranger
            | Action::DropForeign => false,
        };
        prop_assert!(lawful, "{verdict:?}");

        // What is dropped is neither sent nor received, and what was judged is not counted again.
        if verdict.action.drop_reason().is_some() {
            prop_assert!(verdict.tx.is_none() && verdict.rx.is_none() && verdict.total.is_none());
        } else {
            prop_assert!(verdict.dropped.is_none());
        }
        let ends = matches!(verdict.action, Action::Defer | Action::End);
        if matches!(hook, Hook::Judged | Hook::Turned(_)) || ends {
            prop_assert!(!verdict.counts());
        }

        // The hairpin is between the host and a child that may reach it, or between siblings
        // of which one is reflected to here, and never beside passthru.
        if verdict.action == Action::Turn {
            prop_assert_eq!(world.config().passthru, 0);
            if let (Some(source), Some(target)) = (verdict.tx, verdict.rx) {
                let (source, target) = (world.policy(source), world.policy(target));
                prop_assert_eq!(verdict.path, Path::Sibling);
                prop_assert!(source.reflects() || target.reflects());
                prop_assert!(!source.is_apart_from(target) && !parties::isolates(source.mode(), target.mode()));
            } else {
                let child = verdict.rx.or(verdict.tx).expect("a hairpinned frame is counted");
                prop_assert_eq!(verdict.path, Path::Host);
                prop_assert!(world.policy(child).reaches_host());
                prop_assert!(frame.src == HOST.key() || frame.dst == HOST.key());
            }
        }

        // Who is guarded by nothing loses nothing to the guard; a child never sends as the host where that is known.
        let is_forged = sender == Sender::Macvlan && frame.src == HOST.key() && hook == Hook::Egress;
        if is_forged && world.config().passthru == 0 {
            prop_assert_eq!(verdict.action, Action::DropSpoofed);
        } else if !world.config.anti_spoofs() {
            prop_assert!(verdict.action != Action::DropSpoofed);
        }

        // Private children, and those that were set apart, exchange no unicast.
        if let (Some(source), Some(target)) = (world.child(frame.src), world.child(frame.dst))
            && source != target
            && world.config().passthru == 0
            && frame.src != HOST.key()
            && frame.dst != HOST.key()
            && !is_group(frame.dst)
            && (world.policy(source).mode() == Mode::Private
                || world.policy(source).is_apart_from(world.policy(target)))
            && matches!(hook, Hook::Ingress | Hook::AfterXdp | Hook::Egress)
        {
            prop_assert_eq!(verdict.action, Action::DropIsolated);
        }
    }
}
