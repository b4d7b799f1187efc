//! Samples of one metric, with labels that can do no harm.

use prometheus::{
    TextEncoder,
    proto::{Counter, Gauge, LabelPair, MetricFamily},
};

use crate::exporter::metrics::Metric;

/// The longest label value, in characters. A container's id has 64, its name may have 253.
const LONGEST: usize = 256;

/// Samples of one metric.
pub struct Family<'a> {
    metric: &'a Metric,
    samples: Vec<prometheus::proto::Metric>,
}

impl<'a> Family<'a> {
    /// None yet.
    pub fn new(metric: &'a Metric) -> Self {
        Self { metric, samples: Vec::new() }
    }

    /// Adds a sample; `values` are those of the metric's labels, in their order.
    pub fn add(&mut self, values: &[&str], value: f64) {
        debug_assert_eq!(values.len(), self.metric.labels.len(), "labels of {}", self.metric.name);
        let labels = self.metric.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(harmless(value));
            pair
        });
        let mut sample = prometheus::proto::Metric::from_label(labels.collect());
        if self.metric.is_counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
        self.samples.push(sample);
    }

    /// Writes them; nothing at all when there are none.
    ///
    /// # Errors
    ///
    /// Never, for a metric that has a name.
    pub fn write(self, text: &mut String) -> prometheus::Result<()> {
        if self.samples.is_empty() {
            return Ok(());
        }
        let mut family = MetricFamily::default();
        family.set_name(self.metric.name.to_owned());
        family.set_help(self.metric.help.to_owned());
        family.set_field_type(self.metric.kind());
        family.set_metric(self.samples);
        TextEncoder::new().encode_utf8(&[family], text)
    }
}

/// A label value from outside, bounded and without control characters. Backslashes and quotes are
/// escaped by the encoder.
fn harmless(value: &str) -> String {
    let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut clean: String = value.chars().take(LONGEST).map(printable).collect();
    if value.chars().nth(LONGEST).is_some() {
        clean.pop();
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::metrics::{BUILD_INFO, SCRAPE_ERRORS};

    fn written(metric: &Metric, samples: &[(&[&str], f64)]) -> String {
        let mut family = Family::new(metric);
        for (values, value) in samples {
            family.add(values, *value);
        }
        let mut text = String::new();
        family.write(&mut text).unwrap();
        text
    }

    #[test]
    fn a_metric_without_samples_is_not_mentioned() {
        assert_eq!(written(&BUILD_INFO, &[]), "");
    }

    #[test]
    fn a_counter_is_written_in_full() {
        let text = written(&SCRAPE_ERRORS, &[(&[], 123_456_789_012.0)]);
        assert!(text.ends_with(
            "# TYPE macvlan_exporter_scrape_errors_total counter\n\
             macvlan_exporter_scrape_errors_total 123456789012\n"
        ));
    }

    #[test]
    fn quotes_backslashes_and_line_ends_cannot_leave_a_label() {
        let text = written(&BUILD_INFO, &[(&["a\"} 1\nmacvlan_evil 2\\\r\t\u{0}"], 1.0)]);
        let line = text.lines().last().unwrap();
        assert_eq!(
            line,
            "macvlan_build_info{version=\"a\\\"} 1\u{fffd}macvlan_evil 2\\\\\u{fffd}\u{fffd}\u{fffd}\"} 1"
        );
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn a_long_label_is_cut_between_characters() {
        let exactly: String = "ä".repeat(LONGEST);
        assert_eq!(harmless(&exactly), exactly);
        let cut = harmless(&"ä".repeat(LONGEST + 1));
        assert_eq!(cut.chars().count(), LONGEST);
        assert!(cut.ends_with("ä…"));
    }
}
