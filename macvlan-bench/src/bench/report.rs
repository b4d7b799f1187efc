//! What came of a run: figures with their spread and ratios, and all that they depend on.

use std::{collections::BTreeMap, time::SystemTime};

use serde::Serialize;

use crate::bench::{
    contender::{BASES, Described},
    machine::Machine,
    path::Path,
    quantity::{Better, Quantity, Unit},
    rounds::{Column, Spread},
};

/// Everything of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The version of macvlan-ctl.
    pub version: &'static str,
    /// When it was made (RFC 3339, UTC).
    pub date: String,
    /// The command that made it.
    pub command: String,
    /// Shortened.
    pub quick: bool,
    /// Rounds that counted, at least.
    pub rounds: usize,
    /// How long it took, in seconds.
    pub took: f64,
    /// Where it ran.
    pub machine: Machine,
    /// Who took part.
    pub contenders: Vec<Described>,
    /// What came out.
    pub figures: Vec<Figure>,
    /// What could not be measured.
    pub failures: Vec<Failure>,
}

/// The date of a report that is made now.
pub fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// One quantity of one contender.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// See `Quantity::name`.
    pub workload: &'static str,
    /// See `Quantity::title`.
    #[serde(skip)]
    pub title: &'static str,
    /// From whom to whom; `null` where nobody sends.
    pub path: Option<Path>,
    /// How many children there were; `null` where that was not varied.
    pub children: Option<u32>,
    /// Who.
    pub contender: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
    /// Over the rounds.
    #[serde(flatten)]
    pub spread: Spread,
    /// Each round's.
    pub rounds: Vec<f64>,
    /// Ratios to others of the same rounds, by their name.
    pub ratios: BTreeMap<&'static str, Spread>,
    /// The ratio to the same contender with the fewest children, where their number was varied.
    pub of_fewest: Option<Spread>,
}

/// Something that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What.
    pub workload: &'static str,
    /// Which way.
    pub path: Option<Path>,
    /// With how many children.
    pub children: Option<u32>,
    /// Of whom.
    pub contender: &'static str,
    /// Why.
    pub reason: String,
}

/// The figures of a series of rounds, and what failed in it.
pub fn figures(
    quantities: &[Quantity],
    path: Option<Path>,
    columns: &[Column],
) -> (Vec<Figure>, Vec<Failure>) {
    let (mut figures, mut failures) = (Vec::new(), Vec::new());
    for column in columns {
        match &column.rounds {
            Ok(_) => {
                let each = quantities.iter().enumerate();
                figures.extend(
                    each.filter_map(|(place, quantity)| figure(quantity, place, path, column, columns)),
                );
            }
            Err(reason) => failures.push(Failure {
                workload: quantities[0].name,
                path,
                children: column.children,
                contender: column.contender,
                reason: reason.clone(),
            }),
        }
    }
    (figures, failures)
}

fn figure(
    quantity: &Quantity,
    place: usize,
    path: Option<Path>,
    column: &Column,
    columns: &[Column],
) -> Option<Figure> {
    let rounds = values(column, place)?;
    // What is lost is next to nothing or next to all: its ratios say nothing.
    let is_compared = !(quantity.unit == Unit::Share && quantity.better == Better::Lower);
    let is_base = |other: &&Column| {
        is_compared
            && other.children == column.children
            && other.contender != column.contender
            && BASES.contains(&other.contender)
    };
    let ratios = columns.iter().filter(is_base);
    let ratios = ratios
        .filter_map(|other| Some((other.contender, Spread::of_ratios(&rounds, &values(other, place)?)?)));
    let own = columns.iter().filter(|other| other.contender == column.contender);
    let fewest = own.filter(|other| other.rounds.is_ok()).min_by_key(|other| other.children);
    let of_fewest = fewest
        .filter(|fewest| column.children.is_some() && fewest.children != column.children)
        .and_then(|fewest| Spread::of_ratios(&rounds, &values(fewest, place)?));
    Some(Figure {
        workload: quantity.name,
        title: quantity.title,
        path,
        children: column.children,
        contender: column.contender,
        unit: quantity.unit,
        better: quantity.better,
        spread: Spread::of(rounds.iter().copied())?,
        ratios: ratios.collect(),
        of_fewest,
        rounds,
    })
}

/// One quantity's value in each round.
fn values(column: &Column, place: usize) -> Option<Vec<f64>> {
    column.rounds.as_ref().ok()?.iter().map(|round| round.get(place).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::quantity::{FRAME_COST, TCP_1};

    fn column(contender: &'static str, children: Option<u32>, rounds: &[f64]) -> Column {
        Column { contender, children, rounds: Ok(rounds.iter().map(|value| vec![*value]).collect()) }
    }

    #[test]
    fn a_figure_is_compared_with_every_base_of_its_rounds() {
        let columns = [
            column("tc", None, &[9.0, 18.0, 9.0]),
            column("macvlan", None, &[10.0, 20.0, 10.0]),
            column("routed", None, &[5.0, 5.0, 5.0]),
            Column { contender: "bridge", children: None, rounds: Err("gone".into()) },
        ];
        let (figures, failures) = figures(&TCP_1, Some(Path::WireChild), &columns);
        assert_eq!(figures.len(), 3);
        assert_eq!(figures[0].ratios.keys().collect::<Vec<_>>(), [&"macvlan"]);
        assert_eq!(figures[0].ratios["macvlan"].median, 0.9);
        assert!(figures[1].ratios.is_empty());
        assert_eq!(
            (failures.len(), failures[0].contender, failures[0].reason.as_str()),
            (1, "bridge", "gone")
        );
    }

    #[test]
    fn what_is_varied_is_compared_with_the_fewest_and_with_equals() {
        let columns = [
            column("tc", Some(1), &[2.0, 2.0]),
            column("tc", Some(4000), &[3.0, 3.0]),
            column("macvlan", Some(4000), &[2.0, 2.0]),
        ];
        let (figures, _) = figures(&FRAME_COST, None, &columns);
        assert_eq!(figures[0].of_fewest, None);
        assert_eq!(figures[1].of_fewest.unwrap().median, 1.5);
        assert_eq!(figures[1].ratios["macvlan"].median, 1.5);
        assert!(figures[0].ratios.is_empty());
    }
}
