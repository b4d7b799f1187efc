//! A million frames through the loaded programs, compared with the decision function and what the
//! tables behind it say.
//!
//! Action, frame and mark are compared for each frame; counters, copies and tables at the end of a
//! batch, which is run again frame by frame when they differ, to name the one that made them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use macvlan_common::{
    counters::Count,
    flood::tag_beyond,
    frame::Hook,
    names,
    tag::{Hairpin, Sender, Tag},
    verdict::Action,
};
use macvlan_tests::{
    fail::{OrFail as _, wait_for},
    frames,
    progs::{Counters, tc_mut, xdp_mut},
    rng::Rng,
};

use crate::{
    bench::{
        Bench, FLOODED, FOREIGN_MARK, FOREIGN_TAG, FOREIGN_TIME, Offload, TC_ACT_REDIRECT, TC_ACT_SHOT,
        TC_ACT_UNSPEC, XDP_DROP, XDP_PASS, charged, in_bench, key, runs_as_skb, same, same_presences,
        size_of_skb,
    },
    model::{self, FrameResult, Model},
    neighbourhood::{self, Neighbourhood},
    random,
};

/// Frames in each world.
const BATCH: usize = 400;

/// Runs so many frames, on every processor at once.
pub fn run(seed: u64, frames: usize) {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let worlds = frames.div_ceil(workers * BATCH);
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in 0..workers as u64 {
            let failed = &failed;
            scope.spawn(move || in_bench(|bench| work(bench, seed.wrapping_add(worker), worlds, failed)));
        }
    });
}

fn work(bench: &mut Bench<'_>, seed: u64, worlds: usize, failed: &AtomicBool) {
    let mut neighbourhood = Neighbourhood::of(&mut bench.programs);
    load_twins(bench);
    let mut rng = Rng::new(seed);
    for number in 0..worlds {
        if failed.load(Ordering::Relaxed) {
            return;
        }
        let model = neighbourhood::model(&mut rng);
        let before = rng.clone();
        let outcome = batch(bench, &mut neighbourhood, model.clone(), &mut rng, BATCH);
        let Err(difference) = outcome else { continue };
        failed.store(true, Ordering::Relaxed);
        let again = batch(bench, &mut neighbourhood, model.clone(), &mut before.clone(), 1);
        let found = again.err().unwrap_or(difference);
        let (config, children) = (model.world.config, &model.world.children);
        panic!("world {number}, MACVLAN_TESTS_SEED={seed}: {found}\n{config:?} {children:?}");
    }
}

/// The traced programs do the same.
fn load_twins(bench: &mut Bench<'_>) {
    for (plain, traced) in names::TRACED {
        let loaded = match plain {
            names::XDP | names::XDP_FRAGS => xdp_mut(&mut bench.programs.ebpf, traced).load(),
            _ => tc_mut(&mut bench.programs.ebpf, traced).load(),
        };
        loaded.or_fail(format!("load {traced}"));
    }
}

/// Runs [`BATCH`] frames in one world; all that they leave behind is compared after each `step`.
fn batch(
    bench: &mut Bench<'_>,
    neighbourhood: &mut Neighbourhood,
    mut model: Model,
    rng: &mut Rng,
    step: usize,
) -> Result<(), String> {
    bench.programs.set_world(&model.world);
    neighbourhood.set(&model);
    bench.copies();
    let mut expected = Expected { counters: bench.programs.counters(), copies: Vec::new() };
    let is_traced = rng.one_in(10);
    for number in 1..=BATCH {
        let frame = Met::random(rng, &model, is_traced);
        let described = |what: String| {
            let Met { hook, sender, program, offload, bytes, tag, .. } = &frame;
            let len = bytes.len();
            format!(
                "{what}\n{program} at {hook:?}, {sender:?}, {offload:?}, {tag:x?}, {len} bytes {bytes:02x?}"
            )
        };
        model.now = crate::bench::now();
        let outcome = model.judge((frame.hook, frame.sender), &frame.bytes);
        let ran = match frame.hook {
            Hook::Xdp => frame.run_xdp(bench, &model, &outcome),
            _ => frame.run_tc(bench, &model, &outcome, &mut expected),
        };
        // The program may have judged by another time: the rest of the batch tells nothing.
        let is_late = crate::bench::now() - model.now > neighbourhood::STALL;
        if is_late && model::is_of_neighbours(&frame.bytes) {
            return Ok(());
        }
        neighbourhood.adopt_times(&mut model);
        ran.map_err(|what| format!("{}\n{outcome:?}", described(what)))?;
        expected.charge(&outcome, frame.size());
        if number % step == 0 {
            expected.compare(bench).and_then(|()| neighbourhood.compare(&model)).map_err(described)?;
            same_presences(&bench.programs, &model.world).map_err(described)?;
        }
    }
    Ok(())
}

