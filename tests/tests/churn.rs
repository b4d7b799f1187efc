//! Attaching and detaching, children coming and going, again and again under traffic: nothing is left,
//! and connections that this does not concern live through it.
//!
//! `MACVLAN_TESTS_CHURN` is how often to attach; children come and go ten times as often.
//! `cargo xtask churn` does it 10,000 times.

use std::{
    env,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_core::{
    commands::{attach, child_add, child_del, detach},
    discovery::access::Access,
    model::{
        options::{MissingChoice, Options, TcChoice, XdpChoice},
        request::AttachRequest,
        spec::{ChildChange, ChildSpec},
    },
};
use macvlan_tests::{
    control::devices,
    conversation::Conversation,
    fail::OrFail as _,
    lab::{Family, Lab},
    leak::{Held, KernelObjects, Traces, share_memory},
    needs,
    netns::Netns,
    require,
    talk::ping,
};

const VARIABLE: &str = "MACVLAN_TESTS_CHURN";

/// A few seconds' worth.
const USUAL: usize = 30;

/// Children that come and go for each time of attaching.
const CHILDREN: usize = 10;

/// Children that one command adds or removes.
const AT_ONCE: usize = 20;

/// One in so many is done by the command, the others in this process, where a leak adds up.
const BY_COMMAND: usize = 10;

/// How much more memory a process may hold after many rounds than after some: what allocators keep,
/// far less than what leaks would add up to.
const SLACK: u64 = 16 << 20;

/// What a process holds is compared: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn rounds() -> usize {
    let number = |text: String| text.parse().or_fail(format!("read a number in {VARIABLE}"));
    env::var(VARIABLE).map_or(USUAL, number)
}

#[test]
fn attaching_and_detaching_leaves_nothing() {
    needs!(require::lab, require::tc, require::binary);
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    share_memory();
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let requests = [
        (TcChoice::Tcx, XdpChoice::Off),
        (TcChoice::Clsact, XdpChoice::Off),
        (TcChoice::Tcx, XdpChoice::Native),
        (TcChoice::Clsact, XdpChoice::Generic),
    ]
    .map(request);
    let (traces, objects) = (Traces::of(&lab), KernelObjects::now());
    let conversation = Conversation::start(&lab.wire, &web, Family::V4);
    let (rounds, start, mut held) = (rounds(), Instant::now(), None);
    for (round, request) in (0..rounds).zip(requests.iter().cycle()) {
        if round % BY_COMMAND == 0 {
            lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
        } else {
            inside(&lab, || async { attach::attach("eth0", request).await.or_fail("attach") });
        }
        if round % 100 == 0 {
            assert!(ping(&lab.host, web.ip.into()), "round {round}");
            println!("round {round} of {rounds} after {:.0} s", start.elapsed().as_secs_f64());
            conversation.goes_on(&format!("round {round}, attached"));
        }
        if round % BY_COMMAND == 1 {
            lab.ctl(&["detach", "eth0"]).succeeded();
        } else {
            let outcome = inside(&lab, || async {
                detach::detach("eth0", false, Access::Change).await.or_fail("detach")
            });
            assert_eq!(outcome.steps, ["take the data path off \"eth0\""], "round {round}");
        }
        // The first rounds allocate what is kept.
        if round == rounds / 4 {
            held = Some(Held::now());
        }
    }
    check_held(held, rounds, start, "attached and detached");
    let exchanges = conversation.end();
    println!("the connection between wire and child carried {exchanges} messages there and back");
    assert_eq!(Traces::of(&lab), traces);
    KernelObjects::wait_until_gone(&objects);
}

#[test]
fn children_that_come_and_go_leave_nothing() {
    needs!(require::lab, require::tc, require::binary);
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    share_memory();
    let lab = Lab::new();
    let (web, elsewhere) = (lab.child("web", Mode::Bridge), lab.newcomer("elsewhere"));
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let (traces, objects) = (Traces::of(&lab), KernelObjects::now());
    let conversation = Conversation::start(&lab.host, &web, Family::V4);
    let children: Vec<ChildSpec> = (0..AT_ONCE).map(|number| spec(number, &elsewhere.ns)).collect();
    let named = |child: &ChildSpec| child.name.as_str().parse().or_fail("name a child");
    let gone: Vec<ChildChange> = children.iter().map(named).collect();
    let (rounds, start, mut held) = ((rounds() * CHILDREN).div_ceil(AT_ONCE), Instant::now(), None);
    for round in 0..rounds {
        inside(&lab, || async {
            child_add::add("eth0", &children, Access::Change).await.or_fail("add children")
        });
        if round % 100 == 0 {
            assert_eq!(devices(&elsewhere).len(), AT_ONCE / 2, "round {round}");
            println!("round {round} of {rounds} after {:.0} s", start.elapsed().as_secs_f64());
            conversation.goes_on(&format!("round {round}"));
        }
        inside(&lab, || async {
            child_del::del("eth0", &gone, Access::Change).await.or_fail("remove children")
        });
        if round == rounds / 4 {
            held = Some(Held::now());
        }
    }
    check_held(held, rounds, start, &format!("added and removed {AT_ONCE} children"));
    let exchanges = conversation.end();
    println!("the connection between host and child carried {exchanges} messages there and back");
    assert!(devices(&elsewhere).is_empty());
    assert_eq!(Traces::of(&lab), traces);
    KernelObjects::wait_until_gone(&objects);
    lab.ctl(&["detach", "eth0"]).succeeded();
}

fn request((tc, xdp): (TcChoice, XdpChoice)) -> AttachRequest {
    let on_missing_bpf = Some(MissingChoice::Fail);
    let options = Options { tc: Some(tc), xdp: Some(xdp), on_missing_bpf, ..Options::default() };
    AttachRequest { options, ..AttachRequest::default() }
}

/// One of every two in another namespace.
fn spec(number: usize, elsewhere: &Netns) -> ChildSpec {
    let mac = Mac::new([0x02, 0, 0, 0, 8, number as u8]);
    let place = if number.is_multiple_of(2) {
        String::new()
    } else {
        format!(",netns={}", elsewhere.path().display())
    };
    format!("n{number},mac={mac}{place}").parse().or_fail("read the specification of a child")
}

/// Runs part of the library as the command does: in the host's namespace, with the lab's mounts.
#[track_caller]
fn inside<T: Send, F: Future<Output = T>>(lab: &Lab, work: impl FnOnce() -> F + Send) -> T {
    let host = &lab.host.ns;
    lab.mounts().enter(|| {
        host.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.or_fail("start an event loop").block_on(work())
        })
    })
}

/// This process holds no more than it did after the first quarter.
#[track_caller]
fn check_held(before: Option<Held>, rounds: usize, start: Instant, what: &str) {
    let (before, after) = (before.or_fail("look at what is held"), Held::now());
    println!("{rounds} times {what} in {:.0} s: {before:?}, then {after:?}", start.elapsed().as_secs_f64());
    assert_eq!(after.files, before.files, "open files");
    assert!(after.memory <= before.memory + SLACK, "{before:?}, then {after:?}");
}
