//! What an attach leaves for later commands, kept in a pinned map: it cannot outlive, or be
//! missing from, what it speaks of.

use anyhow::{Context, Result};
use macvlan_common::ABI_VERSION;
use serde::{Deserialize, Serialize};

use crate::{
    datapath::bpf::object,
    model::{
        description::{Degraded, Demux, Hairpin},
        options::OptionValues,
    },
};

/// What the record of every version has under these names, so that a data path can be told apart and
/// taken off by a version that understands nothing else of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Lasting {
    /// Layout of the maps.
    pub abi: u32,
    /// A clsact qdisc goes with it.
    #[serde(default)]
    pub owns_clsact: bool,
}

impl Lasting {
    /// Reads the record of whatever version.
    ///
    /// # Errors
    ///
    /// When it is not such a text.
    pub fn from_text(text: &str) -> Result<Self> {
        serde_json::from_str(text).context(UNREADABLE)
    }

    /// The maps are laid out as this program lays them out.
    pub fn is_compatible(&self) -> bool {
        self.abi == ABI_VERSION
    }
}

const UNREADABLE: &str = "the record of the last attach cannot be read";

/// The record of one attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Layout of the maps.
    pub abi: u32,
    /// SHA-256 of the object that the programs came from; with [`TRACED`] behind it from before
    /// they are replaced by their traced twins until they are back.
    pub object: String,
    /// What was asked for.
    #[serde(flatten)]
    pub options: OptionValues,
    /// Where frames are demultiplexed.
    pub demux: Demux,
    /// How frames are turned around.
    pub hairpin: Hairpin,
    /// We added the clsact qdisc.
    pub owns_clsact: bool,
    /// Inode number of the master's namespace, by which earlier versions see that it is gone.
    pub netns_inode: u64,
    /// What is less than the best.
    pub degraded: Vec<Degraded>,
    /// Its programs are those for a wire that carries one MAC.
    #[serde(default)]
    pub single: bool,
    /// No program of ours is at TC ingress of the master, or it is on its way there or from there.
    #[serde(default)]
    pub lean: bool,
    /// The flood device that was made, in use or not.
    #[serde(default)]
    pub flood: Option<Flood>,
    /// Children that we made are marked, as far as it knows them.
    #[serde(default)]
    pub marks: bool,
}

/// A flood device that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flood {
    /// Its index.
    pub index: u32,
    /// SHA-256 of the object that its programs came from.
    pub object: String,
}

impl Record {
    /// Reads what [`to_text`](Self::to_text) wrote.
    ///
    /// # Errors
    ///
    /// When it is not such a text.
    pub fn from_text(text: &str) -> Result<Self> {
        serde_json::from_str(text).context(UNREADABLE)
    }

    /// The record as text. Reasons are cut so that it fits its map.
    ///
    /// # Errors
    ///
    /// Never, for a record that was made here.
    pub fn to_text(&self) -> Result<String> {
        const LONGEST_REASON: usize = 300;
        let mut record = self.clone();
        for degraded in &mut record.degraded {
            if let Some((cut, _)) = degraded.reason.char_indices().nth(LONGEST_REASON) {
                degraded.reason.truncate(cut);
            }
        }
        Ok(serde_json::to_string(&record)?)
    }

    /// Its programs are those of this program, and not traced.
    pub fn is_current(&self) -> bool {
        self.object == object::digest()
    }

    /// Some of its programs may be traced.
    pub fn is_traced(&self) -> bool {
        self.object.ends_with(TRACED)
    }

    /// Its programs are those of this program, traced or not.
    pub fn is_of_this_version(&self) -> bool {
        self.object.strip_suffix(TRACED).unwrap_or(&self.object) == object::digest()
    }
}

/// Behind the object while its programs are replaced by those of another kind of wire: whoever finds it then replaces
/// them all.
pub const CHANGING: &str = "+changing";

/// Tells traced programs apart: a version that knows nothing of them takes them for foreign, and
/// replaces them too.
pub const TRACED: &str = "+trace";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::options::StormLimit;

    #[test]
    fn what_lasts_is_read_of_a_record_that_nothing_else_is_known_of() {
        let known = |text: &str| Lasting::from_text(text).ok();
        let foreign = Lasting { abi: 9, owns_clsact: true };
        assert_eq!(known(r#"{"abi": 9, "owns_clsact": true, "new": []}"#), Some(foreign));
        assert_eq!(known(r#"{"abi": 9}"#), Some(Lasting { abi: 9, owns_clsact: false }));
        assert_eq!(known("{}"), None);
        assert_eq!(known(r#"{"abi": -1}"#), None);
    }

    #[test]
    fn a_record_of_ours_has_what_lasts() {
        let record = Record {
            abi: ABI_VERSION,
            object: object::digest(),
            options: OptionValues { storm_limit: StormLimit::of(100).unwrap(), ..OptionValues::default() },
            demux: Demux::Tc,
            hairpin: Hairpin::Clsact,
            owns_clsact: true,
            netns_inode: 1,
            degraded: Vec::new(),
            single: false,
            lean: false,
            flood: None,
            marks: true,
        };
        let text = record.to_text().unwrap();
        let lasting = Lasting::from_text(&text).unwrap();
        assert!(lasting.is_compatible() && lasting.owns_clsact);
        assert_eq!(Record::from_text(&text).unwrap(), record);
    }

    #[test]
    fn a_record_is_read_that_was_written_with_options_of_its_own() {
        let text = format!(
            r#"{{"abi":{ABI_VERSION},"object":"x","xdp":"off","tc":"tcx","adopts":false,"drop_unknown":"on",
            "vepa_switch":true,"directs":false,"storm_limit":100,"demux":"tc","hairpin":"tcx",
            "owns_clsact":false,"netns_inode":1,"degraded":[]}}"#
        );
        let options = Record::from_text(&text).unwrap().options;
        let words = "xdp off, tc tcx, adopt off, directed-neigh off, storm-limit 100, drop-unknown on, vepa-switch on";
        assert_eq!(options.unusual().join(", "), words);
    }
}
