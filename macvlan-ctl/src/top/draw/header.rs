//! The lines above the table: what is shown, and the masters.

use macvlan_core::model::{description::Carrier, printable::printable, stats::Pair};

use crate::top::{
    draw::{pen::Pen, theme::Theme},
    model::{MasterRow, bits},
    screen::{Mode, Screen},
    text::{join_fitting, si},
};

/// What is shown and how; below it what went wrong, if anything.
pub(crate) fn title(screen: &Screen, pen: &mut Pen<'_>) {
    let columns = pen.columns();
    let Screen { theme, sort, filter, .. } = screen;
    let is_table = matches!(screen.mode, Mode::Table | Mode::Filter);
    let only_table = |text: String| if is_table { text } else { String::new() };
    let title = sort.column.title();
    let parts = [
        if columns < 60 { "top" } else { "macvlan-ctl top" }.to_owned(),
        if screen.is_paused { "PAUSED".to_owned() } else { String::new() },
        only_table(screen.view.as_str().to_owned()),
        only_table(if filter.text().is_empty() {
            String::new()
        } else {
            format!("filter {:?}", filter.text())
        }),
        only_table(format!("by {title}{}", theme.arrow(sort.is_downwards()))),
        format!("every {}s", screen.interval.as_secs_f64()),
    ];
    let text = join_fitting(parts.iter().map(String::as_str), "  ", columns);
    pen.line(&text, theme.strong());
    if let Some(trouble) = &screen.model.trouble {
        pen.line(&format!("{}; trying again", printable(trouble)), theme.bad());
    }
}

/// The masters: two lines for each or, where there is less room, one; no more than a quarter of the
/// screen.
pub(crate) fn masters(masters: &[MasterRow], theme: Theme, pen: &mut Pen<'_>) {
    let room = (pen.lines() + 2) / 4;
    if room < 2 {
        return;
    }
    let twice = masters.len() * 2 <= room && room >= 4;
    let shown = if masters.len() > room { room - 1 } else { masters.len() };
    for master in &masters[..shown] {
        let style = if master.status.degraded.is_empty() { theme.strong() } else { theme.warning() };
        let (mut what, rates) = (identity(master), rates(master));
        if twice {
            let columns = pen.columns();
            pen.line(&join_fitting(what.iter().map(String::as_str), ", ", columns), style);
            pen.line(
                &format!("  {}", join_fitting(rates.iter().map(String::as_str), ", ", columns - 2)),
                theme.faint(),
            );
        } else {
            what.extend(rates);
            pen.line(&join_fitting(what.iter().map(String::as_str), ", ", pen.columns()), style);
        }
    }
    if shown < masters.len() {
        pen.line(&format!("and {} more devices", masters.len() - shown), theme.faint());
    }
}

fn identity(master: &MasterRow) -> Vec<String> {
    let status = &master.status;
    let carrier = if status.datapath == Carrier::Bpf { "bpf" } else { "kernel" };
    let degraded = match status.degraded.len() {
        0 => String::new(),
        count => format!("{count} degraded"),
    };
    let children =
        if master.children == 1 { "1 child".to_owned() } else { format!("{} children", master.children) };
    vec![
        format!("{}: {carrier}", printable(&status.ifname)),
        format!("demux {}", status.demux.as_str()),
        format!("hairpin {}", status.hairpin.as_str()),
        degraded,
        children,
    ]
}

fn rates(master: &MasterRow) -> Vec<String> {
    let Some(traffic) = master.traffic else { return vec!["nothing is counted".to_owned()] };
    let packets = |pair: Pair| si(pair.packets);
    let mut rates = vec![format!("rx {} tx {} b/s", si(bits(traffic.rx)), si(bits(traffic.tx)))];
    rates.extend(
        master
            .drops
            .zip(master.dropped)
            .map(|(now, all)| format!("drops {}/s, {} in all", packets(now), packets(all))),
    );
    rates.extend(master.unknown_unicast.map(|unknown| format!("for nobody {}/s", packets(unknown))));
    rates
}
