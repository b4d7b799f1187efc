//! One frame, as a line for people and as JSON.

use std::{collections::BTreeMap, fmt, time::Duration};

use macvlan_common::{
    counters::{DropReason, FloodOrigin, Path},
    mac::Mac,
    trace::{FrameRecord, Judgement, Point},
    verdict::{Action, Total},
};
use macvlan_core::model::child::{Child, mac_text};
use serde::Serialize;

use crate::trace::decode::summary;

/// One judged frame, as `trace -j` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Seconds since 1970.
    pub time: f64,
    /// Where it was judged: "xdp", "ingress" or "egress".
    pub hook: &'static str,
    /// "pass", "drop", "hairpin", "copy" (the frame went on, a copy was turned around) or "hide" (from
    /// the host's own protocols).
    pub action: &'static str,
    /// Why it was dropped.
    pub reason: Option<&'static str>,
    /// Action and reason, or who sent it to whom.
    pub verdict: String,
    /// The path on which a child was charged.
    pub path: Option<&'static str>,
    /// The child that sent it or, sent by none, that is to receive it.
    pub child: Option<String>,
    /// Bytes, with tag.
    pub len: u64,
    /// Frames on the wire that it stands for.
    pub segments: u32,
    /// Destination MAC.
    #[serde(serialize_with = "mac_text")]
    pub dst: Mac,
    /// Source MAC.
    #[serde(serialize_with = "mac_text")]
    pub src: Mac,
    /// Destination MAC on a wire that carries one MAC, where it is another one.
    #[serde(serialize_with = "mac_if_any")]
    pub wire_dst: Option<Mac>,
    /// Source MAC on such a wire, where it is another one.
    #[serde(serialize_with = "mac_if_any")]
    pub wire_src: Option<Mac>,
    /// What is in it.
    pub summary: String,
    /// Its beginning, in hexadecimal.
    #[serde(serialize_with = "hex")]
    pub head: Vec<u8>,
    /// The frame or a copy of it was turned around.
    #[serde(skip)]
    pub is_turned: bool,
    /// Since 1970.
    #[serde(skip)]
    pub since_1970: Duration,
}

/// Who has which MAC.
#[derive(Debug)]
pub struct Names {
    master: Mac,
    children: BTreeMap<Mac, String>,
    is_single: bool,
}

impl Names {
    /// Those of the master and its children, which speak with its MAC on the wire if `is_single`.
    pub fn new(master: Mac, children: &[Child], is_single: bool) -> Self {
        let children = children.iter().map(|child| (child.mac, child.name.clone())).collect();
        Self { master, children, is_single }
    }

    /// The MACs that a frame has on a wire that carries one, destination first, where these are other ones. Records hold
    /// frames as they are here: sent, before they are rewritten; received, after.
    fn on_wire(&self, judgement: Judgement, dst: Mac, src: Mac) -> [Option<Mac>; 2] {
        let is_child = |mac| self.children.contains_key(&mac);
        let leaves = judgement.action != Action::Turn && judgement.action.drop_reason().is_none();
        let master = Some(self.master).filter(|_| self.is_single);
        match judgement.hook {
            Point::Egress => [None, master.filter(|_| leaves && is_child(src))],
            Point::Ingress => [master.filter(|_| is_child(dst) && !is_child(src)), None],
            Point::Xdp => [None, None],
        }
    }
}

impl Event {
    /// What a record tells; `None` for one that no program writes. `booted` is counted from 1970.
    pub fn new(record: &FrameRecord, names: &Names, booted: Duration) -> Option<Self> {
        let judgement = Judgement::decode(record.judgement)?;
        let head = whole_head(record)?;
        let (dst, src) = (mac_at(&head, 0)?, mac_at(&head, 6)?);
        let since_1970 = booted.saturating_add(Duration::from_nanos(record.time));
        let tag_len = if record.tag == 0 { 0 } else { TAG_LEN as u64 };
        let [wire_dst, wire_src] = names.on_wire(judgement, dst, src);
        let child = names.children.get(&src).or_else(|| names.children.get(&dst));
        Some(Self {
            time: since_1970.as_secs_f64(),
            hook: judgement.hook.as_str(),
            action: judgement.action.fate().as_str(),
            reason: judgement.action.drop_reason().map(DropReason::as_str),
            verdict: verdict(judgement, src == names.master, dst == names.master),
            path: judgement.path.map(Path::as_str),
            child: child.cloned(),
            len: u64::from(record.len) + tag_len,
            segments: record.segments.max(1),
            dst,
            src,
            wire_dst,
            wire_src,
            summary: summary(&head),
            head,
            is_turned: judgement.action.hairpin().is_some(),
            since_1970,
        })
    }

    /// Dropped, or turned around: what a capture on the wire does not show.
    pub fn is_out_of_sight(&self) -> bool {
        self.reason.is_some() || self.is_turned
    }
}

