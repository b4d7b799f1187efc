//! What is measured: names, units, and which way is better.

use serde::Serialize;

use crate::bench::rounds::Spread;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Bits of payload per second.
    #[serde(rename = "bit/s")]
    Bits,
    /// Frames, packets, connections or questions per second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// A share of one.
    #[serde(rename = "share")]
    Share,
    /// Bytes.
    #[serde(rename = "bytes")]
    Bytes,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More of it.
    Higher,
    /// Less of it.
    Lower,
}

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its name in tables and charts.
    pub title: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
}

impl Quantity {
    const fn more(name: &'static str, title: &'static str, unit: Unit) -> Self {
        Self { name, title, unit, better: Better::Higher }
    }

    const fn less(name: &'static str, title: &'static str, unit: Unit) -> Self {
        Self { name, title, unit, better: Better::Lower }
    }
}

/// One TCP stream.
pub const TCP_1: [Quantity; 1] = [Quantity::more("tcp-stream-1", "TCP, 1 stream", Unit::Bits)];

/// One TCP stream, both ends of which share a processor.
pub const TCP_1_ONE_CPU: [Quantity; 1] =
    [Quantity::more("tcp-stream-1-one-cpu", "TCP, 1 stream, one CPU", Unit::Bits)];

/// Eight TCP streams.
pub const TCP_8: [Quantity; 1] = [Quantity::more("tcp-stream-8", "TCP, 8 streams", Unit::Bits)];

/// TCP request and response.
pub const TCP_RR: [Quantity; 3] = [
    Quantity::less("tcp-rr", "TCP round trip, median", Unit::Seconds),
    Quantity::less("tcp-rr-p99", "TCP round trip, 99 %", Unit::Seconds),
    Quantity::less("tcp-rr-p999", "TCP round trip, 99.9 %", Unit::Seconds),
];

/// TCP connections.
pub const TCP_CRR: [Quantity; 1] = [Quantity::more("tcp-crr", "TCP connect and close", Unit::PerSecond)];

/// UDP packets of 64 bytes.
pub const UDP_64: [Quantity; 2] = [
    Quantity::more("udp-64", "UDP, 64 bytes, arrived", Unit::PerSecond),
    Quantity::less("udp-64-lost", "UDP, 64 bytes, lost", Unit::Share),
];

/// UDP packets of 512 bytes.
pub const UDP_512: [Quantity; 2] = [
    Quantity::more("udp-512", "UDP, 512 bytes, arrived", Unit::PerSecond),
    Quantity::less("udp-512-lost", "UDP, 512 bytes, lost", Unit::Share),
];

/// UDP packets of 1,500 bytes.
pub const UDP_1500: [Quantity; 2] = [
    Quantity::more("udp-1500", "UDP, 1500 bytes, arrived", Unit::PerSecond),
    Quantity::less("udp-1500-lost", "UDP, 1500 bytes, lost", Unit::Share),
];

/// Frames from a generator.
pub const FRAMES: [Quantity; 3] = [
    Quantity::more("frames", "frames delivered at saturation", Unit::PerSecond),
    Quantity::less("frames-lost", "frames lost at saturation", Unit::Share),
    Quantity::less("frame-cpu", "CPU time per delivered frame", Unit::Seconds),
];

/// Frames for nobody.
pub const FLOOD: [Quantity; 1] = [Quantity::more("flood", "unknown unicast absorbed", Unit::PerSecond)];

/// Frames for a child among nine times as many for nobody.
pub const GOODPUT: [Quantity; 1] =
    [Quantity::more("flood-goodput", "a child's frames in a flood", Unit::PerSecond)];

/// ARP requests by broadcast.
pub const ARP: [Quantity; 1] =
    [Quantity::more("arp-share", "ARP storm: share that reaches the owner", Unit::Share)];

/// Frames that a program which processes them itself receives.
pub const USER_RECEIVED: [Quantity; 1] =
    [Quantity::more("user-received", "received by a program", Unit::PerSecond)];

