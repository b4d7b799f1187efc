//! What a driver says of itself (`SIOCETHTOOL`): its name and its offloads.

use std::{collections::BTreeMap, io, net::UdpSocket, os::fd::AsRawFd as _};

use anyhow::{Context as _, Result};

use crate::kernel::ifname::IfName;

/// Commands and the string set of features (`include/uapi/linux/ethtool.h`).
const GDRVINFO: u32 = 0x03;

const GSTRINGS: u32 = 0x1b;

const GSSET_INFO: u32 = 0x37;

const GFEATURES: u32 = 0x3a;

const STXCSUM: u32 = 0x17;

const SFEATURES: u32 = 0x3b;

/// Features by which a driver takes the tag of a VLAN off a frame before XDP sees it
/// (`netdev_features_strings` in net/ethtool/common.c).
const TAKE_TAGS_OFF: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];

const SGRO: u32 = 0x2c;

const SS_FEATURES: u32 = 4;

/// `ETH_GSTRING_LEN`.
const NAME_LEN: usize = 32;

/// More features than any kernel has; an answer that tells of more is not believed.
const MOST_FEATURES: u32 = 512;

/// `struct ethtool_drvinfo` up to the driver's name; 196 bytes in all.
const DRVINFO_LEN: usize = 196;

/// A way to ask about one device, in the network namespace of the thread that opened it.
pub struct Ethtool {
    socket: UdpSocket,
    name: IfName,
}

impl Ethtool {
    /// For the device of this name.
    ///
    /// # Errors
    ///
    /// When no socket can be opened.
    pub fn open(name: IfName) -> Result<Self> {
        // Any socket of the namespace will do; nothing is sent, so it need not reach anybody.
        let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"));
        Ok(Self { socket: socket.context("cannot open a socket")?, name })
    }

    /// The driver's name; `None` where it does not tell.
    pub fn driver(&self) -> Option<String> {
        let mut info = vec![0_u8; DRVINFO_LEN];
        self.ask(GDRVINFO, &mut info).ok()?;
        text(info.get(4..4 + NAME_LEN)?)
    }

    /// Every offload, and whether it is on.
    ///
    /// # Errors
    ///
    /// The device is gone, or its driver knows no such setting.
    pub fn offloads(&self) -> Result<BTreeMap<String, bool>> {
        let count = self.feature_count()?;
        let names = self.feature_names(count)?;
        let active = self.active_features(count)?;
        let on = |bit: usize| active.get(bit / 32).is_some_and(|word| word >> (bit % 32) & 1 == 1);
        Ok(names.into_iter().enumerate().filter_map(|(bit, name)| Some((name?, on(bit)))).collect())
    }

    /// Turns generic receive offload on or off.
    ///
    /// # Errors
    ///
    /// The device is gone, or its driver has no such setting.
    pub fn set_gro(&self, on: bool) -> Result<()> {
        self.set(SGRO, on).context("cannot set generic receive offload")
    }

    /// Turns checksums of sent packets by the device on or off: off, the kernel makes them before.
    ///
    /// # Errors
    ///
    /// The device is gone, or its driver has no such setting.
    pub fn set_tx_checksum(&self, on: bool) -> Result<()> {
        self.set(STXCSUM, on).context("cannot set checksum offload")
    }

    /// Whether the driver takes the tags of VLANs off frames before XDP sees them.
    ///
    /// # Errors
    ///
    /// The device is gone, or its driver knows no such setting.
    pub fn takes_tags_off(&self) -> Result<bool> {
        let offloads = self.offloads()?;
        Ok(TAKE_TAGS_OFF.iter().any(|name| offloads.get(*name).copied().unwrap_or_default()))
    }

