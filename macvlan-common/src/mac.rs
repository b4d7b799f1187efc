//! MAC addresses and the map key made of one.

use core::{fmt, str::FromStr};

/// An IEEE 802 48-bit MAC address, bytes in the order of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address with these bytes.
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The bytes, in the order of the wire.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The address as a map key: byte 0 lowest, the upper 16 bits zero.
    ///
    /// On a little-endian machine this is what a load of the six bytes gives, so the BPF
    /// programs build it without a swap.
    pub const fn key(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// The address whose [`key`](Self::key) this is; the upper 16 bits are ignored.
    pub const fn from_key(key: u64) -> Self {
        let [a, b, c, d, e, f, _, _] = key.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    /// Multicast or broadcast: the I/G bit (IEEE 802-2014, 8.2.2) is set.
    pub const fn is_group(self) -> bool {
        is_group(self.key())
    }

    /// Usable as a device's own address: neither group nor all-zero, as the kernel's
    /// `is_valid_ether_addr` has it.
    pub const fn is_assignable(self) -> bool {
        !self.is_group() && self.key() != 0
    }
}

/// Whether the address behind a [`Mac::key`] is multicast or broadcast.
#[inline(always)]
pub const fn is_group(key: u64) -> bool {
    key & 1 != 0
}

/// Whether the address behind a [`Mac::key`] is one of 01:80:c2:00:00:00 to :0f, whose frames no bridge
/// hands on: those of spanning tree, LACP, EAPOL, LLDP (IEEE 802.1Q-2022, table 8-1).
#[inline(always)]
pub const fn is_link_local_group(key: u64) -> bool {
    const FIRST: u64 = Mac([0x01, 0x80, 0xc2, 0, 0, 0]).key();
    const LAST: u64 = Mac([0x01, 0x80, 0xc2, 0, 0, 0x0f]).key();
    key & !(FIRST ^ LAST) == FIRST
}

/// Text that is not a MAC address in the form `aa:bb:cc:dd:ee:ff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseMacError;

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address of the form aa:bb:cc:dd:ee:ff")
    }
}

impl core::error::Error for ParseMacError {}

impl FromStr for Mac {
    type Err = ParseMacError;

    /// Six hexadecimal bytes with `:` or `-` between them.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().ok_or(ParseMacError)?;
            let is_hex = part.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_hex || part.is_empty() || part.len() > 2 {
                return Err(ParseMacError);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        match parts.next() {
            Some(_) => Err(ParseMacError),
            None => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn byte_zero_is_the_lowest_byte_of_the_key() {
        let mac = Mac::new([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);
        assert_eq!(mac.key(), 0x5544_3322_1102);
        assert!(!mac.is_group());
        assert!(Mac::BROADCAST.is_group());
        assert!(Mac::new([0x33, 0x33, 0, 0, 0, 1]).is_group());
        assert!(!Mac::new([0; 6]).is_assignable());
    }

    #[test]
    fn text_that_is_no_mac_is_refused() {
        for text in [
            "",
            "02",
            "02:00:00:00:00",
            "02:00:00:00:00:00:00",
            "02:00:00:00:00:0g",
            "+2:00:00:00:00:00",
            "002:0:0:0:0:0",
            "02-00:00-00:00-00",
            "02:00:00:00:00:",
            " 02:00:00:00:00:00",
            "é2:00:00:00:00:00",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(ParseMacError), "{text:?}");
        }
        assert_eq!("2-0-0-0-0-A".parse(), Ok(Mac::new([2, 0, 0, 0, 0, 10])));
    }

    proptest! {
        #[test]
        fn key_and_text_lose_nothing(bytes: [u8; 6]) {
            let mac = Mac::new(bytes);
            prop_assert_eq!(Mac::from_key(mac.key()), mac);
            prop_assert_eq!(mac.to_string().parse::<Mac>(), Ok(mac));
        }

        #[test]
        fn any_text_parses_or_is_refused_without_a_panic(text: String) {
            let _ = text.parse::<Mac>();
        }
    }
}
