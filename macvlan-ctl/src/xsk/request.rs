//! What clients ask, as messages of text: ours, and those of Intel's AF_XDP device plugin for Kubernetes, version 0.1,
//! which DPDK speaks (`uds_get_xskmap_fd` in drivers/net/af_xdp/rte_eth_af_xdp.c).

/// Longest message that is read.
pub const LONGEST: usize = 256;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// A bound socket of this queue.
    Socket(u32),
    /// The plugin's: somebody with a host name begins.
    Connect,
    /// The plugin's: which version.
    Version,
    /// The plugin's: the map of sockets of this device.
    Map(&'a str),
    /// The plugin's: settings of a socket that comes with the message.
    BusyPoll,
    /// The plugin's: that was all.
    End,
}

impl<'a> Request<'a> {
    /// Reads a message; `None` is none that we know.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(message).ok()?;
        let (word, value) = match text.split_once(',') {
            Some((word, value)) => (word, Some(value)),
            None => (text, None),
        };
        match (word, value) {
            ("/xsk", Some(queue)) => number(queue).map(Self::Socket),
            ("/connect", Some(host)) if !host.is_empty() => Some(Self::Connect),
            ("/version", None) => Some(Self::Version),
            ("/xsk_map_fd", Some(device)) => Some(Self::Map(device)),
            ("/config_busy_poll", Some(_)) => Some(Self::BusyPoll),
            ("/fin", None) => Some(Self::End),
            _ => None,
        }
    }
}

/// Digits alone: no sign, no space.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_request_is_read() {
        let read = |text: &'static str| Request::parse(text.as_bytes());
        assert_eq!(read("/xsk,0"), Some(Request::Socket(0)));
        assert_eq!(read("/xsk,4294967295"), Some(Request::Socket(u32::MAX)));
        assert_eq!(read("/connect,pod-1"), Some(Request::Connect));
        assert_eq!(read("/version"), Some(Request::Version));
        assert_eq!(read("/xsk_map_fd,eth0"), Some(Request::Map("eth0")));
        assert_eq!(read("/config_busy_poll,20,64"), Some(Request::BusyPoll));
        assert_eq!(read("/fin"), Some(Request::End));
    }

    #[test]
    fn what_is_nearly_a_request_is_none() {
        for text in [
            "",
            "/",
            "/xsk",
            "/xsk,",
            "/xsk,-1",
            "/xsk,+1",
            "/xsk, 1",
            "/xsk,1,2",
            "/xsk,4294967296",
            "/connect",
            "/connect,",
            "/version,1",
            "/fin,",
            "/FIN",
            "/fin\n",
            "xsk,0",
        ] {
            assert_eq!(Request::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Request::parse(b"/xsk,\xff"), None);
    }

    proptest! {
        #[test]
        fn any_message_is_read_to_its_end(message: Vec<u8>) {
            let _ = Request::parse(&message);
        }
    }
}
