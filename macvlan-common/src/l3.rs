//! ARP and IPv6 neighbour discovery, read from the head of a frame behind its MACs and
//! EtherType. Nothing here loops or indexes by what a sender wrote.

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// EtherType of a VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// EtherType of a service provider's VLAN tag (IEEE 802.1ad).
pub const SERVICE_VLAN: u16 = 0x88a8;

/// Bytes of an ARP packet for Ethernet and IPv4 (RFC 826).
pub const ARP_LEN: usize = 28;
/// Bytes of an IPv6 header and a neighbour solicitation or advertisement without options
/// (RFC 4861, 4.3 and 4.4).
pub const ND_LEN: usize = 64;

/// An IPv6 address, or an IPv4 address as IPv6 maps it (RFC 4291, 2.5.5.2); bytes in the order of
/// the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(C)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// No address: what is asked for or claimed by nobody.
    pub const NONE: Self = Self([0; 4]);

    /// An IPv4 address, of bytes in the order of the wire.
    #[inline(always)]
    pub const fn v4(bytes: [u8; 4]) -> Self {
        Self([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), u32::from_ne_bytes(bytes)])
    }

    /// An IPv6 address, of bytes in the order of the wire.
    #[inline(always)]
    pub const fn v6(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
            u32::from_ne_bytes([i, j, k, l]),
            u32::from_ne_bytes([m, n, o, p]),
        ])
    }

    /// Whether it is an address at all.
    #[inline(always)]
    pub const fn is_some(self) -> bool {
        let Self([a, b, c, d]) = self;
        a | b | c | d != 0
    }

    /// Whether the two are the same: word by word, as the programs have no `memcmp`.
    #[inline(always)]
    pub const fn is(self, other: Self) -> bool {
        let (Self([a, b, c, d]), Self([e, f, g, h])) = (self, other);
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) == 0
    }

    /// The address if a single host can have it, else [`NONE`](Self::NONE).
    #[inline(always)]
    const fn unicast_v6(self) -> Self {
        if self.0[0].to_ne_bytes()[0] == 0xff { Self::NONE } else { self }
    }

    /// As [`unicast_v6`](Self::unicast_v6), of IPv4: not 0.0.0.0/8, not 224.0.0.0/3.
    #[inline(always)]
    const fn unicast_v4(bytes: [u8; 4]) -> Self {
        if bytes[0] == 0 || bytes[0] >= 224 { Self::NONE } else { Self::v4(bytes) }
    }
}

/// How a sender speaks of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Word {
    /// It is the sender of a request for another one.
    #[default]
    Bare,
    /// It tells: gratuitous ARP, an ARP reply, a neighbour advertisement.
    Announced,
    /// It has nothing yet, and asks to find duplicates (RFC 5227, RFC 4862).
    Probe,
}

/// What a packet says about who has which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Neighbours {
    /// Whose MAC is asked for, also by a probe for duplicates. Not in an unsolicited announcement:
    /// gratuitous ARP, advertisements.
    pub asked: Address,
    /// The address that the sender claims.
    pub claimed: Address,
    /// How it claims it, or whether it is about to claim what it asks for.
    pub word: Word,
    /// Key of the MAC that the packet gives for the claimed address; 0 if it gives none.
    pub hardware: u64,
}

/// Reads an ARP packet: the [`ARP_LEN`] bytes behind the EtherType. What is no request or reply for
/// Ethernet and IPv4 says nothing.
#[inline(always)]
pub fn read_arp(bytes: &[u8; ARP_LEN]) -> Neighbours {
    // Hardware Ethernet, protocol IPv4, address lengths 6 and 4; operation 1 asks, 2 answers.
    let [0, 1, 8, 0, 6, 4, 0, operation @ (1 | 2), s0, s1, s2, s3, s4, s5, ..] = *bytes else {
        return Neighbours::default();
    };
    let [.., p0, p1, p2, p3, _, _, _, _, _, _, t0, t1, t2, t3] = *bytes;
    let (sender, target) = ([p0, p1, p2, p3], [t0, t1, t2, t3]);
    let is_question = operation == 1 && u32::from_ne_bytes(sender) != u32::from_ne_bytes(target);
    let word = match (is_question, u32::from_ne_bytes(sender)) {
        (true, 0) => Word::Probe,
        (true, _) => Word::Bare,
        (false, _) => Word::Announced,
    };
    Neighbours {
        asked: if is_question { Address::unicast_v4(target) } else { Address::NONE },
        claimed: Address::unicast_v4(sender),
        word,
        hardware: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, 0, 0]),
    }
}

/// Words of an IPv6 header with a neighbour solicitation or advertisement behind it.
pub type NdWords = [u32; ND_LEN / 4];

