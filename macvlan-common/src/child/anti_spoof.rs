//! How far a child is held to its addresses.

/// How far a child's frames are held to its own addresses; the stricter is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum AntiSpoof {
    /// Not at all.
    #[default]
    Off = 0,
    /// To its MAC.
    Mac = 1,
    /// To its MAC and its IP addresses.
    Ip = 2,
}

/// Every degree.
pub const ANTI_SPOOFS: [AntiSpoof; 3] = [AntiSpoof::Off, AntiSpoof::Mac, AntiSpoof::Ip];

impl AntiSpoof {
    /// Its name on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Mac => "mac",
            Self::Ip => "ip",
        }
    }
}
