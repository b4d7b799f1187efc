//! A storm of ARP requests at the speed of a generator: what its owner gets of it, what bystanders
//! hear, and what a request costs with few and many children.
//!
//! Run alone: `cargo test --release -p macvlan-tests --test guard_neigh_storm -- --test-threads=1
//! --nocapture`.

use std::{
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    attached::Attached,
    frames::{self, ArpOperation, Marker},
    generator::Generator,
    lab::{Lab, Station},
    measure::{rounds, spread_of_ratios},
    needs,
    netns::Netns,
    require,
};

/// Requests in a storm.
const STORM: u32 = 300_000;

/// Requests in one measurement of the cost.
const BURST: u32 = 50_000;

/// Measurements, after one that warms up.
const ROUNDS: usize = 9;

/// One storm at a time: beside another one, the kernel leaves what arrives to a thread of its own (`ksoftirqd`), and the
/// generator fills the receiver's ring before that runs.
fn alone() -> MutexGuard<'static, ()> {
    static STORMING: Mutex<()> = Mutex::new(());
    STORMING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A host with many children, one of which is asked for.
struct Village {
    lab: Lab,
    owner: Station,
    home: Netns,
}

impl Village {
    /// With so many children, the owner among them; all have addresses.
    #[track_caller]
    fn of(children: u16) -> Self {
        let lab = Lab::new();
        let owner = lab.child("owner", Mode::Bridge);
        let home = Netns::new();
        home.sysctl("ipv6/conf/all/disable_ipv6", 1);
        home.sysctl("ipv6/conf/default/disable_ipv6", 1);
        let (dev, path) = (&lab.host.dev, home.path());
        let others = 1..children;
        lab.host.ns.ip_batch(others.clone().map(|number| {
            format!("link add link {dev} name m{number} netns {} type macvlan mode bridge", path.display())
        }));
        home.ip_batch(others.clone().map(|number| {
            let [high, low] = number.to_be_bytes();
            format!("addr add {}/32 dev m{number}", Ipv4Addr::new(10, 8, high, low))
        }));
        home.ip_batch(others.map(|number| format!("link set m{number} up")));
        Self { lab, owner, home }
    }

    /// A request from the wire for the owner's address.
    fn request(&self) -> Vec<u8> {
        let (wire, nobody) = (&self.lab.wire, Mac::new([0; 6]));
        // By a sender whom no answer leads to: it is the requests that are measured.
        let sender = (wire.mac, Ipv4Addr::new(192, 0, 2, 1));
        let target = (nobody, self.owner.ip);
        frames::arp(Mac::BROADCAST, ArpOperation::Request, sender, target, Marker::new())
    }

    /// What all other children have received.
    fn disturbance(&self) -> u64 {
        self.home.received_by_all()
    }

    fn owner_received(&self) -> u64 {
        self.owner.ns.received(&self.owner.dev)
    }
}

#[test]
fn of_a_storm_the_owner_gets_every_request_and_nobody_else_any() {
    needs!(require::lab, require::binary);
    let _alone = alone();
    let village = Village::of(200);
    let (generator, request) = (Generator::on_wire(&village.lab), village.request());

    let before = village.owner_received();
    let took = generator.send(&request, STORM).busy;
    let plain = village.owner_received() - before;
    println!(
        "200 children, {STORM} requests at {:.2} Mpps: plain macvlan delivers {plain}",
        f64::from(STORM) / took.as_secs_f64() / 1e6
    );

    for args in [&[][..], &["--xdp", "native"]] {
        let attached = Attached::new(&village.lab, args);
        // What plain macvlan still has in its queue comes late.
        village.settle();
        let (before, disturbed) = (village.owner_received(), village.disturbance());
        let took = generator.send(&request, STORM).busy;
        let delivered = village.owner_received() - before;
        let disturbed = village.disturbance() - disturbed;
        println!(
            "  {args:?}: {delivered} delivered at {:.2} Mpps, bystanders hear {disturbed}",
            f64::from(STORM) / took.as_secs_f64() / 1e6
        );
        assert_eq!((delivered, disturbed), (u64::from(STORM), 0), "{args:?}");
        attached.detach(&[]).succeeded();
    }
}

impl Village {
    /// Waits until nobody receives anything any more.
    #[track_caller]
    fn settle(&self) {
        let mut before = self.disturbance();
        macvlan_tests::fail::wait_for("the queue to run dry", || {
            let now = self.disturbance();
            let is_still = now == before && self.disturbance() == now;
            before = now;
            is_still.then_some(())
        });
    }
}

#[test]
fn a_request_costs_the_same_with_10_and_1000_children() {
    needs!(require::lab, require::binary);
    let _alone = alone();
    let villages = [Village::of(10), Village::of(1000)];
    let attached = villages.each_ref().map(|village| Attached::new(&village.lab, &[]));
    let [few, many] = rounds(ROUNDS, |which| {
        let village = &villages[which];
        let (generator, request) = (Generator::on_wire(&village.lab), village.request());
        let before = village.owner_received();
        let took = generator.send(&request, BURST).busy;
        assert_eq!(village.owner_received() - before, u64::from(BURST));
        took.as_secs_f64()
    });
    let ratio = spread_of_ratios(&many, &few);
    println!("a directed request with 1,000 children costs {ratio} of one with 10");
    // Plain macvlan makes a copy for each child: a hundred times the work.
    assert!(ratio.median <= 1.5, "{ratio} of the cost");
    drop(attached);
}
