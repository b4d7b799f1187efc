//! What the command line takes for a child, and the names in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use macvlan_common::{group::GroupName, mac::Mac};
use macvlan_core::{
    kernel::{ifname::IfName, netns::NetnsRef},
    model::spec::ChildSpec,
};

fuzz_target!(|text: &str| {
    let _ = text.parse::<ChildSpec>();
    if let Ok(name) = text.parse::<IfName>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(name) = text.parse::<GroupName>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(mac) = text.parse::<Mac>() {
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }
    if let Ok(netns) = text.parse::<NetnsRef>() {
        assert!(netns.to_string().parse::<NetnsRef>().is_ok(), "{netns}");
    }
});
