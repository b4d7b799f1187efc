//! What keys mean.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::top::columns::{Column, Measure, VIEWS, View};

/// What a key asks for where the table, or a child, is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End the program.
    Quit,
    /// Go to the background, as ^Z does.
    Suspend,
    /// Paint everything anew.
    Redraw,
    /// Show the keys.
    Help,
    /// Go out of whatever this is; in the table, take the filter away.
    Back,
    /// Show the selected child.
    Open,
    /// Begin a filter.
    Filter,
    /// Stop or go on.
    Pause,
    /// Look less often.
    Slower,
    /// Look more often.
    Faster,
    /// Select another row.
    Move(Move),
    /// Sort by the column so many to the right, round and round.
    SortNext(isize),
    /// Sort by this column, or the second one if by the first already.
    SortBy(Column, Column),
    /// Turn the order around.
    Reverse,
    /// Show this.
    View(View),
    /// Show what is so many further, round and round.
    ViewNext(isize),
}

/// A way through the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// So many rows down.
    Rows(isize),
    /// So many screens down.
    Pages(isize),
    /// To the first.
    First,
    /// To the last.
    Last,
}

/// Keys and what they do, as the help shows them.
pub const HELP: [(&str, &str); 18] = [
    ("q, Ctrl-C", "quit"),
    ("Up Down j k PgUp PgDn Home End", "select a child"),
    ("Enter", "show the selected child"),
    ("Esc", "back; in the table, no filter any more"),
    ("/", "only what matches container, MAC, IP, interface"),
    ("< >, s", "sort by the column to the left, to the right"),
    ("N", "sort by name; again: by namespace"),
    ("B P", "sort by bits or packets received; again: sent"),
    ("D", "sort by drops per second; again: in all"),
    ("M", "sort by MAC; again: by master"),
    ("r", "reverse the order"),
    ("v Tab, 1 2 3 4 5", "next view; all paths, wire, host, sibling, drops"),
    ("Space", "stop, go on"),
    ("+ -", "look less or more often"),
    ("Ctrl-L, Ctrl-Z", "paint anew; to the background"),
    ("+ before a name", "this child is new"),
    ("x before a name", "this child is gone"),
    ("- for a number", "nothing is counted of it"),
];

/// What a key asks for; `None` for one that means nothing here.
pub fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('z') => Some(Action::Suspend),
            KeyCode::Char('l') => Some(Action::Redraw),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Action::Help,
        KeyCode::Esc => Action::Back,
        KeyCode::Enter => Action::Open,
        KeyCode::Char('/') => Action::Filter,
        KeyCode::Char(' ') => Action::Pause,
        KeyCode::Char('+') => Action::Slower,
        KeyCode::Char('-') => Action::Faster,
        KeyCode::Up | KeyCode::Char('k') => Action::Move(Move::Rows(-1)),
        KeyCode::Down | KeyCode::Char('j') => Action::Move(Move::Rows(1)),
        KeyCode::PageUp => Action::Move(Move::Pages(-1)),
        KeyCode::PageDown => Action::Move(Move::Pages(1)),
        KeyCode::Home | KeyCode::Char('g') => Action::Move(Move::First),
        KeyCode::End | KeyCode::Char('G') => Action::Move(Move::Last),
        KeyCode::Char('<' | ',') => Action::SortNext(-1),
        KeyCode::Char('>' | '.' | 's') => Action::SortNext(1),
        KeyCode::Char('r' | 'R') => Action::Reverse,
        KeyCode::Char('N') => Action::SortBy(Column::Name, Column::Netns),
        KeyCode::Char('B') => rates(Measure::RxBits, Measure::TxBits),
        KeyCode::Char('P') => rates(Measure::RxPackets, Measure::TxPackets),
        KeyCode::Char('D') => Action::SortBy(Column::DropRate(None), Column::DropTotal(None)),
        KeyCode::Char('M') => Action::SortBy(Column::Mac, Column::Master),
        KeyCode::Char('v') | KeyCode::Tab => Action::ViewNext(1),
        KeyCode::BackTab => Action::ViewNext(-1),
        KeyCode::Char(digit @ '1'..='5') => Action::View(VIEWS[digit as usize - '1' as usize]),
        _ => return None,
    })
}

const fn rates(first: Measure, second: Measure) -> Action {
    Action::SortBy(Column::Rate(None, first), Column::Rate(None, second))
}
