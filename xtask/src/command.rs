//! Running other programs: every one is shown before it starts, as a shell would take it.

use std::{
    borrow::Cow,
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// How often a program with a time limit is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Runs `command` and waits for it.
///
/// # Errors
/// It cannot be started, or does not exit with 0.
pub fn run(command: &mut Command) -> Result<()> {
    show(command);
    let status = command.status().with_context(|| cannot_run(command))?;
    succeeded(command, status)
}

/// As [`run`], with every line of the standard output shown to `look`, too.
///
/// # Errors
/// As [`run`], or the output cannot be read.
pub fn run_watched(command: &mut Command, mut look: impl FnMut(&str)) -> Result<()> {
    show(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| cannot_run(command))?;
    let output = child.stdout.take().with_context(|| cannot_run(command))?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| cannot_run(command))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        look(&line);
    }
    let status = child.wait().with_context(|| cannot_run(command))?;
    succeeded(command, status)
}

/// Runs `command`, and kills it when it takes longer than `limit`.
///
/// # Errors
/// As [`run`], or the time is over.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    show(command);
    let mut child = command.spawn().with_context(|| cannot_run(command))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().with_context(|| cannot_run(command))? {
            return succeeded(command, status);
        }
        if Instant::now() >= deadline {
            child.kill().with_context(|| cannot_run(command))?;
            child.wait().with_context(|| cannot_run(command))?;
            bail!("'{}' took longer than {} s", name(command), limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// Runs `command` and returns what it wrote to its standard output.
///
/// # Errors
/// As [`run`], or the output is not UTF-8.
pub fn read(command: &mut Command) -> Result<String> {
    show(command);
    read_again(command)
}

/// As [`read`], for a program that is asked again and again: it is not shown.
///
/// # Errors
/// As [`read`].
pub fn read_again(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| cannot_run(command))?;
    succeeded(command, output.status)?;
    String::from_utf8(output.stdout).with_context(|| format!("the output of '{}' is not text", name(command)))
}

/// Where `program` is, looked for in `PATH`.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// `cargo`, in the workspace at `root`.
#[must_use]
pub fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root);
    cargo
}

fn show(command: &Command) {
    eprintln!("+ {}", line(command));
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    ensure!(status.success(), "'{}' failed: {status}", name(command));
    Ok(())
}

fn cannot_run(command: &Command) -> String {
    format!("cannot run '{}'", name(command))
}

fn name(command: &Command) -> Cow<'_, str> {
    command.get_program().to_string_lossy()
}

/// The whole command, with what it adds to the environment in front.
fn line(command: &Command) -> String {
    let environment = command.get_envs().filter_map(|(variable, value)| {
        value.map(|value| format!("{}={}", variable.to_string_lossy(), quoted(value)))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    environment.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else if word.chars().any(char::is_control) {
        format!("$'{}'", word.chars().map(escaped).collect::<String>())
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `c` within `$'...'`.
fn escaped(c: char) -> String {
    match c {
        '\'' | '\\' => format!("\\{c}"),
        _ if c.is_ascii_control() => format!("\\x{:02x}", u32::from(c)),
        _ => c.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_given_to_a_shell() {
        let mut command = Command::new("cargo");
        command.args(["test", "--", "it's", ""]).env("FLAGS", "-a b").env_remove("HOME");
        assert_eq!(line(&command), r"FLAGS='-a b' cargo test -- 'it'\''s' ''");
    }

    #[test]
    fn control_characters_are_shown_escaped() {
        assert_eq!(quoted(OsStr::new("-a\u{1f}-b")), r"$'-a\x1f-b'");
    }

    #[test]
    fn a_program_that_fails_is_an_error() {
        assert_eq!(
            run(&mut Command::new("false")).unwrap_err().to_string(),
            "'false' failed: exit status: 1"
        );
    }

    #[test]
    fn a_program_over_its_time_is_ended() {
        let error = run_within(Command::new("sleep").arg("60"), Duration::from_secs(0)).unwrap_err();
        assert_eq!(error.to_string(), "'sleep' took longer than 0 s");
    }
}
