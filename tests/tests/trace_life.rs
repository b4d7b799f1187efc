//! How traces begin and end: nothing is lost, and whatever happens to them can be put right.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use macvlan_common::{child::Mode, counters::Path};
use macvlan_tests::{
    attached::Attached,
    fail::wait_for,
    frames::{Marker, marked},
    lab::{Family, Lab},
    leak::Traces,
    needs, require,
    rng::{Rng, seed},
    sniff::Injector,
    talk::{ping, udp_echo},
    tracer::Tracer,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const WAYS: [&[&str]; 4] = [
    &["--tc", "tcx", "--xdp", "off"],
    &["--tc", "clsact", "--xdp", "off"],
    &["--xdp", "native"],
    &["--xdp", "generic"],
];

#[test]
fn no_frame_and_no_count_is_lost_when_a_trace_comes_or_goes() {
    needs!(require::lab, require::tcx, require::binary);
    const ROUNDS: usize = 4;
    const BATCH: usize = 50;
    for args in WAYS {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        lab.introduce(&[&lab.host, &lab.wire, &web]);
        let attached = Attached::new(&lab, args);
        let before = attached.stats();
        let is_over = AtomicBool::new(false);
        let talk = |from| {
            let mut batches = 0;
            while !is_over.load(Ordering::Relaxed) || batches == 0 {
                assert_eq!(udp_echo(from, &web, Family::V4, BATCH, 100), BATCH, "{args:?}");
                batches += 1;
            }
            (batches * BATCH) as u64
        };
        let [host, wire] = thread::scope(|scope| {
            let talks = [&lab.host, &lab.wire].map(|from| scope.spawn(move || talk(from)));
            for _ in 0..ROUNDS {
                let tracer = Tracer::start(&lab, &["--sample", "7"]);
                wait_for("something to be told", || (!tracer.events().is_empty()).then_some(()));
                let traced = tracer.stop();
                assert!(traced.status.success(), "{args:?}: {}", traced.stderr);
            }
            is_over.store(true, Ordering::Relaxed);
            talks.map(|talk| talk.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
        });
        let gained = &attached.stats() - &before;
        for (path, sent) in [(Path::Host, host), (Path::Wire, wire)] {
            let counted = (gained.rx("web", path).packets, gained.tx("web", path).packets);
            assert_eq!(counted, (sent, sent), "{args:?} {}", path.as_str());
        }
    }
}

#[test]
fn what_a_killed_trace_leaves_is_named_and_put_right_by_the_next_attach() {
    needs!(require::lab, require::tcx, require::binary);
    for args in WAYS {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        lab.introduce(&[&lab.host, &web]);
        let attached = Attached::new(&lab, args);
        let plain = traces_of(&attached);
        assert_eq!(plain, None, "{args:?}");

        Tracer::start(&lab, &[]).kill();
        let left = traces_of(&attached).unwrap_or_default();
        assert!(left.contains("killed trace"), "{args:?}: {left}");
        assert!(ping(&lab.host, web.ip.into()) && ping(&web, lab.host.ip.into()), "{args:?}");

        lab.ctl(&["attach", "eth0"]).succeeded();
        assert_eq!(traces_of(&attached), None, "{args:?}");
        assert!(ping(&lab.host, web.ip.into()), "{args:?}");

        // A trace takes over from a killed one as well.
        Tracer::start(&lab, &[]).kill();
        let tracer = Tracer::start(&lab, &[]);
        let marker = Marker::new();
        Injector::new(&lab.host.ns, &lab.host.dev).send(&marked(web.mac, lab.host.mac, marker));
        tracer.wait_for(marker, 1);
        assert!(tracer.stop().status.success());
        assert_eq!(traces_of(&attached), None, "{args:?}");
    }
}

#[test]
fn a_trace_killed_at_any_moment_is_put_right_by_the_next_attach() {
    needs!(require::lab, require::tcx, require::binary);
    const ROUNDS: usize = 15;
    for args in WAYS {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        lab.introduce(&[&lab.host, &web]);
        let attached = Attached::new(&lab, args);
        let mut random = Rng::new(seed());
        // Until it has begun and ended; how long it runs is for the frame to say.
        let start = Instant::now();
        let tracer = Tracer::start(&lab, &[]);
        let begun = start.elapsed();
        tracer.stop();
        let usual = start.elapsed();
        for round in 0..ROUNDS {
            let ends = round % 2 == 1;
            let moment = random.below(if ends { usual - begun } else { begun }.as_micros() as usize);
            let victim = if ends { Tracer::start(&lab, &[]) } else { Tracer::begin(&lab, &[]) };
            if ends {
                victim.signal(Signal::SIGTERM);
            }
            // Nothing is waited for: the moment itself is what is tried.
            thread::sleep(Duration::from_micros(moment as u64));
            victim.kill();

            lab.ctl(&["attach", "eth0"]).succeeded();

            let when = format!("{args:?} round {round}, killed after {moment} us");
            assert_eq!(traces_of(&attached), None, "{when}");
            assert!(ping(&lab.host, web.ip.into()) && ping(&lab.wire, web.ip.into()), "{when}");
        }
    }
}

#[test]
fn a_detach_after_a_killed_trace_leaves_nothing() {
    needs!(require::lab, require::tc, require::tcx, require::binary);
    for args in WAYS {
        let lab = Lab::new();
        let _web = lab.child("web", Mode::Bridge);
        let before = Traces::of(&lab);
        let attached = Attached::new(&lab, args);
        Tracer::start(&lab, &[]).kill();
        attached.detach(&[]).succeeded();
        assert_eq!(Traces::of(&lab), before, "{args:?}");
    }
}

#[test]
fn other_commands_work_beside_a_trace_but_not_another_trace() {
    needs!(require::lab, require::tcx, require::binary);
    for args in WAYS {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let attached = Attached::new(&lab, args);
        let tracer = Tracer::start(&lab, &[]);
        assert!(traces_of(&attached).is_some_and(|reason| reason.contains("is running")), "{args:?}");

        let second = lab.ctl(&["trace", "eth0", "--count", "1"]);
        let error = second.failed(1);
        assert!(error.contains("another trace of \"eth0\" is running"), "{args:?}: {error}");

        lab.ctl(&["attach", "eth0"]).succeeded();
        let marker = Marker::new();
        Injector::new(&lab.host.ns, &lab.host.dev).send(&marked(web.mac, lab.host.mac, marker));
        tracer.wait_for(marker, 1);

        attached.detach(&[]).succeeded();
        let traced = tracer.wait();
        assert_eq!(traced.status.code(), Some(1), "{args:?}: {}", traced.stderr);
        assert!(traced.stderr.contains("has taken the traced programs off"), "{args:?}: {}", traced.stderr);
    }
}

#[test]
fn a_master_without_data_path_is_not_traced() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _web = lab.child("web", Mode::Bridge);
    let ran = lab.ctl(&["trace", "eth0"]);
    let error = ran.failed(1);
    assert!(error.contains("cannot trace \"eth0\": not attached: macvlan-ctl attach eth0"), "{error}");
}

#[test]
fn records_that_find_no_room_are_counted() {
    needs!(require::lab, require::tcx, require::binary);
    const SENT: usize = 40_000;
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let _attached = Attached::new(&lab, &[]);
    let tracer = Tracer::start(&lab, &["--child", "web"]);
    tracer.signal(Signal::SIGSTOP);
    let frame = marked(web.mac, lab.host.mac, Marker::new());
    Injector::new(&lab.host.ns, &lab.host.dev).send_times(&frame, SENT);
    tracer.signal(Signal::SIGCONT);

    let traced = tracer.stop();

    assert!(traced.status.success(), "{}", traced.stderr);
    let told = format!("{} of {SENT} records were lost", SENT - traced.events.len());
    assert!(traced.events.len() < SENT && traced.stderr.contains(&told), "{}", traced.stderr);
    // The programs say so themselves, once on each CPU.
    assert_eq!(traced.stderr.matches("records came faster on CPU").count(), 1, "{}", traced.stderr);
}

#[test]
fn a_reader_that_stalls_does_not_keep_the_programs() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let attached = Attached::new(&lab, &[]);
    let tracer = Tracer::start_unread(&lab, &[]);
    // Far more than a pipe holds.
    let frame = marked(web.mac, lab.host.mac, Marker::new());
    Injector::new(&lab.host.ns, &lab.host.dev).send_times(&frame, 2000);

    let traced = tracer.stop();

    assert_eq!(traced.status.code(), Some(1), "{}", traced.stderr);
    assert!(traced.stderr.contains("nobody reads the output"), "{}", traced.stderr);
    assert_eq!(traces_of(&attached), None);
}

/// What `status` says of a trace.
fn traces_of(attached: &Attached<'_>) -> Option<String> {
    let status = attached.status();
    let degraded = status["degraded"].as_array().map_or(&[][..], Vec::as_slice);
    let trace = degraded.iter().find(|part| part["feature"] == "trace");
    trace.and_then(|part| part["reason"].as_str()).map(str::to_owned).or_else(|| {
        // Absent, not of another shape.
        assert!(degraded.iter().all(|part| part["reason"] != Value::Null), "{status:#}");
        None
    })
}