/// Time (of day, UTC), hook, verdict, child, length, frame.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.since_1970.as_secs() % 86_400, self.since_1970.subsec_micros());
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        // A container chooses its device's name: nothing in it may steer the terminal.
        let child = self.child.as_deref().unwrap_or("-").escape_debug();
        write!(
            f,
            "{hours:02}:{minutes:02}:{seconds:02}.{micros:06} {:<7} {:<20} {child} {}",
            self.hook, self.verdict, self.len
        )?;
        if self.segments > 1 {
            write!(f, " ({} segments)", self.segments)?;
        }
        let on_wire = |mac: Option<Mac>| mac.map(|mac| format!(" ({mac} on the wire)")).unwrap_or_default();
        let (src, dst) = (on_wire(self.wire_src), on_wire(self.wire_dst));
        write!(f, " {}{src} > {}{dst} {}", self.src, self.dst, self.summary)
    }
}

/// Bytes of an 802.1Q tag, and of the MACs before it.
const TAG_LEN: usize = 4;

const MACS_LEN: usize = 12;

/// The beginning of the frame with the tag in its place.
fn whole_head(record: &FrameRecord) -> Option<Vec<u8>> {
    let mut head = record.head.get(..record.captured as usize)?.to_vec();
    if record.tag != 0 && head.len() >= MACS_LEN {
        head.splice(MACS_LEN..MACS_LEN, record.tag.to_be_bytes());
    }
    Some(head)
}

fn mac_at(head: &[u8], at: usize) -> Option<Mac> {
    Some(Mac::new(head.get(at..at + 6)?.try_into().ok()?))
}

fn verdict(judgement: Judgement, from_host: bool, to_host: bool) -> String {
    let verb = judgement.action.fate().as_str();
    if let Some(reason) = judgement.action.drop_reason() {
        return format!("{verb} {}", reason.as_str());
    }
    let outwards = judgement.hook == Point::Egress;
    let (from, to) = match (judgement.action, judgement.path, judgement.total) {
        (Action::HideFromHost, ..) => return "hide from host".into(),
        (Action::Turn, Some(Path::Sibling), _) => ("child", "child"),
        (Action::Turn, ..) if from_host => ("host", "child"),
        (Action::Turn, ..) => ("child", "host"),
        (Action::CopyToChildren, Some(_), _) => ("child", "children"),
        (Action::CopyToChildren, ..) => ("host", "children"),
        (Action::CopyToAll, ..) => ("child", "host and children"),
        (Action::CopyBroadcastToHost | Action::CopyMulticastToHost, ..) => ("child", "host"),
        (_, Some(Path::Sibling), _) => ("child", "child"),
        (_, _, Some(Total::UnknownUnicast)) => ("wire", "unknown"),
        (_, _, Some(Total::Flood(FloodOrigin::Wire))) => ("wire", "all"),
        (_, _, Some(Total::Flood(FloodOrigin::Host))) => ("host", "all"),
        (_, _, Some(Total::Flood(FloodOrigin::Child))) => ("child", "all"),
        (_, Some(_), _) if outwards => ("child", "wire"),
        (_, Some(_), _) => ("wire", "child"),
        (_, None, None) if outwards && from_host => ("host", "wire"),
        (_, None, None) if outwards => ("unknown", "wire"),
        (_, None, None) if to_host => ("wire", "host"),
        (_, None, None) => ("wire", "unknown"),
    };
    format!("{verb} {from}->{to}")
}

fn mac_if_any<S: serde::Serializer>(mac: &Option<Mac>, serializer: S) -> Result<S::Ok, S::Error> {
    match mac {
        Some(mac) => serializer.collect_str(mac),
        None => serializer.serialize_none(),
    }
}

fn hex<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    serializer.serialize_str(&text)
}

#[cfg(test)]
mod tests {
    use macvlan_common::{decide::decide, frame::Hook, trace::HEAD_LEN, verdict::Verdict};
    use proptest::prelude::*;

    use super::*;

    const HOST: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
    const WEB: Mac = Mac::new([2, 0, 0, 0, 1, 1]);

    fn names() -> Names {
        Names { master: HOST, children: [(WEB, "web".to_owned())].into(), is_single: false }
    }

    fn record(dst: Mac, src: Mac, judgement: u32) -> FrameRecord {
        let mut head = [0; HEAD_LEN];
        head[..6].copy_from_slice(&dst.octets());
        head[6..12].copy_from_slice(&src.octets());
        head[12..14].copy_from_slice(&[0x88, 0xb5]);
        FrameRecord { time: 0, len: 60, judgement, segments: 0, tag: 0, captured: 60, reserved: 0, head }
    }

    fn judgement(action: Action, path: Option<Path>) -> u32 {
        let tx = path.map(|_| ());
        let path = path.unwrap_or(Path::Wire);
        let verdict = Verdict { action, path, tx, rx: None, dropped: None, total: None };
        Judgement::encode(Point::Egress, &verdict)
    }