    /// Leaves the tags of VLANs in frames.
    ///
    /// # Errors
    ///
    /// The device is gone, or its driver does not let it be.
    pub fn leave_tags(&self) -> Result<()> {
        let count = self.feature_count()?;
        // `struct ethtool_sfeatures`: command, number of blocks of two words each: what is meant, and what it becomes.
        let blocks = count.div_ceil(32) as usize;
        let mut features = vec![0_u8; 8 + blocks * 8];
        features[4..8].copy_from_slice(&(blocks as u32).to_ne_bytes());
        for (bit, name) in self.feature_names(count)?.into_iter().enumerate() {
            if name.is_some_and(|name| TAKE_TAGS_OFF.contains(&name.as_str())) {
                let at = 8 + bit / 32 * 8;
                let word = word(&features, at / 4).unwrap_or(0) | 1 << (bit % 32);
                features[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            }
        }
        self.ask(SFEATURES, &mut features).context("cannot leave the tags of VLANs in frames")
    }

    fn set(&self, command: u32, on: bool) -> io::Result<()> {
        // `struct ethtool_value`.
        let mut value = [0_u8; 8];
        value[4..].copy_from_slice(&u32::from(on).to_ne_bytes());
        self.ask(command, &mut value)
    }

    fn feature_count(&self) -> Result<u32> {
        // `struct ethtool_sset_info`: command, reserved, mask of sets, one length.
        let mut info = vec![0_u8; 20];
        info[8..16].copy_from_slice(&(1_u64 << SS_FEATURES).to_ne_bytes());
        self.ask(GSSET_INFO, &mut info).context("cannot count the offloads")?;
        Ok(word(&info, 4).unwrap_or(0).min(MOST_FEATURES))
    }

    fn feature_names(&self, count: u32) -> Result<Vec<Option<String>>> {
        // `struct ethtool_gstrings`: command, set, length, the names.
        let mut strings = vec![0_u8; 12 + count as usize * NAME_LEN];
        strings[4..8].copy_from_slice(&SS_FEATURES.to_ne_bytes());
        strings[8..12].copy_from_slice(&count.to_ne_bytes());
        self.ask(GSTRINGS, &mut strings).context("cannot list the offloads")?;
        Ok(strings[12..].chunks_exact(NAME_LEN).map(text).collect())
    }

    /// The active features, 32 in each word.
    fn active_features(&self, count: u32) -> Result<Vec<u32>> {
        // `struct ethtool_gfeatures`: command, number of blocks of four words each; the third is
        // what is active.
        let blocks = count.div_ceil(32);
        let mut features = vec![0_u8; 8 + blocks as usize * 16];
        features[4..8].copy_from_slice(&blocks.to_ne_bytes());
        self.ask(GFEATURES, &mut features).context("cannot read the offloads")?;
        Ok((0..blocks as usize).filter_map(|block| word(&features, 2 + block * 4 + 2)).collect())
    }

    /// Hands a command to the driver; `data` begins with room for it and is as long as it says.
    fn ask(&self, command: u32, data: &mut [u8]) -> io::Result<()> {
        const SIOCETHTOOL: libc::Ioctl = 0x8946;
        /// `struct ifreq`: the name, and a union whose pointer is used here.
        #[repr(C)]
        struct Ifreq {
            name: [u8; libc::IFNAMSIZ],
            data: *mut u8,
            rest: [u8; 16],
        }
        data[..4].copy_from_slice(&command.to_ne_bytes());
        let mut name = [0; libc::IFNAMSIZ];
        let bytes = self.name.as_str().as_bytes();
        name[..bytes.len()].copy_from_slice(bytes);
        let mut request = Ifreq { name, data: data.as_mut_ptr(), rest: [0; 16] };
        // SAFETY: the kernel reads a `struct ifreq`, and writes what the command's structure holds to
        // `data`, which the callers make as long as that with the counts they write into it.
        let done = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The word at this place, in words from the start.
fn word(bytes: &[u8], place: usize) -> Option<u32> {
    let bytes = bytes.get(place * 4..place * 4 + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// A name in a field that NUL bytes fill; `None` when it is empty.
fn text(field: &[u8]) -> Option<String> {
    let name = field.split(|byte| *byte == 0).next()?;
    let clean: String = String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).collect();
    (!clean.is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_tells_its_offloads() {
        let offloads = Ethtool::open("lo".parse().unwrap()).unwrap().offloads().unwrap();
        // `ethtool -k lo`: both fixed, whatever the machine.
        assert_eq!(offloads.get("loopback"), Some(&true), "{offloads:?}");
        assert_eq!(offloads.get("l2-fwd-offload"), Some(&false), "{offloads:?}");
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        let absent = Ethtool::open("no-such-device".parse().unwrap()).unwrap();
        assert_eq!(absent.driver(), None);
        assert!(format!("{:#}", absent.offloads().unwrap_err()).contains("No such device"));
    }

    #[test]
    fn a_name_ends_at_the_first_nul() {
        assert_eq!(text(b"rx-lro\0\0\0garbage").as_deref(), Some("rx-lro"));
        assert_eq!(text(b"evil\x1b[2J\0").as_deref(), Some("evil[2J"));
        assert_eq!(text(b"\0\0"), None);
    }
}
