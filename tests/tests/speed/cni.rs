//! ADD and DEL of the CNI plugin, beside the reference plugin in the same run.

use std::time::Instant;

use macvlan_tests::{
    cni::{Call, network, plugin, reference, reserved},
    control::members,
    lab::Lab,
    measure::{bound, spread, spread_of_ratios},
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
    let mut times = [Vec::new(), Vec::new()];
    let mut parts = [const { [Vec::new(), Vec::new()] }; 2];
    for round in 0..PAIRS {
        // Each is first in its turn: what one leaves to the kernel hits both.
        for place in 0..calls.len() {
            let which = (place + round) % calls.len();
            let took = pair(&lab, &calls[which]);
            times[which].push(took.iter().sum::<f64>());
            parts[which].iter_mut().zip(took).for_each(|(part, took)| part.push(took));
        }
    }
    assert!(members(&lab).is_empty());
    assert!(reserved(&lab).is_empty());
    let ratio = spread_of_ratios(&times[1], &times[0]);
    let sums = times.map(|times| times.iter().sum::<f64>());
    println!("CNI, host-local, {PAIRS} pairs: {:.2} of the reference plugin's time", sums[1] / sums[0]);
    for (name, parts) in ["reference", "macvlan-cni"].into_iter().zip(parts) {
        let [add, del] = parts.map(|part| spread(&part).median * 1e3);
        println!("  {name}: ADD {add:.1} ms, DEL {del:.1} ms");
    }
    println!("  ratio of a pair: {ratio}");
    assert!(ratio.median <= bound(0.5, 0.8), "ADD and DEL take {ratio} of the reference plugin's time");
}

/// Seconds of an ADD and of its DEL.
#[track_caller]
fn pair(lab: &Lab, call: &Call<'_>) -> [f64; 2] {
    let seconds = |run: &dyn Fn()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    [seconds(&|| drop(call.add(lab))), seconds(&|| call.del(lab))]
}
