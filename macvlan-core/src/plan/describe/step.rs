//! A step, and what comes of steps.

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

/// What came of a command.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is less than what was asked for.
    pub warnings: Vec<String>,
    /// What was done or, in a dry run, would be; in words.
    pub steps: Vec<String>,
}

impl Outcome {
    /// These steps, and nothing to warn of.
    pub fn of(steps: Vec<Step>) -> Self {
        Self { warnings: Vec::new(), steps: texts(steps) }
    }
}

/// These steps, in words.
pub fn texts(steps: Vec<Step>) -> Vec<String> {
    steps.into_iter().map(|step| step.text).collect()
}