    #[test]
    fn a_line_has_time_hook_verdict_child_length_and_frame() {
        let record = record(WEB, HOST, judgement(Action::Turn, Some(Path::Host)));
        let event = Event::new(&record, &names(), Duration::new(86_400 + 3_661, 1_000)).unwrap();
        assert_eq!(
            event.to_string(),
            "01:01:01.000001 egress  hairpin host->child  web 60 02:00:00:00:00:02 > 02:00:00:00:01:01 \
             EtherType 0x88b5"
        );
        assert!(event.is_out_of_sight());
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["child"], "web");
        assert_eq!(json["path"], "host");
        assert_eq!(json["head"].as_str().unwrap().len(), 120);
    }

    #[test]
    fn a_frame_that_is_rewritten_has_both_macs() {
        const PEER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let single = Names { is_single: true, ..names() };
        let told = |names: &Names, dst, src, point, action, path: Option<Path>| {
            let (tx, path) = (path.map(|_| ()), path.unwrap_or(Path::Wire));
            let verdict = Verdict { action, path, tx, rx: None, dropped: None, total: None };
            let record = record(dst, src, Judgement::encode(point, &verdict));
            Event::new(&record, names, Duration::ZERO).unwrap()
        };
        let wire = Some(Path::Wire);
        let out = told(&single, PEER, WEB, Point::Egress, Action::Pass, wire);
        assert_eq!((out.wire_dst, out.wire_src), (None, Some(HOST)));
        let line = out.to_string();
        assert!(
            line.contains("02:00:00:00:01:01 (02:00:00:00:00:02 on the wire) > 02:00:00:00:00:01 "),
            "{line}"
        );
        let back = told(&single, WEB, PEER, Point::Ingress, Action::Pass, wire);
        assert_eq!((back.wire_dst, back.wire_src), (Some(HOST), None));
        let json = serde_json::to_value(&back).unwrap();
        assert_eq!(
            (&json["wire_dst"], &json["wire_src"]),
            (&HOST.to_string().into(), &serde_json::Value::Null)
        );
        for event in [
            told(&single, HOST, WEB, Point::Egress, Action::Turn, Some(Path::Host)),
            told(&single, PEER, WEB, Point::Egress, Action::DropForeign, wire),
            told(&single, PEER, HOST, Point::Egress, Action::Pass, None),
            told(&single, HOST, PEER, Point::Ingress, Action::Pass, None),
            told(&single, WEB, WEB, Point::Ingress, Action::Pass, Some(Path::Sibling)),
            told(&names(), PEER, WEB, Point::Egress, Action::Pass, wire),
        ] {
            assert_eq!((event.wire_dst, event.wire_src), (None, None), "{event:?}");
        }
    }

    #[test]
    fn a_tag_beside_the_frame_comes_back_into_it() {
        let tagged = FrameRecord { tag: 0x8100_0005, ..record(WEB, HOST, judgement(Action::Pass, None)) };
        let event = Event::new(&tagged, &names(), Duration::ZERO).unwrap();
        assert_eq!(event.len, 64);
        assert_eq!(event.head[12..18], [0x81, 0, 0, 5, 0x88, 0xb5]);
        assert!(event.summary.starts_with("vlan 5 "), "{}", event.summary);
    }

    #[test]
    fn a_name_steers_no_terminal() {
        let names = Names { children: [(WEB, "\u{1b}[2J".to_owned())].into(), ..names() };
        let event =
            Event::new(&record(WEB, HOST, judgement(Action::Pass, None)), &names, Duration::ZERO).unwrap();
        assert!(!event.to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_record_that_says_it_holds_more_than_it_can_is_none() {
        let long = FrameRecord { captured: HEAD_LEN as u32 + 1, ..record(WEB, HOST, 0) };
        assert!(Event::new(&long, &names(), Duration::ZERO).is_none());
        let short = FrameRecord { captured: 11, ..record(WEB, HOST, 0) };
        assert!(Event::new(&short, &names(), Duration::ZERO).is_none());
    }

    #[test]
    fn every_verdict_of_the_contract_has_words() {
        for case in macvlan_common::cases::all() {
            let point = match case.hook {
                Hook::Xdp => Point::Xdp,
                Hook::Egress => Point::Egress,
                _ => Point::Ingress,
            };
            let verdict = decide(case.hook, case.frame, &case.world);
            let (dst, src) = (Mac::from_key(case.frame.dst), Mac::from_key(case.frame.src));
            let record = record(dst, src, Judgement::encode(point, &verdict));
            let event = Event::new(&record, &names(), Duration::ZERO).unwrap();
            assert_eq!(event.action == "drop", event.reason.is_some(), "{event:?}");
            assert_eq!(event.is_turned, matches!(event.action, "hairpin" | "copy"), "{event:?}");
        }
    }

    proptest! {
        #[test]
        fn any_record_is_told_or_refused(
            words in any::<[u32; 6]>(),
            time: u64,
            head in prop::collection::vec(any::<u8>(), HEAD_LEN),
            plausible: bool,
        ) {
            let [len, judgement, segments, tag, captured, reserved] = words;
            let (judgement, captured) =
                if plausible { (judgement & 0x0103_0702, captured % 129) } else { (judgement, captured) };
            let head = head.try_into().unwrap();
            let record = FrameRecord { time, len, judgement, segments, tag, captured, reserved, head };
            if let Some(event) = Event::new(&record, &names(), Duration::from_secs(u64::MAX)) {
                prop_assert_eq!(event.to_string().lines().count(), 1);
                serde_json::to_string(&event).unwrap();
            }
        }
    }
}
