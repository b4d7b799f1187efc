//! Columns on screens of any width.

use proptest::prelude::*;

use crate::top::{
    columns::{Column, VIEWS},
    layout::{Traits, layout},
};

fn titles(view: usize, screen: u16) -> Vec<&'static str> {
    let columns = layout(VIEWS[view], screen, Traits::default());
    columns.iter().map(|(column, _)| column.title()).collect()
}

#[test]
fn a_wider_screen_shows_more() {
    assert_eq!(titles(0, 40), ["CHILD", "RX b/s", "TX b/s", "DROP/s"]);
    assert_eq!(titles(0, 80), ["CHILD", "IFACE", "MAC", "RX b/s", "TX b/s", "DROP/s", "HISTORY"]);
    assert_eq!(titles(1, 40), ["CHILD", "RX b/s", "TX b/s"]);
    assert_eq!(titles(4, 40), ["CHILD", "DROP/s", "DROPS"]);
    let all = layout(VIEWS[0], 250, Traits { masters: true, ..Traits::default() });
    for column in [Column::Master, Column::Netns, Column::Interface, Column::Mac, Column::Mode] {
        assert!(all.iter().any(|(shown, _)| *shown == column), "{column:?}");
    }
    assert_eq!(all.iter().filter(|(column, _)| matches!(column, Column::Rate(..))).count(), 16);
}

proptest! {
    #[test]
    fn columns_fit_their_screen(view in 0..5_usize, screen in 16..400_u16, masters: bool, name in 0..70_usize, interface in 0..16_usize) {
        let columns = layout(VIEWS[view], screen, Traits { masters, name, interface });
        // A mark before, a blank between.
        let taken = columns.iter().map(|(_, width)| width + 1).sum::<u16>() + 1;
        prop_assert!(taken <= screen, "{taken} of {screen}: {columns:?}");
        prop_assert_eq!(columns.first().map(|(column, _)| *column), Some(Column::Name));
        prop_assert!(columns.iter().all(|(column, width)| *width >= column.width()));
    }
}
