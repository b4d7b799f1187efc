//! Versions of the specification that we speak.

use serde::Deserialize;

use crate::error::{CniError, CniResult, code};

/// A version of the CNI specification; later ones compare greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
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
    pub const ALL: [Self; 5] = [Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// The newest.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As `cniVersion` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version of this configuration.
    ///
    /// # Errors
    ///
    /// Code 6 when it is no JSON object, 1 when we do not speak its version.
    pub fn of(input: &[u8]) -> CniResult<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Versioned {
            // Without one it is of 0.1.0 (CNI 0.2.0, "Network Configuration").
            #[serde(default = "oldest")]
            cni_version: String,
        }
        fn oldest() -> String {
            "0.1.0".to_owned()
        }
        // Of an array serde would take the elements for the fields.
        let input =
            Some(input).filter(|input| input.trim_ascii_start().starts_with(b"{")).unwrap_or_default();
        let parsed: Versioned = serde_json::from_slice(input).map_err(|error| {
            CniError::new(code::DECODING_FAILURE, "the configuration is no JSON object with a cniVersion")
                .with_details(error)
        })?;
        let found = Self::ALL.into_iter().find(|version| version.as_str() == parsed.cni_version);
        found.ok_or_else(|| {
            let spoken = Self::ALL.map(Self::as_str).join(", ");
            CniError::new(code::INCOMPATIBLE_VERSION, "incompatible CNI versions")
                .with_details(format!("config is {:?}, plugin supports {spoken}", parsed.cni_version))
        })
    }

    /// Refuses a verb that came only with a later version.
    ///
    /// # Errors
    ///
    /// Code 1.
    pub fn require(self, least: Self, verb: &str) -> CniResult<()> {
        if self < least {
            return Err(CniError::new(
                code::INCOMPATIBLE_VERSION,
                format!("cniVersion {:?} has no {verb}: it came with {:?}", self.as_str(), least.as_str()),
            ));
        }
        Ok(())
    }
}
