//! What the user has chosen to see, and what keys change about it.

use std::time::{Duration, Instant};

use macvlan_core::model::printable::printable;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::top::{
    columns::{Column, Measure, VIEWS, View},
    draw::theme::Theme,
    feed::Sample,
    keys::{Action, HELP, Move, action},
    layout::Traits,
    model::{Key, Model, Row},
    order::{Filter, Sort},
    text::width,
};

/// Times between two looks that `+` and `-` walk through, in milliseconds.
const INTERVALS: [u64; 13] =
    [500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000];

/// The screen: what there is to be shown, and how it is to be shown.
#[derive(Debug, Clone)]
pub struct Screen {
    /// What there is.
    pub(crate) model: Model,
    /// Colours and characters.
    pub(crate) theme: Theme,
    /// Time between two looks.
    pub(crate) interval: Duration,
    /// What fills the screen.
    pub(crate) mode: Mode,
    /// What the table is about.
    pub(crate) view: View,
    /// The order of the table.
    pub(crate) sort: Sort,
    /// What the table is narrowed to.
    pub(crate) filter: Filter,
    /// Samples are passed over.
    pub(crate) is_paused: bool,
    /// First row on the screen.
    pub(crate) offset: usize,
    /// Rows on the screen when it was last drawn.
    pub(crate) page: usize,
    /// Columns on the screen when it was last drawn.
    pub(crate) shown: Vec<Column>,
    selected: Option<Key>,
    /// Where the selected row was, for when it is no more.
    position: usize,
}

/// What fills the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The table.
    Table,
    /// The table while a filter is typed.
    Filter,
    /// The selected child.
    Detail,
    /// The keys, from this line on.
    Help(usize),
}

/// What a key asks of whoever shows the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// To draw.
    Draw,
    /// To draw on an empty screen.
    Redraw,
    /// To look this often from now on.
    Interval(Duration),
    /// To leave the terminal to the shell until it says otherwise.
    Suspend,
    /// To end.
    Quit,
}

impl Screen {
    /// An empty one, for looks this far apart.
    pub fn new(theme: Theme, interval: Duration) -> Self {
        Self {
            model: Model::default(),
            theme,
            interval,
            mode: Mode::Table,
            view: View::All,
            sort: Sort::by(Column::Rate(None, Measure::RxBits)),
            filter: Filter::default(),
            is_paused: false,
            offset: 0,
            page: 1,
            shown: Vec::new(),
            selected: None,
            position: 0,
        }
    }

