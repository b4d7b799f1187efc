//! Versions of the specification that we speak.

use serde_json::{Map, Value};

use crate::error::{CniError, CniResult, code};

/// A version of the CNI specification; later ones compare greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.1.0: results with an address of either family.
    V0_1_0,
    /// 0.2.0: as 0.1.0.
    V0_2_0,
    /// 0.3.0: results with interfaces.
    V0_3_0,
    /// 0.3.1: as 0.3.0.
    V0_3_1,
    /// 0.4.0: CHECK.
    V0_4_0,
    /// 1.0.0: addresses do not tell their family any more.
    V1_0_0,
    /// 1.1.0: GC, STATUS, and more attributes of routes.
    V1_1_0,
}

impl Version {
    /// All of them, the oldest first.
    pub const ALL: [Self; 7] =
        [Self::V0_1_0, Self::V0_2_0, Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// The newest.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As `cniVersion` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version of this configuration; one that does not say is of 0.1.0 (CNI 0.2.0, "Network
    /// Configuration").
    ///
    /// # Errors
    ///
    /// Code 6 when it is no text, 1 when we do not speak it.
    pub fn of(config: &Map<String, Value>) -> CniResult<Self> {
        let asked = match config.get("cniVersion") {
            None => return Ok(Self::V0_1_0),
            Some(Value::String(text)) if text.is_empty() => return Ok(Self::V0_1_0),
            Some(Value::String(text)) => text,
            Some(other) => {
                let msg = format!("cniVersion must be a text, not {other}");
                return Err(CniError::new(code::DECODING_FAILURE, msg));
            }
        };
        let found = Self::ALL.into_iter().find(|version| version.as_str() == asked);
        found.ok_or_else(|| {
            let spoken = Self::ALL.map(Self::as_str).join(", ");
            CniError::new(code::INCOMPATIBLE_VERSION, "incompatible CNI versions")
                .with_details(format!("config is {asked:?}, plugin supports {spoken}"))
        })
    }

    /// Refuses a verb that came only with a later version, in the words of the reference plugins.
    ///
    /// # Errors
    ///
    /// Code 1.
    pub fn require(self, least: Self, verb: &str) -> CniResult<()> {
        if self < least {
            let msg = format!("config version does not allow {verb}");
            return Err(CniError::new(code::INCOMPATIBLE_VERSION, msg));
        }
        Ok(())
    }
}
