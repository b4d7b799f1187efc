//! A pcapng file of what a capture on the wire does not show: drops, and frames turned around.

use std::{borrow::Cow, io::Write};

use anyhow::{Context, Result};
use macvlan_common::trace::HEAD_LEN;
use pcap_file::{
    DataLink, PcapError,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
        },
    },
};

use crate::trace::event::Event;

/// Bytes of a frame in the file at most: what a record holds, and a tag.
pub const SNAP_LEN: u32 = HEAD_LEN as u32 + 4;

/// The file in the making.
pub struct Capture<W: Write> {
    writer: PcapNgWriter<W>,
}

impl<W: Write> Capture<W> {
    /// Writes what comes before the first frame of `master`.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn new(file: W, master: &str) -> Result<Self> {
        /// Times in the file count 10^-9 seconds.
        const NANOSECONDS: u8 = 9;
        let mut writer = PcapNgWriter::new(file).map_err(plain)?;
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: SNAP_LEN,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(master)),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        writer.write_pcapng_block(interface).map_err(plain)?;
        Ok(Self { writer })
    }

    /// Writes the frame, unless it is none that belongs here, with its verdict as comment.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn add(&mut self, event: &Event) -> Result<()> {
        if !event.is_out_of_sight() {
            return Ok(());
        }
        let comment = format!("{}: {}", event.hook, event.verdict);
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: event.since_1970,
            original_len: u32::try_from(event.len).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&event.head),
            options: vec![EnhancedPacketOption::Comment(comment.into())],
        };
        self.writer.write_pcapng_block(block).map_err(plain)?;
        Ok(())
    }

    /// Hands everything to whoever reads the file.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.writer.get_mut().flush().context("cannot write the capture")
    }
}

/// The error without the library's own words around it: a broken pipe stays one.
fn plain(error: PcapError) -> anyhow::Error {
    match error {
        PcapError::IoError(error) => error.into(),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use macvlan_common::mac::Mac;
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;

    fn event(reason: Option<&'static str>, is_turned: bool) -> Event {
        Event {
            time: 0.0,
            hook: "egress",
            action: "drop",
            reason,
            verdict: "drop isolated".into(),
            path: None,
            child: None,
            len: 1514,
            segments: 1,
            dst: Mac::BROADCAST,
            src: Mac::BROADCAST,
            wire_dst: None,
            wire_src: None,
            summary: String::new(),
            head: vec![7; 60],
            is_turned,
            since_1970: Duration::new(1, 23),
        }
    }

    #[test]
    fn drops_and_turned_frames_are_kept_with_length_time_and_comment() {
        let mut file = Vec::new();
        let mut capture = Capture::new(&mut file, "eth0").unwrap();
        capture.add(&event(None, false)).unwrap();
        capture.add(&event(Some("isolated"), false)).unwrap();
        capture.add(&event(None, true)).unwrap();

        let mut reader = PcapNgReader::new(&file[..]).unwrap();
        let mut packets = Vec::new();
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::EnhancedPacket(packet) => packets.push(packet.into_owned()),
                Block::InterfaceDescription(interface) => assert_eq!(interface.snaplen, SNAP_LEN),
                block => panic!("{block:?}"),
            }
        }
        assert_eq!(packets.len(), 2);
        let packet = &packets[0];
        assert_eq!((packet.original_len, packet.data.len()), (1514, 60));
        assert_eq!(packet.timestamp, Duration::new(1, 23));
        assert_eq!(packet.options, [EnhancedPacketOption::Comment("egress: drop isolated".into())]);
    }
}
