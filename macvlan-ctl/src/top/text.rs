//! Numbers, names and bars in little room.

use ratatui::text::Span;

/// A number in at most five columns, with an SI prefix from a thousand on: "999", "1.23k", "45.6M".
pub fn si(number: u64) -> String {
    if number < 1000 {
        return number.to_string();
    }
    let mut value = number as f64 / 1000.0;
    for prefix in ["k", "M", "G", "T", "P"] {
        // What would round to a thousand takes the next prefix.
        if value < 999.5 {
            return three_digits(value, prefix);
        }
        value /= 1000.0;
    }
    three_digits(value, "E")
}

fn three_digits(value: f64, prefix: &str) -> String {
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}{prefix}")
}

/// Columns that a text takes on a screen.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text in at most so many columns, `~` in place of what is cut.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width(&kept) + 1 > columns {
            kept.pop();
            break;
        }
    }
    if columns > 0 {
        kept.push('~');
    }
    kept
}

/// As many of the texts, first ones first, as fit with `gap` between them.
pub fn join_fitting<'a>(parts: impl IntoIterator<Item = &'a str>, gap: &str, columns: usize) -> String {
    let mut line = String::new();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        let lead = if line.is_empty() { "" } else { gap };
        if width(&line) + width(lead) + width(part) <= columns {
            line.push_str(lead);
            line.push_str(part);
        }
    }
    line
}

/// Bars of so many rows, top row first, the newest value at the right end, one of `highest` as high as
/// all rows. A value above 0 always shows.
pub fn bars(
    values: impl DoubleEndedIterator<Item = u64> + ExactSizeIterator,
    highest: u64,
    (columns, rows): (usize, usize),
    unicode: bool,
) -> Vec<String> {
    const UNICODE: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const ASCII: [char; 9] = [' ', '.', '.', ':', ':', '-', '=', '+', '#'];
    let characters = if unicode { UNICODE } else { ASCII };
    let shown: Vec<u64> = values.rev().take(columns).collect();
    let highest = u128::from(highest.max(1));
    let eighths = |value: u64| (u128::from(value) * rows as u128 * 8).div_ceil(highest) as usize;
    let row = |below: usize| {
        let blank = std::iter::repeat_n(' ', columns.saturating_sub(shown.len()));
        let bar = |value: &u64| characters[eighths(*value).saturating_sub(below * 8).min(8)];
        blank.chain(shown.iter().rev().map(bar)).collect()
    };
    (0..rows).rev().map(row).collect()
}

#[cfg(test)]
mod tests {
    use macvlan_core::model::printable::printable;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.00k"),
            (9_994, "9.99k"),
            (9_995, "10.0k"),
            (99_949, "99.9k"),
            (99_950, "100k"),
            (999_499, "999k"),
            (999_500, "1.00M"),
            (12_345_678, "12.3M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(si(number), text, "{number}");
        }
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(
            (cut("web", 3), cut("webs", 3), cut("web", 0)),
            ("web".into(), "we~".into(), String::new())
        );
        // Two columns each.
        assert_eq!(cut("漢字", 3), "漢~");
    }

    #[test]
    fn parts_that_do_not_fit_are_left_out() {
        assert_eq!(join_fitting(["one", "", "twotwo", "three"], "  ", 10), "one  three");
    }

    #[test]
    fn bars_stand_on_the_ground_with_the_newest_right() {
        assert_eq!(bars([0, 1, 4, 8].into_iter(), 8, (6, 1), true), ["   ▁▄█"]);
        assert_eq!(bars([0, 1, 4, 8].into_iter(), 8, (3, 2), true), ["  █", "▂██"]);
        assert_eq!(bars([0, 0].into_iter(), 0, (3, 1), true), ["   "]);
        assert_eq!(bars([1, 800].into_iter(), 800, (2, 1), false), [".#"]);
        assert_eq!(bars([4, 8].into_iter(), 16, (2, 1), true), ["▂▄"]);
    }

    proptest! {
        #[test]
        fn every_number_fits_five_columns(number: u64) {
            prop_assert!(si(number).len() <= 5);
        }

        #[test]
        fn every_text_fits_where_it_is_cut_to(text: String, columns in 0..40_usize) {
            prop_assert!(width(&cut(&printable(&text), columns)) <= columns);
        }

        #[test]
        fn bars_fill_their_room(values: Vec<u64>, highest: u64, columns in 0..50_usize, rows in 0..5_usize) {
            let bars = bars(values.into_iter(), highest, (columns, rows), true);
            prop_assert_eq!(bars.len(), rows);
            prop_assert!(bars.iter().all(|row| row.chars().count() == columns));
        }
    }
}
