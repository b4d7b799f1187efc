//! A step, and what comes of steps.

use serde::Serialize;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// In words.
    pub text: String,
    /// Whether anything changes by it.
    pub changes: bool,
}

impl Step {
    pub(crate) fn change(text: impl Into<String>) -> Self {
        Self { text: text.into(), changes: true }
    }

    pub(crate) fn keep(text: impl Into<String>) -> Self {
        Self { text: text.into(), changes: false }
    }
}

/// What came of a command, as `-j` prints it.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// What was done or, in a dry run, would be; in words.
    pub steps: Vec<String>,
    /// What is less than what was asked for.
    pub warnings: Vec<String>,
    /// Settings that are not the default and are gone with what held them: "eth0: storm-limit 1000".
    pub forgotten: Vec<String>,
}

impl Outcome {
    /// These steps, and nothing to warn of.
    pub fn of(steps: Vec<Step>) -> Self {
        Self { steps: texts(steps), ..Self::default() }
    }
}

/// These steps, in words.
fn texts(steps: Vec<Step>) -> Vec<String> {
    steps.into_iter().map(|step| step.text).collect()
}
