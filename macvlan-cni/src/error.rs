//! Errors as the CNI specification wants them: a code, one line, and details where there are any.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Codes of the specification ("Error", CNI 1.1.0), and two of our own, which start at 100.
pub mod code {
    /// The configuration is of a version that we do not speak.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// The configuration has a field that we do not support; the message has its key and its value.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container does not exist: nothing of it needs to be cleaned up.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A variable of the environment is missing or invalid.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Reading or writing failed.
    pub const IO_FAILURE: u32 = 5;
    /// What was to be JSON is none.
    pub const DECODING_FAILURE: u32 = 6;
    /// The network configuration is invalid.
    pub const INVALID_CONFIG: u32 = 7;
    /// A condition that may pass.
    pub const TRY_AGAIN: u32 = 11;
    /// No ADD can be served.
    pub const NOT_AVAILABLE: u32 = 50;
    /// No ADD can be served, and containers that are there may have lost their connectivity.
    pub const LIMITED_CONNECTIVITY: u32 = 51;
    /// The kernel refused, or the container is not as the last ADD left it.
    pub const FAILED: u32 = 100;
    /// Somebody else has the address that the container was to get.
    pub const DUPLICATE_ADDRESS: u32 = 101;
}

/// What a verb answers when it fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniError {
    /// See [`code`].
    pub code: u32,
    /// One line for people.
    pub msg: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// What verbs and their parts give back.
pub type CniResult<T> = Result<T, CniError>;

impl CniError {
    /// An error without details.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// Itself, with what led to it.
    pub fn with_details(self, details: impl fmt::Display) -> Self {
        Self { details: details.to_string(), ..self }
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.details.as_str() {
            "" => f.write_str(&self.msg),
            details => write!(f, "{}: {details}", self.msg),
        }
    }
}

impl std::error::Error for CniError {}

impl From<anyhow::Error> for CniError {
    fn from(error: anyhow::Error) -> Self {
        Self::new(code::FAILED, format!("{error:#}"))
    }
}
