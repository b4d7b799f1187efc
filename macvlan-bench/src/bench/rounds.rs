//! Rounds: all contenders one after the other, again and again, so that a machine that gets slower
//! or faster meanwhile does so for all.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

/// What is measured of one contender, once for each round: a value for each quantity of the series.
pub struct Cell<'a> {
    /// The contender's name.
    pub contender: &'static str,
    /// How many children there are, where that is varied.
    pub children: Option<u32>,
    /// The measurement.
    pub measure: Box<dyn FnMut() -> Result<Vec<f64>> + 'a>,
}

impl<'a> Cell<'a> {
    /// One of a series in which the number of children is not varied.
    pub fn new(contender: &'static str, measure: impl FnMut() -> Result<Vec<f64>> + 'a) -> Self {
        Self { contender, children: None, measure: Box::new(measure) }
    }
}

/// All rounds of one contender.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The contender's name.
    pub contender: &'static str,
    /// How many children there were, where that was varied.
    pub children: Option<u32>,
    /// The values of each round, or why there are none.
    pub rounds: Result<Vec<Vec<f64>>, String>,
}

/// Measures each in its [turn](turns). One that fails is left out from there on.
pub fn interleave(mut cells: Vec<Cell<'_>>, rounds: usize, mut step: impl FnMut()) -> Vec<Column> {
    let mut columns: Vec<Column> = cells
        .iter()
        .map(|cell| Column { contender: cell.contender, children: cell.children, rounds: Ok(Vec::new()) })
        .collect();
    for Turn { number, counts } in turns(cells.len(), rounds) {
        if let Ok(values) = &mut columns[number].rounds {
            match (cells[number].measure)() {
                Ok(measured) if counts => values.push(measured),
                Ok(_) => {}
                Err(error) => columns[number].rounds = Err(format!("{error:#}")),
            }
        }
        step();
    }
    columns
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Number of the contender.
    pub number: usize,
    /// What is measured now counts: the first round warms up.
    pub counts: bool,
}

/// The turns of so many contenders, in a round that warms up and then `rounds` that count. Each begins with
/// the next one, so that what a predecessor leaves behind hits all.
pub fn turns(contenders: usize, rounds: usize) -> impl Iterator<Item = Turn> {
    (0..=rounds).flat_map(move |round| {
        let numbers = (0..contenders).map(move |place| (place + round) % contenders);
        numbers.map(move |number| Turn { number, counts: round > 0 })
    })
}

/// A median, and the least and most of what it came from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of these values; `None` of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, least, most })
    }

    /// Of the ratios of values that were measured in the same rounds.
    pub fn of_ratios(values: &[f64], bases: &[f64]) -> Option<Self> {
        let ratios = values.iter().zip(bases).map(|(value, base)| value / base);
        Self::of(ratios.filter(|ratio| ratio.is_finite()))
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ({:.3} to {:.3})", self.median, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::bail;

    use super::*;

    #[test]
    fn each_round_has_all_and_the_next_one_begins() {
        let order = RefCell::new(Vec::new());
        let cell = |contender: &'static str| {
            let order = &order;
            Cell {
                contender,
                children: None,
                measure: Box::new(move || {
                    order.borrow_mut().push(contender);
                    Ok(vec![order.borrow().len() as f64])
                }),
            }
        };
        let mut steps = 0;
        let columns = interleave(vec![cell("a"), cell("b")], 2, || steps += 1);
        assert_eq!(*order.borrow(), ["a", "b", "b", "a", "a", "b"]);
        assert_eq!(steps, 6);
        // Without the first round, which warms up.
        assert_eq!(columns[0].rounds, Ok(vec![vec![4.0], vec![5.0]]));
        assert_eq!(columns[1].rounds, Ok(vec![vec![3.0], vec![6.0]]));
    }

    #[test]
    fn one_that_fails_says_why_and_does_not_stop_the_others() {
        let mut count = 0;
        let failing = Cell {
            contender: "a",
            children: None,
            measure: Box::new(|| {
                count += 1;
                bail!("no device")
            }),
        };
        let fine = Cell { contender: "b", children: Some(7), measure: Box::new(|| Ok(vec![1.0])) };
        let columns = interleave(vec![failing, fine], 3, || {});
        assert_eq!(columns[0].rounds, Err("no device".into()));
        assert_eq!((columns[1].children, columns[1].rounds.as_ref().unwrap().len()), (Some(7), 3));
        drop(columns);
        assert_eq!(count, 1);
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, least: 1.0, most: 4.0 }));
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([1.0]).unwrap().to_string(), "1.000 (1.000 to 1.000)");
    }

    #[test]
    fn ratios_are_made_round_by_round() {
        // The machine got twice as fast in the second round: the ratio did not.
        let ratios = Spread::of_ratios(&[10.0, 20.0], &[5.0, 10.0]).unwrap();
        assert_eq!(ratios, Spread { median: 2.0, least: 2.0, most: 2.0 });
        assert_eq!(Spread::of_ratios(&[1.0], &[0.0]), None);
    }
}
