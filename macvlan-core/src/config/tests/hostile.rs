//! Texts and files that mean no good.

use std::{
    fs,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use crate::config::tests::*;

#[test]
fn hostile_texts_are_refused_quickly() {
    // Far more than any takes, in a debug build on a busy machine.
    const LONGEST: Duration = Duration::from_secs(30);
    let largest = usize::try_from(LARGEST).unwrap();
    let fill = |text: &str| text.repeat(largest / text.len());
    for text in [
        format!("a = {}", fill("[")),
        format!("a = {}", fill("{a=")),
        fill("["),
        fill("a."),
        format!("{} = 1", "a.".repeat(largest / 4)),
        format!("[{}", fill("a.")),
        format!("a = {}", fill("1")),
        fill("=\n"),
        fill("\""),
        fill("\u{feff}"),
        (0..largest / 12).map(|n| format!("k{n} = 1\n")).collect(),
    ] {
        let start = Instant::now();
        refused(&text);
        assert!(start.elapsed() < LONGEST, "{:?}: {:.40}", start.elapsed(), text);
    }
}

#[test]
fn files_that_are_none_are_refused() {
    let directory = std::env::temp_dir().join(format!("macvlan-ctl-config-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("x.toml");
    let read = |path: &Path| format!("{:#}", Config::read(path).unwrap_err());
    let quoted = format!("{path:?}");

    assert!(read(&path).contains(&format!("{quoted}: no such file or directory")));
    assert!(read(&directory).contains("not a regular file"));
    assert!(read(Path::new("/dev/zero")).contains("not a regular file"));
    fs::write(&path, b"\n\xff\xfe").unwrap();
    assert!(read(&path).ends_with("x.toml:2: this is not UTF-8 text"));
    fs::write(&path, vec![b' '; usize::try_from(LARGEST).unwrap() + 1]).unwrap();
    assert!(read(&path).contains("larger than 1048576 bytes"));
    fs::write(&path, vec![b'\n'; usize::try_from(LARGEST).unwrap()]).unwrap();
    assert_eq!(Config::read(&path).unwrap(), Config::default());

    fs::remove_dir_all(&directory).unwrap();
}

proptest! {
    #[test]
    fn any_text_is_understood_or_refused_in_one_line(text: String) {
        if let Err(error) = parse(&text) {
            let message = format!("{error:#}");
            prop_assert!(message.starts_with("/etc/x.toml:"), "{}", message);
            prop_assert_eq!(message.lines().count(), 1);
        }
    }

    #[test]
    fn a_damaged_file_is_understood_or_refused_in_one_line(
        at in 0..2000_usize, len in 0..40_usize, put in "[\\[\\]{}=\"',.#a-z0-9\n -]{0,10}",
    ) {
        let mut text = include_str!("../../../../deploy/config.toml").replace("\n#", "\n");
        // Comments with words would never be understood: keep keys and tables.
        text = text.lines().filter(|line| !line.starts_with(' ')).map(|line| format!("{line}\n")).collect();
        let at = at.min(text.len());
        text.replace_range(at..(at + len).min(text.len()), &put);
        if let Err(error) = parse(&text) {
            let message = format!("{error:#}");
            prop_assert!(message.starts_with("/etc/x.toml:"), "{}", message);
            prop_assert_eq!(message.lines().count(), 1);
        }
    }

    /// The line that is told is the line of the mistake, wherever it stands.
    #[test]
    fn a_mistake_is_told_with_its_line(before in 0..50_usize, after in 0..50_usize) {
        let text = format!("{}moster = 1{}", "# x\n".repeat(before), "\n# y".repeat(after));
        let wanted = format!("/etc/x.toml:{}: unknown key \"moster\"; did you mean \"master\"?", before + 1);
        prop_assert_eq!(refused(&text), wanted);
    }
}
