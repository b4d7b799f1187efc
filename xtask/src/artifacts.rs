//! What a build by cargo has made, as its messages tell.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// A program that cargo has built.
#[derive(Debug, Eq, PartialEq)]
pub struct Executable {
    /// Its target's name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The directory of its package.
    pub package: PathBuf,
    /// Whether it runs tests.
    pub is_test: bool,
}

/// The programs that the output of `cargo ... --message-format=json` tells of.
///
/// # Errors
/// A line is no message.
pub fn executables(messages: &str) -> Result<Vec<Executable>> {
    let mut executables = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line).context("cannot understand cargo's messages")?;
        if let Some(path) = message.executable {
            let package = message.manifest_path.parent().unwrap_or(Path::new("")).to_owned();
            let is_test = message.profile.test;
            executables.push(Executable { name: message.target.name, path, package, is_test });
        }
    }
    Ok(executables)
}

/// The parts of interest; other messages than "compiler-artifact" have none of them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    executable: Option<PathBuf>,
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
}

#[derive(Default, Deserialize)]
struct Target {
    name: String,
}

#[derive(Default, Deserialize)]
struct Profile {
    test: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_libraries_and_other_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/p/lib/Cargo.toml","#,
            r#""target":{"name":"lib"},"profile":{"test":false},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/p/tool/Cargo.toml","#,
            r#""target":{"name":"tool"},"profile":{"test":true},"executable":"/t/tool"}"#,
            "\nsome other output\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let tool = Executable {
            name: "tool".into(),
            path: "/t/tool".into(),
            package: "/p/tool".into(),
            is_test: true,
        };
        assert_eq!(executables(messages).unwrap(), [tool]);
        assert!(executables("{").is_err());
    }
}