/// Frames that it sends.
pub const USER_SENT: [Quantity; 1] = [Quantity::more("user-sent", "sent by a program", Unit::PerSecond)];

/// How soon it answers.
pub const USER_ECHO: [Quantity; 1] =
    [Quantity::less("user-echo", "answered by a program, median", Unit::Seconds)];

/// What a frame costs, against the number of children.
pub const FRAME_COST: [Quantity; 1] =
    [Quantity::less("frame-cost", "CPU time per frame, by children", Unit::Seconds)];

/// Attaching, and the memory of the maps then.
pub const ATTACH: [Quantity; 2] = [
    Quantity::less("attach", "attach, children in place", Unit::Seconds),
    Quantity::less("memory-maps", "memory of the BPF maps", Unit::Bytes),
];

/// Making and deleting children.
pub const CHILDREN: [Quantity; 2] = [
    Quantity::less("add", "add children", Unit::Seconds),
    Quantity::less("delete", "delete children", Unit::Seconds),
];

/// Memory.
pub const MEMORY: [Quantity; 1] = [Quantity::less("memory", "kernel memory per child", Unit::Bytes)];

/// A median with the least and the most: `21.3 Gbit/s (20.9 Gbit/s to 21.6 Gbit/s)`.
pub fn told(spread: Spread, unit: Unit) -> String {
    let [median, least, most] = [spread.median, spread.least, spread.most].map(|value| short(value, unit));
    format!("{median} ({least} to {most})")
}

/// A value with its unit, short: `21.3 Gbit/s`, `54.1 µs`, `97.2 %`.
pub fn short(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Bits => scaled(value, "bit/s"),
        Unit::PerSecond => scaled(value, "/s"),
        Unit::Share if value > 0.0 && value < 0.000_5 => "<0.1 %".into(),
        Unit::Share => format!("{:.1} %", value * 100.0),
        Unit::Seconds => {
            let (value, prefix) = match value {
                small if small < 1e-6 => (value * 1e9, "n"),
                small if small < 1e-3 => (value * 1e6, "µ"),
                small if small < 1.0 => (value * 1e3, "m"),
                _ => (value, ""),
            };
            format!("{} {prefix}s", digits(value))
        }
        Unit::Bytes if value.abs() < 1024.0 => format!("{value:.0} B"),
        Unit::Bytes if value.abs() < 1024.0 * 1024.0 => format!("{} KiB", digits(value / 1024.0)),
        Unit::Bytes => format!("{} MiB", digits(value / 1024.0 / 1024.0)),
    }
}

fn scaled(value: f64, unit: &str) -> String {
    let (value, prefix) = match value {
        large if large >= 1e9 => (value / 1e9, "G"),
        large if large >= 1e6 => (value / 1e6, "M"),
        large if large >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{} {prefix}{unit}", digits(value))
}

/// Three digits that count.
fn digits(value: f64) -> String {
    match value.abs() {
        large if large >= 99.95 => format!("{value:.0}"),
        middle if middle >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_keep_three_digits() {
        assert_eq!(short(21.34e9, Unit::Bits), "21.3 Gbit/s");
        assert_eq!(short(1_750_000.0, Unit::PerSecond), "1.75 M/s");
        assert_eq!(short(0.972, Unit::Share), "97.2 %");
        assert_eq!(short(0.0001, Unit::Share), "<0.1 %");
        assert_eq!(short(54.06e-6, Unit::Seconds), "54.1 µs");
        assert_eq!(short(541e-9, Unit::Seconds), "541 ns");
        assert_eq!(short(0.29, Unit::Seconds), "290 ms");
        assert_eq!(short(20.3, Unit::Seconds), "20.3 s");
        assert_eq!(short(2048.0, Unit::Bytes), "2.00 KiB");
        assert_eq!(short(0.0, Unit::PerSecond), "0.00 /s");
    }
}