/// Reads IPv6 neighbour discovery: the [`ND_LEN`] bytes behind the EtherType, in words as they lie
/// in memory. Anything else says nothing, also discovery behind extension headers, which no host
/// sends.
#[inline(always)]
pub fn read_nd(words: &NdWords) -> Neighbours {
    const ICMPV6: u8 = 58;
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    let [w0, w1, s0, s1, s2, s3, d0, _, _, _, message, _, t0, t1, t2, t3] = *words;
    // RFC 4861, 7.1: a hop limit of 255, a code of 0.
    let [_, _, next, hops] = w1.to_ne_bytes();
    let [kind, code, _, _] = message.to_ne_bytes();
    let target = Address([t0, t1, t2, t3]).unicast_v6();
    if w0.to_ne_bytes()[0] >> 4 != 6 || next != ICMPV6 || hops != 255 || code != 0 || !target.is_some() {
        return Neighbours::default();
    }
    let source = Address([s0, s1, s2, s3]).unicast_v6();
    let to_group = d0.to_ne_bytes()[0] == 0xff;
    match kind {
        SOLICITATION if to_group => Neighbours {
            asked: if source.is(target) { Address::NONE } else { target },
            claimed: source,
            word: if source.is_some() { Word::Bare } else { Word::Probe },
            hardware: 0,
        },
        SOLICITATION => Neighbours { claimed: source, ..Neighbours::default() },
        ADVERTISEMENT => Neighbours { claimed: target, word: Word::Announced, ..Neighbours::default() },
        _ => Neighbours::default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{array::uniform4, array::uniform16, array::uniform28, prelude::*};

    use super::*;

    const SENDER: [u8; 4] = [10, 9, 0, 7];
    const TARGET: [u8; 4] = [10, 9, 0, 8];

    fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> [u8; ARP_LEN] {
        let mut bytes = [0; ARP_LEN];
        bytes[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
        bytes[8..14].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
        bytes[14..18].copy_from_slice(&sender);
        bytes[24..].copy_from_slice(&target);
        bytes
    }

    fn nd(kind: u8, src: [u8; 16], group: bool, target: [u8; 16]) -> NdWords {
        let mut bytes = [0; ND_LEN];
        bytes[0] = 0x60;
        bytes[5..8].copy_from_slice(&[24, 58, 255]);
        bytes[8..24].copy_from_slice(&src);
        bytes[24] = if group { 0xff } else { 0xfd };
        bytes[40] = kind;
        bytes[48..].copy_from_slice(&target);
        let mut words = [0; ND_LEN / 4];
        for (word, four) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes(four.try_into().unwrap());
        }
        words
    }

    fn v6(last: u8) -> [u8; 16] {
        [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
    }

    #[test]
    fn arp_asks_claims_and_probes() {
        let (sender, target) = (Address::v4(SENDER), Address::v4(TARGET));
        let hardware = 0x0700_0000_0002;
        let said = |asked, claimed, word| Neighbours { asked, claimed, word, hardware };
        assert_eq!(read_arp(&arp(1, SENDER, TARGET)), said(target, sender, Word::Bare));
        assert_eq!(read_arp(&arp(1, [0; 4], TARGET)), said(target, Address::NONE, Word::Probe));
        assert_eq!(
            read_arp(&arp(1, SENDER, SENDER)),
            said(Address::NONE, sender, Word::Announced),
            "gratuitous"
        );
        assert_eq!(
            read_arp(&arp(2, SENDER, TARGET)),
            said(Address::NONE, sender, Word::Announced),
            "an answer"
        );
        assert_eq!(read_arp(&arp(1, SENDER, [255; 4])), said(Address::NONE, sender, Word::Bare));
        assert_eq!(read_arp(&arp(3, SENDER, TARGET)), Neighbours::default(), "RARP");
    }

    #[test]
    fn discovery_asks_claims_and_probes() {
        let (source, target) = (Address::v6(v6(7)), Address::v6(v6(8)));
        let said = |asked, claimed, word| Neighbours { asked, claimed, word, hardware: 0 };
        assert_eq!(read_nd(&nd(135, v6(7), true, v6(8))), said(target, source, Word::Bare));
        assert_eq!(read_nd(&nd(135, [0; 16], true, v6(8))), said(target, Address::NONE, Word::Probe));
        assert_eq!(
            read_nd(&nd(135, v6(7), false, v6(8))),
            said(Address::NONE, source, Word::Bare),
            "unicast"
        );
        assert_eq!(read_nd(&nd(136, v6(7), true, v6(8))), said(Address::NONE, target, Word::Announced));
        assert_eq!(read_nd(&nd(134, v6(7), true, v6(8))), Neighbours::default(), "a router");
        let mut far = nd(135, v6(7), true, v6(8));
        far[1] = u32::from_ne_bytes([0, 24, 58, 254]);
        assert_eq!(read_nd(&far), Neighbours::default(), "routed");
    }

    proptest! {
        #[test]
        fn nobody_asks_for_or_claims_a_group(bytes in uniform28(any::<u8>()), operation in 1..=2_u8,
                                             sender in uniform4(any::<u8>()), target in uniform4(any::<u8>())) {
            read_arp(&bytes);
            let said = read_arp(&arp(operation, sender, target));
            for (address, bytes) in [(said.asked, target), (said.claimed, sender)] {
                prop_assert!(!address.is_some() || (1..224).contains(&bytes[0]));
                prop_assert!(!address.is_some() || address == Address::v4(bytes));
            }
        }

        #[test]
        fn discovery_takes_addresses_as_they_are(kind in 135..=136_u8, src in uniform16(any::<u8>()),
                                                 group: bool, target in uniform16(any::<u8>())) {
            let said = read_nd(&nd(kind, src, group, target));
            prop_assert!(!said.asked.is_some() || (said.asked == Address::v6(target) && group && kind == 135));
            let own = Address::v6(if kind == 135 { src } else { target });
            prop_assert!(!said.claimed.is_some() || said.claimed == own);
            prop_assert!(!(said.word == Word::Probe && said.claimed.is_some()));
        }
    }
}