/// Runs one frame in the world and among the neighbours of `model`, compares all it does with what
/// the model says, and gives that.
pub fn check(
    bench: &mut Bench<'_>,
    neighbourhood: &mut Neighbourhood,
    model: &mut Model,
    hook: Hook,
    bytes: &[u8],
) -> Result<FrameResult, String> {
    bench.programs.set_world(&model.world);
    neighbourhood.set(model);
    let mut expected = Expected { counters: bench.programs.counters(), copies: Vec::new() };
    let program = match hook {
        Hook::Xdp => names::XDP_FRAGS,
        Hook::Egress => names::EGRESS,
        _ => names::INGRESS,
    };
    let sender = Sender::Unknown;
    let (offload, mark, tag) = (Offload::None, 0, Tag::default());
    let frame = Met { hook, sender, program, bytes: bytes.to_vec(), offload, mark, tag };
    model.now = crate::bench::now();
    let outcome = model.judge((hook, sender), bytes);
    match hook {
        Hook::Xdp => frame.run_xdp(bench, model, &outcome)?,
        _ => frame.run_tc(bench, model, &outcome, &mut expected)?,
    }
    neighbourhood.adopt_times(model);
    expected.charge(&outcome, frame.size());
    expected.compare(bench)?;
    neighbourhood.compare(model)?;
    Ok(outcome)
}

/// What a batch leaves behind.
struct Expected {
    counters: Counters,
    /// Mark, lower word of the tag, and bytes.
    copies: Vec<(u32, u32, Vec<u8>)>,
}

impl Expected {
    fn charge(&mut self, outcome: &FrameResult, size: Count) {
        self.counters = charged(&self.counters, &outcome.verdict, size);
        if let Some((child, path)) = outcome.directed {
            self.counters.children[child].rx[path as usize].add(size);
        }
    }

    fn compare(&mut self, bench: &mut Bench<'_>) -> Result<(), String> {
        let expected = std::mem::take(&mut self.copies);
        let mut copies = Vec::new();
        wait_for("the copies", || {
            copies.extend(bench.copies());
            (copies.len() >= expected.len()).then_some(())
        });
        for (copy, expected) in copies.iter().zip(&expected) {
            same("copy", copy, expected)?;
        }
        same("number of copies", copies.len(), expected.len())?;
        same("counters", &bench.programs.counters(), &self.counters)
    }
}

/// A frame, and how it is met.
struct Met {
    hook: Hook,
    program: &'static str,
    bytes: Vec<u8>,
    sender: Sender,
    offload: Offload,
    mark: u32,
    tag: Tag,
}

/// The shortest frame that a test run takes.
const SHORTEST: usize = frames::ETH_HLEN;

