//! Rates of children as a person writes them: `100mbit+50kpps/256k`.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, Error, Result, bail};
use macvlan_common::rate::{MOST, MOST_BURST, Meter, Meters};
use serde::Serialize;

/// Least burst, in bytes: an Ethernet frame of the usual size.
pub const LEAST_BURST: u64 = 1514;

/// A burst that nobody chose is what the rate gives in this time, in milliseconds. A sender of TCP from
/// which a policer took a whole window is silent for 200 (`TCP_RTO_MIN`) or, where the window did not
/// leave its own machine, for up to 500 (`TCP_RESOURCE_PROBE_INTERVAL` in include/net/tcp.h): what
/// the rate gives meanwhile must not be lost. With 100, TCP came to half of 100 Mbit/s.
const BURST_MILLIS: u64 = 500;

/// The least of those, in bytes: one frame of segmentation offload.
const LEAST_DEFAULT_BURST: u64 = 64 << 10;

/// What a child may receive, or send: bits a second, frames a second or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Bits a second, layer 2 without FCS; `None` is no limit.
    pub bits: Option<u64>,
    /// Bytes that may come at once, where bits are limited.
    pub burst: Option<u64>,
    /// Frames a second; `None` is no limit.
    pub packets: Option<u64>,
}

impl RateLimit {
    /// The limit that a meter holds; `None` when it holds none.
    pub fn of(meter: &Meter) -> Option<Self> {
        let some = |rate| Some(rate).filter(|rate| *rate != 0);
        let bits = some(meter.bits.rate);
        let limit = Self { bits, burst: bits.map(|_| meter.burst), packets: some(meter.frames.rate) };
        (limit.bits.is_some() || limit.packets.is_some()).then_some(limit)
    }

    fn meter(self) -> Meter {
        let (bits, packets) = (self.bits.unwrap_or_default(), self.packets.unwrap_or_default());
        Meter::new(bits, self.burst.unwrap_or_default(), packets, (packets * BURST_MILLIS / 1000).max(1))
    }
}

fn default_burst(bits: u64) -> u64 {
    (bits / 8 * BURST_MILLIS / 1000).clamp(LEAST_DEFAULT_BURST, MOST_BURST)
}

/// The limit that a text means; "off" is none.
///
/// # Errors
///
/// When it means nothing, or nothing that can be held to.
pub fn parse_rate(text: &str) -> Result<Option<RateLimit>> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).with_context(|| format!("bad rate {text:?}"))
}

impl FromStr for RateLimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (rates, burst) = match text.split_once('/') {
            Some((rates, burst)) => (rates, Some(parse_burst(burst)?)),
            None => (text, None),
        };
        let (mut bits, mut packets) = (None, None);
        for rate in rates.split('+') {
            let (slot, value) = match parse_one(rate)? {
                (Unit::Bits, value) => (&mut bits, value),
                (Unit::Packets, value) => (&mut packets, value),
            };
            if slot.replace(value).is_some() {
                bail!("it has two rates of one kind");
            }
        }
        if burst.is_some() && bits.is_none() {
            bail!("a burst is for a rate in bits, and there is none");
        }
        Ok(Self { bits, burst: bits.map(|bits| burst.unwrap_or(default_burst(bits))), packets })
    }
}

/// Shortest first, as they are written; tc's multiples of bits are of a thousand.
impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bits) = self.bits {
            write_multiple(f, bits, BITS)?;
        }
        if let Some(packets) = self.packets {
            f.write_str(if self.bits.is_some() { "+" } else { "" })?;
            write_multiple(f, packets, PACKETS)?;
        }
        match self.burst.zip(self.bits) {
            Some((burst, bits)) if burst != default_burst(bits) => {
                f.write_str("/")?;
                write_multiple(f, burst, BYTES)
            }
            _ => Ok(()),
        }
    }
}

enum Unit {
    Bits,
    Packets,
}

type Multiples = &'static [(&'static str, u64)];

