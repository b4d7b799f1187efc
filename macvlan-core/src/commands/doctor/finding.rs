//! What a check says.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Worth knowing, or not to be told.
    Note,
    /// It works, but with less than there could be.
    Warning,
    /// Something does not work.
    Problem,
}

impl Status {
    /// Every status, the best first.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Note, Self::Warning, Self::Problem];

    /// Its name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One answer, as `doctor -j` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a word that stays the same from version to version.
    pub check: String,
    /// How bad it is.
    pub status: Status,
    /// What is there.
    pub found: String,
    /// Why it matters.
    pub reason: String,
    /// What to do about it, where there is something.
    pub remedy: Option<String>,
    /// The device it is about; absent where it is about the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
}

impl Finding {
    /// A finding about the machine, without a remedy.
    pub fn new(
        status: Status,
        check: impl Into<String>,
        found: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            check: check.into(),
            status,
            found: found.into(),
            reason: reason.into(),
            remedy: None,
            ifname: None,
        }
    }

    /// With something to do about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// About a device.
    #[must_use]
    pub fn on(self, ifname: &str) -> Self {
        Self { ifname: Some(ifname.to_owned()), ..self }
    }
}
