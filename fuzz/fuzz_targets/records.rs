//! What a traced program tells: any bytes are a record or none, and a record has an event of one
//! line that steers no terminal.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use macvlan_common::{
    mac::Mac,
    trace::{FrameRecord, Judgement, RECORD_LEN},
};
use macvlan_ctl::trace::{
    capture::Capture,
    decode::summary,
    event::{Event, Names},
};

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(FrameRecord::decode(bytes).is_some(), bytes.len() == RECORD_LEN);
    let words = summary(bytes);
    assert!(!words.contains(char::is_control), "{words:?}");

    // Shorter inputs are records as well: the rest of such a record is zeros.
    let mut whole = [0; RECORD_LEN];
    let len = bytes.len().min(RECORD_LEN);
    whole[..len].copy_from_slice(&bytes[..len]);
    let Some(record) = FrameRecord::decode(&whole) else { unreachable!("it has the length of one") };
    let names = Names::new(Mac::new([2, 0, 0, 0, 0, 1]), &[]);
    let booted = Duration::from_secs(record.time);
    if let Some(event) = Event::new(&record, &names, booted) {
        assert!(Judgement::decode(record.judgement).is_some());
        let line = event.to_string();
        assert!(!line.contains(char::is_control), "{line:?}");
        let mut file = Vec::new();
        let capture = Capture::new(&mut file, "eth0").and_then(|mut capture| capture.add(&event));
        capture.expect("a capture in memory takes every event");
    }
});
