//! What may differ between plain macvlan and the data path.

use std::ops::RangeInclusive;

use macvlan_common::child::Mode;

use crate::{
    scene::{Delivered, What, Who},
    topology::Topology,
};

/// Every frame that came to somebody too often or not at all, in words.
pub fn violations(topology: &Topology, plain: &Delivered, ours: &Delivered) -> Vec<String> {
    let wrong = plain.iter().filter_map(|(key, by_plain)| {
        let (allowed, by_ours) = (allowed(topology, key, *by_plain), ours.get(key)?);
        let (from, what, to) = key;
        let told =
            || format!("{from:?} {what:?} at {to:?}: {by_ours}, of {allowed:?}, by plain macvlan {by_plain}");
        (!allowed.contains(by_ours)).then(told)
    });
    wrong.collect()
}

/// How often the data path may deliver what plain macvlan delivers so often.
fn allowed(
    topology: &Topology,
    (from, what, to): &(Who, What, Who),
    by_plain: usize,
) -> RangeInclusive<usize> {
    if let (Who::Host, Who::Child(child)) | (Who::Child(child), Who::Host) = (from, to)
        && topology.reaches_host(*child)
    {
        let is_for = match what {
            What::To(target) => target == to,
            What::ToAll => true,
            What::ToNobody => false,
            // The host answers for every address of its namespace, on every device.
            What::Asking(number) => match to {
                Who::Child(child) => topology.addresses[*child] == *number,
                _ => return by_plain..=1,
            },
        };
        return if is_for { 1..=1 } else { by_plain..=by_plain };
    }
    // macvlan floods the host's copy to every device: to those that only the switch leads to as well.
    if matches!((from, what, to), (Who::Host, What::ToAll, Who::Child(_))) {
        return by_plain..=1;
    }
    let least = if is_given_up(topology, from, what, to) { 0 } else { by_plain };
    least..=by_plain
}

/// Whether the contract takes the frame from a receiver that plain macvlan gives it to: a MAC is on both sides,
/// and the child was the last to speak under it.
fn is_given_up(topology: &Topology, from: &Who, what: &What, to: &Who) -> bool {
    let Some(twin) = topology.twin.filter(|twin| !twin.spoke_last) else { return false };
    let is_private = |child: usize| topology.members[child].mode == Mode::Private;
    match (from, what, to) {
        // The hairpin leads to the child.
        (Who::Host, What::To(_), Who::Twin) => topology.reaches_host(twin.of),
        // Siblings are kept apart.
        (Who::Child(child), What::To(_), Who::Twin) => is_private(*child) || is_private(twin.of),
        // As if the switch had sent a private sibling's frame back.
        (Who::Twin, _, Who::Child(child)) => is_private(*child) || is_private(twin.of),
        _ => false,
    }
}
