//! How much a container may receive and send: the key `rate`, and the capability `bandwidth`.

use macvlan_core::policy::rate::{RateLimit, RateLimits, RateScope, parse_rate, parse_scope};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{CniError, CniResult, code};

/// The rates of a network's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// How much one may receive and send.
    pub limits: RateLimits,
    /// Which frames that is for.
    pub scope: RateScope,
}

/// `{"rx": "100mbit+50kpps/256k", "tx": "50mbit", "scope": "wire"}`: words of the command line.
#[derive(Debug, Deserialize)]
pub struct RawRate {
    rx: Option<String>,
    tx: Option<String>,
    scope: Option<String>,
    /// A limit by a name that is none of these would not hold.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// `runtimeConfig.bandwidth` of the CNI conventions, in bits and bits a second. Zero is "not given".
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawBandwidth {
    #[serde(default)]
    ingress_rate: u64,
    #[serde(default)]
    ingress_burst: u64,
    #[serde(default)]
    egress_rate: u64,
    #[serde(default)]
    egress_burst: u64,
}

/// From this burst on, in bits, nobody chose it: runtimes write the largest number that they know,
/// from `math.MaxInt32` on, as the capability asks for one and pods have none.
const NO_BURST: u64 = i32::MAX as u64;

impl Rate {
    /// What the network says and, direction by direction, the runtime instead of it. What goes into a
    /// pod is what it receives.
    ///
    /// # Errors
    ///
    /// Code 7 when a rate means nothing, or nothing that can be held to; 2 when `rate` has a key of
    /// another name.
    pub fn read(network: Option<RawRate>, runtime: Option<RawBandwidth>) -> CniResult<Self> {
        let mut rate = network.map_or(Ok(Self::default()), Self::of_network)?;
        if let Some(raw) = runtime {
            let rx = of_runtime("ingress", raw.ingress_rate, raw.ingress_burst)?;
            let tx = of_runtime("egress", raw.egress_rate, raw.egress_burst)?;
            rate.limits = RateLimits { rx: rx.or(rate.limits.rx), tx: tx.or(rate.limits.tx) };
        }
        Ok(rate)
    }

    fn of_network(raw: RawRate) -> CniResult<Self> {
        if let Some((key, value)) = raw.others.iter().next() {
            let msg = format!("rate has no key {key:?} (of {value}): rx, tx and scope are its keys");
            return Err(CniError::new(code::UNSUPPORTED_FIELD, msg));
        }
        let limit = |key: &str, text: Option<String>| {
            let limit = text.map_or(Ok(None), |text| parse_rate(&text));
            limit.map_err(|error| invalid(format!("rate, {key}: {error:#}")))
        };
        Ok(Self {
            limits: RateLimits { rx: limit("rx", raw.rx)?, tx: limit("tx", raw.tx)? },
            scope: match raw.scope {
                Some(text) => parse_scope(&text).map_err(|error| invalid(format!("rate: {error:#}")))?,
                None => RateScope::default(),
            },
        })
    }
}

fn of_runtime(direction: &str, rate: u64, burst: u64) -> CniResult<Option<RateLimit>> {
    let text = match (rate, burst) {
        (0, 0) => return Ok(None),
        (0, _) => {
            let msg = format!("bandwidth: there is an {direction}Burst, but no {direction}Rate");
            return Err(invalid(msg));
        }
        (rate, 0 | NO_BURST..) => format!("{rate}bit"),
        (rate, burst) => format!("{rate}bit/{}", burst / 8),
    };
    parse_rate(&text).map_err(|error| invalid(format!("bandwidth, {direction}: {error:#}")))
}

fn invalid(msg: String) -> CniError {
    CniError::new(code::INVALID_CONFIG, msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(network: &str, runtime: &str) -> CniResult<Rate> {
        Rate::read(serde_json::from_str(network).unwrap(), serde_json::from_str(runtime).unwrap())
    }

    fn limit(text: &str) -> Option<RateLimit> {
        parse_rate(text).unwrap()
    }

    #[test]
    fn a_rate_is_in_words_of_the_command_line() {
        let rate = read(r#"{"rx": "100mbit+50kpps/256k", "tx": "off", "scope": "wire"}"#, "null").unwrap();
        let limits = RateLimits { rx: limit("100mbit+50kpps/256k"), tx: None };
        assert_eq!(rate, Rate { limits, scope: RateScope::Wire });
        assert_eq!(read("{}", "null").unwrap(), Rate::default());
        assert_eq!(read("null", "null").unwrap(), Rate::default());
    }

    #[test]
    fn what_goes_into_a_pod_is_what_it_receives() {
        let rate = read("null", r#"{"ingressRate": 1000000, "ingressBurst": 800000, "egressRate": 2000000}"#);
        let limits = RateLimits { rx: limit("1mbit/100000"), tx: limit("2mbit") };
        assert_eq!(rate.unwrap().limits, limits);
    }

    #[test]
    fn the_runtimes_rate_wins_in_the_direction_that_it_has() {
        let rate = read(r#"{"rx": "1mbit", "tx": "1mbit", "scope": "wire"}"#, r#"{"egressRate": 5000}"#);
        let limits = RateLimits { rx: limit("1mbit"), tx: limit("5kbit") };
        assert_eq!(rate.unwrap(), Rate { limits, scope: RateScope::Wire });
    }

    #[test]
    fn a_burst_that_stands_for_none_is_none() {
        // dockershim's, containerd's and CRI-O's.
        for burst in [i32::MAX as u64, u64::from(u32::MAX), u64::from(u32::MAX) * 8 - 1] {
            let rate = read("null", &format!(r#"{{"ingressRate": 1000000, "ingressBurst": {burst}}}"#));
            assert_eq!(rate.unwrap().limits.rx, limit("1mbit"));
        }
    }

    #[test]
    fn a_key_of_another_name_is_told_with_its_value() {
        let error = read(r#"{"in": "1mbit", "tx": "1mbit"}"#, "null").unwrap_err();
        assert_eq!(error.code, code::UNSUPPORTED_FIELD);
        assert_eq!(error.msg, r#"rate has no key "in" (of "1mbit"): rx, tx and scope are its keys"#);
    }

    #[test]
    fn a_rate_that_cannot_be_held_to_is_refused_by_name() {
        for (network, runtime, why) in [
            (r#"{"rx": "1mbps"}"#, "null", r#"rate, rx: bad rate "1mbps""#),
            (r#"{"tx": "0bit"}"#, "null", "a rate of 0 lets nothing through"),
            (r#"{"scope": "lan"}"#, "null", r#"rate: unknown rate-scope "lan""#),
            ("null", r#"{"egressBurst": 800000}"#, "there is an egressBurst, but no egressRate"),
            ("null", r#"{"egressRate": 9, "egressBurst": 80}"#, "bandwidth, egress: bad rate"),
            ("null", r#"{"ingressRate": 1000000000001}"#, "above the highest rate of 1tbit"),
        ] {
            let error = read(network, runtime).unwrap_err();
            assert_eq!(error.code, code::INVALID_CONFIG);
            assert!(error.msg.contains(why), "{}", error.msg);
        }
    }
}
