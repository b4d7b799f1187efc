//! Settings of a few words, and numbers, on the command line.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use macvlan_core::model::keyword::{Keyword, parse_keyword};

/// Reads a setting whose value is one of a few words; help and completions list these.
pub fn keyword<T: Keyword>() -> impl TypedValueParser<Value = T> {
    let values = T::ALL.iter().map(|value| PossibleValue::new(value.as_str()).help(value.about()));
    PossibleValuesParser::new(values).try_map(|text| parse_keyword("value", &text))
}

/// Reads "on" or "off"; "true" and "false" are the same.
pub fn on_off() -> impl TypedValueParser<Value = bool> {
    let values = [PossibleValue::new("on").alias("true"), PossibleValue::new("off").alias("false")];
    PossibleValuesParser::new(values).map(|text| matches!(text.as_str(), "on" | "true"))
}

/// Reads a whole number of this range.
pub fn number<T>(range: RangeInclusive<T>) -> impl TypedValueParser<Value = T>
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("it must be a whole number from {} to {}", range.start(), range.end()))
    }
}
