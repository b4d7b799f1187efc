//! What the words of `trace`, `stats` and `top` mean, for their manual pages.

use macvlan_common::{
    counters::{DROP_REASONS, DropReason},
    verdict::Fate,
};
use macvlan_ctl::top::HELP;

/// Terms and what they mean, with the title of their section, for the page of this name.
pub fn of_page(name: &str) -> Option<(&'static str, Vec<(&'static str, &'static str)>)> {
    match name {
        "macvlan-ctl-top" => Some(("KEYS", HELP.to_vec())),
        "macvlan-ctl-trace" => {
            let fates = FATES.map(|fate| (fate.as_str(), about_fate(fate)));
            Some(("VERDICTS", fates.into_iter().chain(drops()).collect()))
        }
        "macvlan-ctl-stats" => Some(("DROP REASONS", drops().collect())),
        _ => None,
    }
}

fn drops() -> impl Iterator<Item = (&'static str, &'static str)> {
    DROP_REASONS.into_iter().map(|reason| (reason.as_str(), about_drop(reason)))
}

/// What becomes of a frame, in the order in which it is told of.
const FATES: [Fate; 6] = [Fate::Pass, Fate::Turn, Fate::Copy, Fate::Hide, Fate::End, Fate::Drop];

fn about_fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Pass => "The frame goes on as it would without macvlan-ctl.",
        Fate::Turn => {
            "The frame is turned around at the master instead of being sent: it is for somebody on this host."
        }
        Fate::Copy => "The frame goes on, and a copy is turned around for the receivers on this host.",
        Fate::Hide => "The frame goes on to the children; the host's own protocols do not see it.",
        Fate::End => "A copy has reached whom it was for, and ends here.",
        Fate::Drop => "The frame is dropped. The word that follows is the reason, one of these:",
    }
}

fn about_drop(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Isolated => "Sender and receiver are children that may not reach each other.",
        DropReason::Reflected => {
            "The switch sent a child's broadcast back: its receivers here have their copy."
        }
        DropReason::Unknown => "Unicast from the wire to a MAC that nobody here has, with --drop-unknown.",
        DropReason::Spoofed => {
            "The source MAC, or an IP address that the frame speaks for, is not its sender's."
        }
        DropReason::Storm => "A broadcast or multicast beyond --storm-limit.",
        DropReason::RaGuard => "A router advertisement or redirect of a child with ra=off.",
        DropReason::DhcpGuard => "A DHCP server's message of a child with dhcp-server=off.",
        DropReason::Rate => "Beyond the child's rate-rx or rate-tx.",
        DropReason::Stranger => "With --single-mac: from a MAC that is neither the master's nor a child's.",
        DropReason::Foreign => {
            "With --single-mac: a child's, neither ARP nor IP, so that no answer could come back."
        }
    }
}
