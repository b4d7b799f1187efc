//! A topology as plain data, drawn from random numbers, and the changes it goes through.

use macvlan_common::child::Mode;
use macvlan_tests::rng::Rng;

/// Most children of one topology.
const MOST_CHILDREN: usize = 4;

/// One macvlan device of the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its mode.
    pub mode: Mode,
    /// Whether it is up.
    pub is_up: bool,
    /// Whether it is in the master's own namespace.
    pub is_hosts: bool,
}

/// A station beyond the wire with the MAC of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twin {
    /// Whose MAC it has.
    pub of: usize,
    /// Whether it, and not the child, was the last to send a broadcast.
    pub spoke_last: bool,
}

/// Who is on the network of a master, besides the host and the station `wire`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The children, by number.
    pub members: Vec<Member>,
    /// At most one MAC is on both sides.
    pub twin: Option<Twin>,
    /// Whose address each child has: as its own number at first.
    pub addresses: Vec<usize>,
}

impl Topology {
    /// One to four children, and now and then a twin of one of them.
    pub fn random(rng: &mut Rng) -> Self {
        let count = 1 + rng.below(MOST_CHILDREN);
        let members = (0..count).map(|_| member(rng)).collect();
        let mut topology = Self { members, twin: None, addresses: (0..count).collect() };
        if rng.one_in(3) {
            topology.twin = Some(topology.random_twin(rng));
        }
        topology
    }

    /// Children, by number, that have another mode in `next`; not the host's own.
    pub fn with_other_modes(&self, next: &Self) -> Vec<usize> {
        let each = self.members.iter().zip(&next.members).enumerate();
        each.filter(|(_, (was, is))| was.mode != is.mode && !is.is_hosts).map(|(number, _)| number).collect()
    }

    /// The same after one thing has happened.
    pub fn changed(&self, rng: &mut Rng) -> Self {
        let mut next = self.clone();
        let at = rng.below(next.members.len());
        match rng.below(6) {
            0 | 1 => next.members[at].is_up ^= true,
            2 => next.members[at].mode = mode(rng),
            3 => next.twin = if next.twin.is_some() { None } else { Some(next.random_twin(rng)) },
            4 => {
                let other = rng.below(next.members.len());
                next.addresses.swap(at, other);
            }
            _ => match &mut next.twin {
                Some(twin) => twin.spoke_last ^= true,
                None => next.members[at].is_up ^= true,
            },
        }
        if let Some(twin) = &mut next.twin
            && !next.members[twin.of].is_up
        {
            // A device that is down says nothing.
            twin.spoke_last = true;
        }
        next
    }

    fn random_twin(&self, rng: &mut Rng) -> Twin {
        let of = rng.below(self.members.len());
        Twin { of, spoke_last: !self.members[of].is_up || rng.one_in(2) }
    }

    /// Whether the MAC of this child is on the wire, as far as anybody can know.
    pub fn is_elsewhere(&self, child: usize) -> bool {
        self.twin.is_some_and(|twin| twin.of == child && twin.spoke_last)
    }

    /// Whether host and this child are to reach each other once the data path is on.
    pub fn reaches_host(&self, child: usize) -> bool {
        let Member { mode, is_up, is_hosts } = self.members[child];
        is_up && !is_hosts && matches!(mode, Mode::Bridge | Mode::Private) && !self.is_elsewhere(child)
    }
}

fn member(rng: &mut Rng) -> Member {
    let is_hosts = rng.one_in(6);
    Member { mode: mode(rng), is_up: !rng.one_in(5), is_hosts }
}

fn mode(rng: &mut Rng) -> Mode {
    rng.pick(&[Mode::Bridge, Mode::Bridge, Mode::Private, Mode::Vepa])
}
