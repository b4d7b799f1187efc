//! The configuration file.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use macvlan_core::config::Config;

fuzz_target!(|text: &str| {
    let path = Path::new("fuzz.toml");
    match Config::parse(text, path) {
        Ok(config) => assert_eq!(Config::parse(text, path).ok(), Some(config)),
        // One line that names the place, whatever the text has in it.
        Err(error) => {
            let line = format!("{error:#}");
            assert!(line.starts_with("fuzz.toml:") && !line.contains('\n'), "{line:?}");
        }
    }
});
