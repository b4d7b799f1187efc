//! Yes or no, as the value and as the label of a series.

/// As a value: 1 or 0.
pub fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// As a label.
pub fn word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
