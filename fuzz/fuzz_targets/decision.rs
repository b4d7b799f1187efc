//! The forwarding decision, in any world, with any settings, on any frame; with the claims to
//! addresses and the token bucket beside it.
#![no_main]

use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};
use macvlan_common::{
    cases::{HOST, World, WorldChild},
    child::{ANTI_SPOOFS, Mode, Policy},
    decide::{Tables as _, decide},
    frame::{Frame, Hook},
    l3::Word,
    limit::Pace,
    mac::{Mac, is_group},
    neigh::{Claim, Owner, Speaker, judge_claim, judge_request},
    presence::Presence,
    tag::{HAIRPINS, Sender},
    trace::{Judgement, Point},
    verdict::Action,
};

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Unstructured::new(bytes);
    // What runs out of choices has been looked at.
    let _ = verdict(&mut choices);
    let _ = claim(&mut choices);
    let _ = pace(&mut choices);
});

const MODES: [Mode; 5] = [Mode::Private, Mode::Vepa, Mode::Bridge, Mode::Passthru, Mode::Source];

fn mac(choices: &mut Unstructured<'_>) -> Result<Mac> {
    Ok(match choices.int_in_range(0..=9)? {
        0 => HOST,
        1 => Mac::BROADCAST,
        2 => Mac::new(choices.arbitrary()?),
        number => Mac::new([2, 0, 0, 0, 1, number]),
    })
}

fn world(choices: &mut Unstructured<'_>) -> Result<World> {
    let mut children = Vec::new();
    for _ in 0..choices.int_in_range(0..=8)? {
        let policy = Policy::new(*choices.choose(&MODES)?, choices.arbitrary()?)
            .with_sibling_access(choices.arbitrary()?)
            .with_anti_spoof(*choices.choose(&ANTI_SPOOFS)?)
            .with_reflection(choices.arbitrary()?)
            .with_group(choices.int_in_range(0..=2)?)
            .with_vouched(choices.arbitrary()?);
        let away = *choices.choose(&[Presence::HERE, Presence::ABSENT, 7])?;
        let policy = policy.with_hosts(choices.arbitrary()?);
        children.push(WorldChild {
            name: "",
            mac: mac(choices)?,
            policy,
            presence: Presence { away, spoke: 0 },
        });
    }
    let mut world = World::new(children);
    // Also what no attach would set.
    world.config.flags ^= choices.arbitrary::<u64>()?;
    Ok(world)
}

fn verdict(choices: &mut Unstructured<'_>) -> Result<()> {
    let world = world(choices)?;
    let plain = [Hook::Xdp, Hook::Ingress, Hook::Judged, Hook::AfterXdp, Hook::Egress];
    let hooks: Vec<Hook> = plain.into_iter().chain(HAIRPINS.map(Hook::Turned)).collect();
    let hook = *choices.choose(&hooks)?;
    let sender = *choices.choose(&[Sender::Unknown, Sender::Vouched, Sender::Flooded, Sender::Macvlan])?;
    let frame = Frame { dst: mac(choices)?.key(), src: mac(choices)?.key(), sender, to_host: choices.arbitrary()? };

    let verdict = decide(hook, frame, &world);

    let judgement =
        Judgement::decode(Judgement::encode(Point::Ingress, &verdict)).expect("a verdict has a word");
    assert_eq!((judgement.action, judgement.total), (verdict.action, verdict.total));
    if verdict.action.drop_reason().is_some() {
        assert!(verdict.tx.is_none() && verdict.rx.is_none() && verdict.total.is_none(), "{verdict:?}");
    } else {
        assert!(verdict.dropped.is_none(), "{verdict:?}");
    }
    if matches!(hook, Hook::Judged | Hook::Turned(_)) || matches!(verdict.action, Action::Defer | Action::End) {
        assert!(!verdict.counts(), "{verdict:?}");
    }
    if verdict.action.hairpin().is_some() {
        assert!(hook == Hook::Egress && world.config.passthru == 0, "{verdict:?}");
    }
    // Whoever is set apart stays so, wherever his unicast is met.
    let (source, target) = (world.child(frame.src), world.child(frame.dst));
    if let (Some(source), Some(target)) = (source, target)
        && matches!(hook, Hook::Ingress | Hook::Egress)
        && source != target
        && world.config.passthru == 0
        && ![frame.src, frame.dst].contains(&HOST.key())
        && !is_group(frame.dst)
        && world.policy(source).is_apart_from(world.policy(target))
    {
        // Not vouched for comes first.
        assert!(matches!(verdict.action, Action::DropIsolated | Action::DropSpoofed), "{verdict:?}");
    }
    Ok(())
}

fn claim(choices: &mut Unstructured<'_>) -> Result<()> {
    let speaker = *choices.choose(&[Speaker::Host, Speaker::Child, Speaker::Stranger, Speaker::Wire])?;
    let word = *choices.choose(&[Word::Bare, Word::Announced, Word::Probe])?;
    let (mac, now) = (choices.arbitrary()?, choices.arbitrary()?);
    let held = Owner {
        mac: choices.arbitrary()?,
        seen: choices.arbitrary()?,
        contested: choices.arbitrary()?,
        asked: choices.arbitrary()?,
        asks: choices.arbitrary()?,
        kind: choices.int_in_range(Owner::BARE..=Owner::GATEWAY)?,
    };
    let claim = judge_claim(speaker, word, mac, Some(&held), now);
    if !held.is_over(now) {
        assert!(claim != Claim::Take, "nobody takes an address from its owner: {held:?}");
    }
    let request = judge_request(&held, word, now);
    if held.contested != 0 || held.mac == 0 {
        assert!(!request.is_directed, "what two claim, or nobody has, goes to all: {held:?}");
    }
    Ok(())
}

fn pace(choices: &mut Unstructured<'_>) -> Result<()> {
    let pace = Pace::of_frames(choices.arbitrary()?);
    let mut now: u64 = choices.int_in_range(0..=1 << 62)?;
    let (start, mut full, mut admitted) = (now, 0, 0_u64);
    while let Ok(gap) = choices.arbitrary::<u32>() {
        if choices.is_empty() {
            break;
        }
        now += u64::from(gap);
        if let Some(next) = pace.admit(full, now) {
            full = next;
            admitted += 1;
        }
    }
    if let Some(share) = (now - start + pace.ahead).checked_div(pace.interval) {
        assert!(admitted <= share + 2, "{admitted} in {} ns at {pace:?}", now - start);
    }
    Ok(())
}