const BITS: Multiples =
    &[("tbit", 1_000_000_000_000), ("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1000), ("bit", 1)];

const PACKETS: Multiples = &[("mpps", 1_000_000), ("kpps", 1000), ("pps", 1)];

/// As in tc, of 1024.
const BYTES: Multiples = &[("m", 1 << 20), ("k", 1 << 10), ("", 1)];

fn write_multiple(f: &mut fmt::Formatter<'_>, value: u64, units: Multiples) -> fmt::Result {
    let fitting = units.iter().find(|(_, multiple)| value.is_multiple_of(*multiple));
    let (unit, multiple) = fitting.copied().unwrap_or(("", 1));
    write!(f, "{}{unit}", value / multiple)
}

fn parse_one(text: &str) -> Result<(Unit, u64)> {
    let wanted = "a number with bit, kbit, mbit, gbit or tbit, or with pps, kpps or mpps";
    let (digits, unit) = split_number(text);
    let find = |units: Multiples| {
        units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, multiple)| *multiple)
    };
    let (kind, multiple) = match (find(BITS), find(PACKETS)) {
        (Some(multiple), _) => (Unit::Bits, multiple),
        (None, Some(multiple)) => (Unit::Packets, multiple),
        (None, None) => bail!("{text:?} is not {wanted}"),
    };
    let value = multiply(digits, multiple).with_context(|| format!("{text:?} is not {wanted}"))?;
    if value == 0 {
        bail!("a rate of 0 lets nothing through; for no limit: off");
    }
    if value > MOST {
        bail!(
            "{text:?} is above the highest rate of {}",
            RateLimit { bits: Some(MOST), burst: None, packets: None }
        );
    }
    Ok((kind, value))
}

fn parse_burst(text: &str) -> Result<u64> {
    let (digits, unit) = split_number(text);
    let multiple =
        BYTES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, multiple)| *multiple);
    let burst = multiple.and_then(|multiple| multiply(digits, multiple));
    let burst = burst.with_context(|| format!("burst {text:?} is not a number of bytes, with k or m"))?;
    if !(LEAST_BURST..=MOST_BURST).contains(&burst) {
        bail!("burst {text:?} is not from {LEAST_BURST} bytes, a frame, to {}m", MOST_BURST >> 20);
    }
    Ok(burst)
}

/// Digits with or without a point, and what follows.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// "1.5" times 1000; `None` when it is no whole number, or too large.
fn multiply(digits: &str, multiple: u64) -> Option<u64> {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let number = |digits: &str| digits.parse::<u64>().ok();
    let whole = number(whole)?.checked_mul(multiple)?;
    let scale = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part = number(part)?.checked_mul(multiple)?;
    if !part.is_multiple_of(scale) {
        return None;
    }
    whole.checked_add(part / scale)
}

/// Which frames the rates are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RateScope {
    /// Those from and to the wire, the host and siblings.
    #[default]
    All,
    /// Those from and to the wire.
    Wire,
}

impl RateScope {
    /// Its name on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Wire => "wire",
        }
    }
}

/// The scope that [`RateScope::as_str`] names.
///
/// # Errors
///
/// When it is neither.
pub fn parse_scope(text: &str) -> Result<RateScope> {
    match text {
        "wire" => Ok(RateScope::Wire),
        "all" => Ok(RateScope::All),
        _ => bail!("unknown rate-scope {text:?}: wire or all"),
    }
}

/// The limits of one child, as it sees the directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// What it receives.
    pub rx: Option<RateLimit>,
    /// What it sends.
    pub tx: Option<RateLimit>,
}

impl RateLimits {
    /// Neither.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As the programs hold them.
    pub fn meters(&self) -> Meters {
        let meter = |limit: Option<RateLimit>| limit.map_or(Meter::default(), RateLimit::meter);
        Meters { rx: meter(self.rx), tx: meter(self.tx) }
    }