impl Met {
    fn random(rng: &mut Rng, model: &Model, is_traced: bool) -> Self {
        let world = &model.world;
        let hook = random::hook(rng, world);
        let plain = match hook {
            Hook::Xdp => rng.pick(&[names::XDP, names::XDP_FRAGS]),
            Hook::Egress => names::EGRESS,
            _ => names::INGRESS,
        };
        let program = names::traced(plain).filter(|_| is_traced).unwrap_or(plain);
        let is_neighbours = rng.one_in(3);
        let mut bytes = if is_neighbours {
            neighbourhood::neighbour_frame(rng, world)
        } else {
            random::frame(rng, world)
        };
        if hook != Hook::Egress && rng.one_in(30) {
            bytes.truncate(SHORTEST + rng.below(8));
        }
        if hook != Hook::Xdp && !runs_as_skb(&bytes) {
            bytes.resize(60, 0);
        }
        let offload = if is_neighbours || hook == Hook::Xdp { Offload::None } else { random::offload(rng) };
        let sender = random::sender(rng, world, hook);
        let tag = match hook {
            Hook::Turned(kind) => world.config.tag_of(kind),
            _ if sender == Sender::Vouched => world.config.vouching_tag(key(&bytes[6..12])),
            _ if sender == Sender::Flooded => FLOODED,
            // What a sender sets has no say, nor what lies where our tag does, not even our own.
            Hook::Egress => rng.pick(&[
                Tag::default(),
                FOREIGN_TAG,
                world.config.tag_of(Hairpin::Unicast),
                world.config.vouching_tag(key(&bytes[6..12]) ^ 0x0200),
            ]),
            _ => rng.pick(&Bench::foreign_tags(&world.config)),
        };
        let mark = rng.pick(&[0, FOREIGN_MARK]);
        Self { hook, program, bytes, sender, offload, mark, tag }
    }

    fn size(&self) -> Count {
        size_of_skb(&self.bytes, self.offload)
    }

    fn run_xdp(&self, bench: &Bench<'_>, model: &Model, outcome: &FrameResult) -> Result<(), String> {
        let run = bench.programs.run_xdp(self.program, &self.bytes, self.bytes.len());

        let verdict = &outcome.verdict;
        let is_dropped = verdict.action.drop_reason().is_some();
        same("action", run.action, if is_dropped { XDP_DROP } else { XDP_PASS })?;
        let meta = model.world.config.meta.to_le_bytes();
        let is_told = verdict.counts() && !model.world.config.xdp_is_generic();
        if !is_dropped {
            same("metadata", &run.meta[..], if is_told { &meta[..] } else { &[] })?;
        }
        same("frame", &run.frame[..], &self.bytes[..])
    }

    fn run_tc(
        &self,
        bench: &mut Bench<'_>,
        model: &Model,
        outcome: &FrameResult,
        expected: &mut Expected,
    ) -> Result<(), String> {
        if self.hook == Hook::Egress {
            bench.programs.set_sending(self.sender == Sender::Macvlan);
        }
        let run = bench.run(self.program, &bench.skb(&self.bytes, self.offload, self.mark, self.tag))?;

        let config = &model.world.config;
        let is_turned = outcome.hairpin.is_some() && !outcome.is_copied;
        let mut readdressed = self.bytes.clone();
        if let Some(mac) = outcome.destination {
            readdressed[..6].copy_from_slice(&mac.octets());
        }
        // What was said is said once.
        let left = match self.hook {
            Hook::Turned(kind) => tag_beyond(kind),
            _ if self.sender == Sender::Vouched => Tag::default(),
            _ => self.tag,
        };
        let left = (self.mark, left);
        let (action, left, time) = match (outcome.verdict.action.drop_reason(), outcome.hairpin) {
            _ if outcome.verdict.action == Action::End => (TC_ACT_SHOT, left, FOREIGN_TIME),
            (Some(_), _) => (TC_ACT_SHOT, left, FOREIGN_TIME),
            (None, Some(kind)) if is_turned => (TC_ACT_REDIRECT, (0, config.tag_of(kind)), 0),
            _ => (TC_ACT_UNSPEC, left, FOREIGN_TIME),
        };
        same("action", run.action, action)?;
        same("mark and tag", (run.mark, run.tag), left)?;
        same("time", run.tstamp, time)?;
        same("frame", &run.frame, if outcome.is_copied { &self.bytes } else { &readdressed })?;
        if let Some(kind) = outcome.hairpin.filter(|_| outcome.is_copied) {
            if self.offload == Offload::None {
                expected.copies.push((0, config.tag_of(kind).low, readdressed));
            } else {
                // See `Bench::check_egress`.
                expected.counters.totals.copy_failed.add(self.size());
            }
        }
        Ok(())
    }
}
