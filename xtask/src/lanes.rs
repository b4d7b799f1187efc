//! Test programs side by side. Most of the time a test waits for what is not to come; and one long program would keep
//! all others waiting.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    process::{Command, ExitStatus},
    sync::{Mutex, PoisonError},
    thread::{self, ScopedJoinHandle},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use crate::artifacts::Executable;

/// Programs that run at a time.
const LANES: usize = 2;

/// What became of the programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Programs that failed.
    pub programs: BTreeSet<String>,
    /// Their tests that did; none of a program that ended before it could say so.
    pub tests: BTreeSet<String>,
}

impl Outcome {
    /// Takes notice of what a program printed, and how it ended.
    fn note(&mut self, program: &str, output: &str, status: ExitStatus) {
        if status.success() {
            return;
        }
        let failed: Vec<String> = output.lines().filter_map(failed_test).collect();
        if failed.is_empty() {
            self.programs.insert(format!("{program} ({status})"));
        } else {
            self.programs.insert(program.to_owned());
        }
        self.tests.extend(failed);
    }

    /// Whether every program that failed has told of a test.
    pub fn is_told(&self) -> bool {
        !self.programs.iter().any(|program| program.ends_with(')'))
    }
}

/// Runs test programs, each as `prepare` has it, and shows what each printed when it ends.
///
/// # Errors
/// A program cannot be started, or its output cannot be read.
pub fn run(programs: Vec<Executable>, prepare: impl Fn(&Executable) -> Command + Sync) -> Result<Outcome> {
    let (waiting, outcome) = (Mutex::new(VecDeque::from(programs)), Mutex::new(Outcome::default()));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let lane = || -> Result<()> {
        while let Some(program) = next() {
            let started = Instant::now();
            let (output, status) = output_of(prepare(&program))
                .with_context(|| format!("cannot run '{}'", program.path.display()))?;
            let text = String::from_utf8_lossy(&output);
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            let took = started.elapsed().as_secs_f64();
            println!("\n     Running {} ({took:.1} s)\n{text}", program.name);
            io::stdout().flush()?;
            outcome.note(&program.name, &text, status);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        let mut ended = lanes.into_iter().map(ScopedJoinHandle::join);
        ended.try_for_each(|end| end.unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
    })?;
    Ok(outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What a program prints on both outputs, in its order, and how it ends. A file: a pipe would be held open by what the
/// program leaves running.
fn output_of(mut command: Command) -> Result<(Vec<u8>, ExitStatus)> {
    let mut file: File = tempfile::tempfile()?;
    let status = command.stdout(file.try_clone()?).stderr(file.try_clone()?).status()?;
    let mut output = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut output)?;
    Ok((output, status))
}

/// The test that a line of a test program's output says has failed.
pub fn failed_test(line: &str) -> Option<String> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned)
}

/// Refuses an outcome with failures.
///
/// # Errors
/// A program failed.
pub fn require_success(outcome: &Outcome) -> Result<()> {
    let names = outcome.programs.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    ensure!(outcome.programs.is_empty(), "failed: {names}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn program(name: &str) -> Executable {
        Executable {
            name: name.into(),
            path: PathBuf::from(name),
            package: PathBuf::from("/"),
            is_test: true,
        }
    }

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn every_program_runs_and_those_that_fail_are_told() {
        let programs = ["good", "bad", "dead", "also-good"].map(program).into();
        let outcome = run(programs, |program| match &*program.name {
            "bad" => shell("echo 'test a::b ... FAILED'; echo 'test c ... ok'; exit 101"),
            "dead" => shell("kill -9 $$"),
            _ => shell("echo 'test x ... FAILED (not)'"),
        });
        let outcome = outcome.unwrap();
        assert_eq!(outcome.tests, BTreeSet::from(["a::b".to_owned()]));
        assert_eq!(outcome.programs.len(), 2, "{outcome:?}");
        assert!(!outcome.is_told() && require_success(&outcome).is_err());
        let passed = run(vec![program("good")], |_| shell("true")).unwrap();
        assert!(passed.is_told() && require_success(&passed).is_ok());
    }

    #[test]
    fn what_failed_is_read_of_the_output() {
        assert_eq!(failed_test("test a::b_c ... FAILED"), Some("a::b_c".to_owned()));
        for line in
            ["test a ... ok", "test result: FAILED. 1 passed; 1 failed;", "    a", "---- a stdout ----"]
        {
            assert_eq!(failed_test(line), None, "{line}");
        }
    }
}
