//! A frame in memory, with the world that it is in.

use std::collections::BTreeMap;

use super::{Fate, Taught, Way};
use crate::{
    counters::DropReason,
    l3::Address,
    mac::Mac,
    single_mac::{Bytes, Packet, Whose, arrive, leave, leave_option, may_concern, refusal},
};

/// A frame in memory, and who is who.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Its bytes.
    pub frame: Vec<u8>,
    /// The VLAN of a tag beside it.
    pub beside: u16,
    /// Keys of the children's MACs.
    pub children: Vec<u64>,
    /// Who has which address.
    pub holders: BTreeMap<(u32, Address), Whose>,
    /// Who asked for which address.
    pub probers: BTreeMap<(u32, Address), u64>,
    /// What was heard.
    pub taught: Vec<Taught>,
}

impl Memory {
    /// What becomes of the frame on this way, as the programs do it; `master` has the one MAC.
    pub fn judge(&mut self, way: Way, master: Mac) -> Fate {
        let key = |frame: &[u8], at: usize| {
            let mut octets = [0; 6];
            octets.copy_from_slice(&frame[at..at + 6]);
            Mac::new(octets).key()
        };
        let (dst, src) = (key(&self.frame, 0), key(&self.frame, 6));
        match way {
            Way::Out if src == master.key() => {}
            Way::Out if !self.children.contains(&src) => return Fate::Drop(DropReason::Stranger),
            Way::Out if dst == master.key() || self.children.contains(&dst) => {
                return Fate::Drop(DropReason::Isolated);
            }
            Way::Out => {
                if refusal(self).is_some() || !leave(self, src, master.key()) {
                    return Fate::Drop(DropReason::Foreign);
                }
            }
            Way::In if src == master.key() => return Fate::Drop(DropReason::Reflected),
            Way::In => {
                let kind = self.half(12).unwrap_or_default();
                if may_concern(dst, kind, master.key()) {
                    let whose = arrive(self, dst, master.key());
                    if whose != 0 {
                        self.frame[..6].copy_from_slice(&Mac::from_key(whose).octets());
                    }
                }
            }
        }
        Fate::Frame(self.frame.clone())
    }

    fn bytes(&self, at: u32, len: usize) -> Option<&[u8]> {
        self.frame.get(at as usize..(at as usize).checked_add(len)?)
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> bool {
        let at = at as usize;
        let Some(place) = self.frame.get_mut(at..at + bytes.len()) else { return false };
        place.copy_from_slice(bytes);
        true
    }

    /// As RFC 1624 has it: `HC' = ~(~HC + ~m + m')`.
    fn mend(&mut self, at: u32, old: &[u8], new: &[u8], is_udp: bool) -> bool {
        let Some(sum) = self.half(at) else { return false };
        if is_udp && sum == 0 {
            return true;
        }
        let words = |bytes: &[u8]| -> Vec<u16> {
            bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
        };
        let mut total = u64::from(!sum);
        total += words(old).into_iter().map(|word| u64::from(!word)).sum::<u64>();
        total += words(new).into_iter().map(u64::from).sum::<u64>();
        let mended = !fold(total);
        self.write(at, &(if is_udp && mended == 0 { 0xffff } else { mended }).to_be_bytes())
    }
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

impl Bytes for Memory {
    fn half(&self, at: u32) -> Option<u16> {
        self.bytes(at, 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]> {
        let bytes = self.bytes(at, 4 * N)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Some(words)
    }
}

impl Packet for Memory {
    fn vlan(&self) -> u16 {
        self.beside
    }

    fn is_child(&self, mac: u64) -> bool {
        self.children.contains(&mac)
    }

    fn whose(&self, vlan: u32, address: Address) -> Whose {
        self.holders.get(&(vlan, address)).copied().unwrap_or(Whose::NOBODY)
    }

    fn prober(&self, vlan: u32, address: Address) -> u64 {
        self.probers.get(&(vlan, address)).copied().unwrap_or_default()
    }

    fn probes(&mut self, vlan: u32, address: Address, mac: u64) {
        self.probers.insert((vlan, address), mac);
    }

    fn learn(&mut self, vlan: u32, address: Address, mac: u64, kind: u64) {
        self.taught.push((vlan, address, mac, kind));
    }

    fn put_mac(&mut self, at: u32, mac: u64) -> bool {
        self.write(at, &Mac::from_key(mac).octets())
    }

    fn put_option(&mut self, at: u32, old: [u32; 2], new: [u32; 2], checksum: u32) -> bool {
        let bytes = |words: [u32; 2]| words.map(u32::to_ne_bytes).concat();
        self.mend(checksum, &bytes(old), &bytes(new), false) && self.write(at, &bytes(new))
    }

    fn leave_option(&mut self, at: u32, checksum: u32, master: u64) -> u32 {
        leave_option(self, at, checksum, master)
    }

    fn put_half(&mut self, at: u32, old: u16, new: u16, checksum: u32) -> bool {
        self.mend(checksum, &old.to_be_bytes(), &new.to_be_bytes(), true)
            && self.write(at, &new.to_be_bytes())
    }
}

/// Whether the checksum of UDP or ICMPv6 in an untagged frame holds, from scratch; so too where there is none.
pub fn frame_checksums_hold(frame: &[u8]) -> bool {
    let Some(kind) = frame.get(12..14) else { return true };
    let packet = &frame[14..];
    let (pseudo, protocol, upper) = match kind {
        [8, 0] if packet.len() >= 20 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let is_fragment = packet[6] & 0x3f != 0 || packet[7] != 0;
            let end = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            match packet.get(header..end) {
                Some(upper) if !is_fragment => (packet[12..20].to_vec(), packet[9], upper),
                _ => return true,
            }
        }
        [0x86, 0xdd] if packet.len() >= 40 => {
            let end = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            match packet.get(40..end) {
                Some(upper) => (packet[8..40].to_vec(), packet[6], upper),
                None => return true,
            }
        }
        _ => return true,
    };
    let at = match protocol {
        17 => 6,
        58 => 2,
        _ => return true,
    };
    if upper.len() < 8 || (protocol == 17 && upper[at..at + 2] == [0, 0]) {
        return true;
    }
    let len = (upper.len() as u32).to_be_bytes();
    let bytes = [&pseudo[..], &len, &[0, 0, 0, protocol], upper, &[0][..upper.len() % 2]].concat();
    fold(bytes.chunks_exact(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()) == 0xffff
}
