//! Modes of macvlan devices.

/// Mode of a macvlan device, as the kernel numbers it (`enum macvlan_mode` in
/// `include/uapi/linux/if_link.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Nobody but the wire and the host.
    Private = 1,
    /// Siblings through an external reflective relay (IEEE 802.1Qbg).
    Vepa = 2,
    /// Siblings directly, inside the kernel.
    Bridge = 4,
    /// The only child; it takes over the master.
    Passthru = 8,
    /// Receives by the source MAC of the frame.
    Source = 16,
}

impl Mode {
    /// The mode that the kernel numbers so, `None` for a number it does not use.
    #[inline(always)]
    pub const fn from_kernel(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Private),
            2 => Some(Self::Vepa),
            4 => Some(Self::Bridge),
            8 => Some(Self::Passthru),
            16 => Some(Self::Source),
            _ => None,
        }
    }

    /// The kernel's number of this mode (`IFLA_MACVLAN_MODE`).
    pub const fn to_kernel(self) -> u32 {
        self as u32
    }

    /// The word that `ip link` uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Bridge => "bridge",
            Self::Passthru => "passthru",
            Self::Source => "source",
        }
    }

    /// Modes whose traffic with the host is turned around.
    #[inline(always)]
    pub const fn is_hairpinned(self) -> bool {
        matches!(self, Self::Bridge | Self::Private)
    }
}
