//! Ports: children that are one end of a veth pair, for programs that read frames by AF_XDP. A port takes its place on
//! the master by a macvlan in the master's namespace, whose frames go on to the other end of the pair, the port's
//! *host end*, and back.
//!
//! The indexes of the two say that they are ours, and that they belong together: they differ in the last bit. The
//! kernel gives such indexes only to who asks for them, at the moment that a device is made, and never changes them.

/// The first index that a device of a port may have ("n" above), behind those of [flood devices](crate::flood).
pub const FIRST_INDEX: u32 = 0x6e00_0000;

/// How many numbers of ports there may be. 0 is none.
pub const NUMBERS: u32 = 1 << 22;

/// The first number of ports that take nothing from XDP: before Linux 5.13 a veth does so only while it has an XDP
/// program of its own (`veth_xdp_xmit` in drivers/net/veth.c).
pub const FIRST_WITHOUT_XDP: u32 = NUMBERS / 2;

/// Whether the port with this number takes what XDP on the master sends to it.
#[inline(always)]
pub const fn takes_redirected(number: u32) -> bool {
    number != 0 && number < FIRST_WITHOUT_XDP
}

/// Which of a port's two devices in the master's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The macvlan on the master.
    Macvlan,
    /// The end of the veth pair.
    HostEnd,
}

/// Index of one of the devices of the port with this number.
#[inline(always)]
pub const fn index_of(number: u32, half: Half) -> u32 {
    FIRST_INDEX + 2 * number + half as u32
}

/// The number of the port that a device of this index belongs to, and which of its devices it is.
#[inline(always)]
pub const fn port_of(index: u32) -> Option<(u32, Half)> {
    let number = index.wrapping_sub(FIRST_INDEX) / 2;
    if number == 0 || number >= NUMBERS {
        return None;
    }
    Some((number, if index & 1 == 0 { Half::Macvlan } else { Half::HostEnd }))
}

/// The index of the other device of a port.
#[inline(always)]
pub const fn other_half(index: u32) -> u32 {
    index ^ 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flood;

    #[test]
    fn both_devices_of_a_port_are_told_by_their_indexes() {
        for number in [1, 2, 77, NUMBERS - 1] {
            for half in [Half::Macvlan, Half::HostEnd] {
                let index = index_of(number, half);
                assert_eq!(port_of(index), Some((number, half)), "{index:#x}");
                assert_eq!(other_half(other_half(index)), index);
                assert!(!flood::is_index(index) && i32::try_from(index).is_ok(), "{index:#x}");
            }
            let other = other_half(index_of(number, Half::Macvlan));
            assert_eq!(other, index_of(number, Half::HostEnd));
        }
        for index in [0, 1, 7, FIRST_INDEX - 1, FIRST_INDEX, FIRST_INDEX + 1, u32::MAX] {
            assert_eq!(port_of(index), None, "{index:#x}");
        }
        assert_eq!(port_of(index_of(NUMBERS, Half::Macvlan)), None);
        assert!(!flood::is_index(FIRST_INDEX), "behind them");
    }
}
