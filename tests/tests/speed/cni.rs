//! ADD and DEL of the CNI plugin, beside the reference plugin in the same run.

use std::{
    io::{self, Write as _},
    process::Stdio,
    time::Instant,
};

use macvlan_tests::{
    claim::{Claim, hold, said},
    cni::{Call, network, plugin, reference, reserved},
    control::members,
    fail::OrFail as _,
    lab::Lab,
    measure::{spread, spread_of_ratios},
    needs,
    netns::Netns,
    require,
};

const PAIRS: usize = 100;

#[test]
fn an_attachment_comes_and_goes_in_half_the_time_of_the_reference_plugin() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let calls = [reference(), plugin()].map(|plugin| Call::new(plugin, "c1", &ns, network("1.0.0")));
    // The first ADD puts the data path on the master; Go's runtime, too, is read from disk once.
    for call in &calls {
        pair(&lab, call);
    }
    let mut parts = [const { [Vec::new(), Vec::new()] }; 2];
    let measure = || {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..PAIRS {
            // Each is first in its turn: what one leaves to the kernel hits both.
            for place in 0..calls.len() {
                let which = (place + round) % calls.len();
                let took = pair(&lab, &calls[which]);
                times[which].push(took.iter().sum::<f64>());
                parts[which].iter_mut().zip(took).for_each(|(part, took)| part.push(took));
            }
        }
        times
    };
    let most = said("README.md", "ADD and DEL of the CNI plugin", 1).1;
    let times = hold(&[Claim::at_most(most, (1, 0), "ADD and DEL, of the reference plugin's")], measure);
    assert!(members(&lab).is_empty());
    assert!(reserved(&lab).is_empty());
    let ratio = spread_of_ratios(&times[1], &times[0]);
    let [theirs, ours] = times.map(fastest_quarter);
    println!("CNI, host-local, {PAIRS} pairs: {:.2} of the reference plugin's time", ours / theirs);
    for (name, parts) in ["reference", "macvlan-cni"].into_iter().zip(parts) {
        let [add, del] = parts.map(|part| spread(&part).median * 1e3);
        println!("  {name}: ADD {add:.1} ms, DEL {del:.1} ms");
    }
    println!("  ratio of a pair, with what else the machine did: {ratio}");
}

/// Their mean: what else a machine does only adds to a time, and to that of who waits for a CPU most.
fn fastest_quarter(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.truncate(PAIRS / 4);
    times.iter().sum::<f64>() / times.len() as f64
}

/// Seconds of an ADD and of its DEL.
#[track_caller]
fn pair(lab: &Lab, call: &Call<'_>) -> [f64; 2] {
    ["ADD", "DEL"].map(|verb| seconds(lab, call, verb))
}

/// Seconds until a verb is done, as a runtime sees it: it blocks until the plugin has ended, where
/// [`Call::run`] looks once in a millisecond.
#[track_caller]
fn seconds(lab: &Lab, call: &Call<'_>, verb: &str) -> f64 {
    let (reader, mut writer) = io::pipe().or_fail("make a pipe");
    // Far less than what a pipe holds.
    writer.write_all(call.config.to_string().as_bytes()).or_fail("write a configuration");
    drop(writer);
    let mut command = call.command(lab, verb);
    command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let child = command.spawn().or_fail("run a plugin");
    let output = child.wait_with_output().or_fail("wait for a plugin");
    let took = start.elapsed().as_secs_f64();
    assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stdout));
    took
}