    /// Those that the programs hold.
    pub fn of(meters: &Meters) -> Self {
        Self { rx: RateLimit::of(&meters.rx), tx: RateLimit::of(&meters.tx) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        format!("{:#}", parse_rate(text).unwrap_err())
    }

    fn read(text: &str) -> RateLimit {
        parse_rate(text).unwrap().unwrap()
    }

    #[test]
    fn rates_are_read_in_the_units_of_tc() {
        let bits = |text| read(text).bits.unwrap();
        assert_eq!(
            ["8bit", "9kbit", "1.5mbit", "2gbit", "1tbit"].map(bits),
            [8, 9_000, 1_500_000, 2_000_000_000, MOST]
        );
        let packets = |text| read(text).packets.unwrap();
        assert_eq!(["7pps", "50kpps", "0.25mpps"].map(packets), [7, 50_000, 250_000]);
        let both = RateLimit { bits: Some(100_000_000), burst: Some(256 << 10), packets: Some(50_000) };
        assert_eq!(read("100mbit+50kpps/256k"), both);
        assert_eq!(read("50kpps+100mbit/262144"), both);
        assert_eq!(parse_rate("off").unwrap(), None);
    }

    #[test]
    fn a_burst_is_half_a_second_or_an_offloaded_frame() {
        assert_eq!(read("100Mbit+50Kpps/256K"), read("100mbit+50kpps/256k"));
        assert_eq!(read("100mbit").burst, Some(6_250_000));
        assert_eq!(read("1mbit").burst, Some(64 << 10));
        assert_eq!(read("1tbit").burst, Some(MOST_BURST));
        assert_eq!(read("100mbit/1m").burst, Some(1 << 20));
        assert_eq!(read("10kpps").burst, None);
        assert_eq!(read("10kpps").meter().frames.ahead, 500_000_000);
        assert_eq!(read("1pps").meter().frames.ahead, 1_000_000_000);
    }

    #[test]
    fn what_cannot_be_held_to_is_refused_by_name() {
        for (text, why) in [
            ("0mbit", "a rate of 0 lets nothing through; for no limit: off"),
            ("1mbit+0pps", "a rate of 0"),
            ("", "\"\" is not a number with bit, kbit"),
            ("on", "\"on\" is not a number with bit"),
            ("100", "\"100\" is not a number with bit"),
            ("100mbps", "\"100mbps\" is not a number with bit"),
            ("-1mbit", "is not a number with bit"),
            ("1e3bit", "is not a number with bit"),
            ("1.5bit", "is not a number with bit"),
            (".5mbit", "is not a number with bit"),
            ("1.2.3mbit", "is not a number with bit"),
            ("99999999999999999999bit", "is not a number with bit"),
            ("2tbit", "above the highest rate of 1tbit"),
            ("1mbit+2mbit", "two rates of one kind"),
            ("1pps+1kpps", "two rates of one kind"),
            ("1mbit+", "\"\" is not a number with bit"),
            ("1kpps/64k", "a burst is for a rate in bits, and there is none"),
            ("1mbit/", "burst \"\" is not a number of bytes"),
            ("1mbit/64q", "burst \"64q\" is not a number of bytes"),
            ("1mbit/1500", "burst \"1500\" is not from 1514 bytes, a frame, to 1024m"),
            ("1mbit/2000m", "burst \"2000m\" is not from"),
        ] {
            let told = refused(text);
            assert!(
                told.starts_with(&format!("bad rate {text:?}: ")) && told.contains(why),
                "{text}: {told}"
            );
        }
        assert_eq!(
            format!("{:#}", parse_scope("host").unwrap_err()),
            "unknown rate-scope \"host\": wire or all"
        );
    }

    fn limit() -> impl Strategy<Value = RateLimit> {
        let bits = prop::option::of(1..=MOST);
        (bits, LEAST_BURST..=MOST_BURST, prop::option::of(1..=MOST))
            .prop_filter("limits something", |(bits, _, packets)| bits.is_some() || packets.is_some())
            .prop_map(|(bits, burst, packets)| RateLimit { bits, burst: bits.map(|_| burst), packets })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(limit in limit()) {
            prop_assert_eq!(read(&limit.to_string()), limit);
        }

        #[test]
        fn what_the_programs_hold_is_what_was_set(rx in prop::option::of(limit()), tx in prop::option::of(limit())) {
            let limits = RateLimits { rx, tx };
            prop_assert_eq!(RateLimits::of(&limits.meters()), limits);
        }

        #[test]
        fn any_text_is_understood_or_refused(text: String) {
            let _ = parse_rate(&text);
        }

        #[test]
        fn any_text_like_a_rate_is_understood_or_refused(text in "[0-9.]{0,22}[kmgt]?(bit|pps)?(/[0-9.]{0,22}[km]?)?") {
            let _ = parse_rate(&text);
        }
    }
}