    /// Takes what was read, or why nothing could be; passes over it while paused.
    pub fn take(&mut self, read: Result<Sample, String>, now: Instant) {
        match read {
            _ if self.is_paused => {}
            Ok(sample) => self.model.take(&sample),
            Err(error) => self.model.fail(now, error),
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Instant) {
        if !self.is_paused {
            self.model.expire(now);
        }
    }

    /// Answers to a key.
    pub fn press(&mut self, key: KeyEvent) -> Reaction {
        if self.mode == Mode::Filter {
            return self.type_filter(key);
        }
        let Some(action) = action(key) else {
            if matches!(self.mode, Mode::Help(_)) && key.kind != KeyEventKind::Release {
                self.mode = Mode::Table;
            }
            return Reaction::Draw;
        };
        match (self.mode, action) {
            (_, Action::Quit) => return Reaction::Quit,
            (_, Action::Suspend) => return Reaction::Suspend,
            (_, Action::Redraw) => return Reaction::Redraw,
            (Mode::Help(line), Action::Move(way)) => {
                self.mode = Mode::Help(moved(line, way, self.page, HELP.len()));
            }
            (Mode::Help(_), _) | (Mode::Detail, Action::Back | Action::Open) => self.mode = Mode::Table,
            (_, Action::Help) => self.mode = Mode::Help(0),
            (_, Action::Pause) => self.is_paused = !self.is_paused,
            (_, Action::Slower) => return self.change_interval(|step, now| step > now, false),
            (_, Action::Faster) => return self.change_interval(|step, now| step < now, true),
            (_, Action::Move(way)) => self.select(way),
            (Mode::Detail, _) => {}
            (_, Action::Back) => self.filter.clear(),
            (_, Action::Open) => self.open(),
            (_, Action::Filter) => self.mode = Mode::Filter,
            (_, Action::SortNext(step)) => self.sort_next(step),
            (_, Action::SortBy(first, second)) => self.sort_by(first, second),
            (_, Action::Reverse) => self.sort.reversed = !self.sort.reversed,
            (_, Action::View(view)) => self.show(view),
            (_, Action::ViewNext(step)) => {
                let at = VIEWS.iter().position(|view| *view == self.view).unwrap_or(0);
                self.show(VIEWS[round(at, step, VIEWS.len())]);
            }
        }
        Reaction::Draw
    }

    /// The rows of the table, in their order.
    pub(crate) fn rows(&self) -> Vec<&Row> {
        self.sort.apply(self.model.rows.values(), &self.filter)
    }

    /// What the rows have in common that decides about columns.
    pub(crate) fn traits(&self) -> Traits {
        let longest = |text: fn(&Row) -> String| {
            self.model.rows.values().map(|row| width(&text(row))).max().unwrap_or(0)
        };
        let first = self.model.rows.keys().next().map(|key| &key.master);
        Traits {
            masters: self.model.rows.keys().any(|key| Some(&key.master) != first),
            name: longest(|row| row.name.clone()),
            interface: longest(|row| printable(&row.about.ifname)),
        }
    }

    /// Where the selected row is among these; when it is no more, the one in its place.
    pub(crate) fn selected_among(&self, rows: &[&Row]) -> Option<usize> {
        let last = rows.len().checked_sub(1)?;
        let found = rows.iter().position(|row| Some(&row.key) == self.selected.as_ref());
        Some(found.unwrap_or(self.position.min(last)))
    }

    /// The selected child.
    pub(crate) fn selected(&self) -> Option<&Row> {
        self.model.rows.get(self.selected.as_ref()?)
    }

    /// Brings the selected row, which is at this place, onto a table of `page` rows.
    pub(crate) fn scroll_to(&mut self, position: Option<usize>, page: usize, rows: usize) {
        self.page = page.max(1);
        let Some(position) = position else { return self.offset = 0 };
        self.position = position;
        let lowest = (position + 1).saturating_sub(self.page);
        self.offset = self.offset.clamp(lowest, position.max(lowest)).min(rows.saturating_sub(self.page));
    }

    fn select(&mut self, way: Move) {
        let rows = self.rows();
        let Some(position) = self.selected_among(&rows) else { return };
        let position = moved(position, way, self.page, rows.len());
        let key = rows.get(position).map(|row| row.key.clone());
        (self.selected, self.position) = (key, position);
    }

    fn open(&mut self) {
        let rows = self.rows();
        let key = self.selected_among(&rows).and_then(|at| rows.get(at)).map(|row| row.key.clone());
        if key.is_some() {
            (self.selected, self.mode) = (key, Mode::Detail);
        }
    }

    fn type_filter(&mut self, key: KeyEvent) -> Reaction {
        let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            _ if key.kind == KeyEventKind::Release => {}
            KeyCode::Char('c') if with_control => return Reaction::Quit,
            KeyCode::Char('u') if with_control => self.filter.clear(),
            KeyCode::Char(_) if with_control => {}
            KeyCode::Char(c) => self.filter.push(c),
            KeyCode::Backspace => self.filter.pop(),
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Table;
            }
            KeyCode::Up => self.select(Move::Rows(-1)),
            KeyCode::Down => self.select(Move::Rows(1)),
            _ => {}
        }
        Reaction::Draw
    }

    fn change_interval(&mut self, fits: fn(Duration, Duration) -> bool, from_end: bool) -> Reaction {
        let mut steps = INTERVALS.map(Duration::from_millis);
        if from_end {
            steps.reverse();
        }
        match steps.into_iter().find(|step| fits(*step, self.interval)) {
            Some(step) => {
                self.interval = step;
                Reaction::Interval(step)
            }
            None => Reaction::Draw,
        }
    }

    fn sort_next(&mut self, step: isize) {
        let at = self.shown.iter().position(|column| *column == self.sort.column);
        let next = match (at, step > 0) {
            (Some(at), _) => round(at, step, self.shown.len()),
            (None, true) => 0,
            (None, false) => self.shown.len().saturating_sub(1),
        };
        if let Some(column) = self.shown.get(next) {
            self.sort = Sort::by(*column);
        }
    }

    fn sort_by(&mut self, first: Column, second: Column) {
        let [first, second] = [first, second].map(|column| Sort::by(column).in_view(self.view));
        self.sort = if self.sort.column == first.column { second } else { first };
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.sort = self.sort.in_view(view);
    }
}

fn moved(from: usize, way: Move, page: usize, rows: usize) -> usize {
    let last = rows.saturating_sub(1);
    let by = |rows: isize| from.saturating_add_signed(rows).min(last);
    match way {
        Move::Rows(rows) => by(rows),
        Move::Pages(pages) => by(pages.saturating_mul(page.try_into().unwrap_or(isize::MAX))),
        Move::First => 0,
        Move::Last => last,
    }
}

/// So many further in a ring of `length`.
fn round(at: usize, step: isize, length: usize) -> usize {
    let length = isize::try_from(length).unwrap_or(isize::MAX).max(1);
    (at as isize + step).rem_euclid(length) as usize
}
