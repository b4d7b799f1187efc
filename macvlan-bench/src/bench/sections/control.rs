//! What commands take: attach, add and delete children, beside `ip -batch`; and the memory of it all.

use anyhow::{Context as _, Result};
use macvlan_core::{
    commands::{child_add, child_del},
    discovery::access::Access,
    model::spec::{ChildChange, ChildSpec},
};

use crate::{
    bench::{
        batch::Batch,
        contender::{Contender, Described},
        crowd::{Crowd, Joined, name},
        effort::Effort,
        memory, quantity,
        rounds::Cell,
        run::Run,
        wiring::DEVICE,
    },
    lab::{cables::on, namespaces},
};

/// How many children there are.
const SIZES: [u32; 5] = [1, 10, 100, 1000, 4000];

/// Children whose memory is told apart from the noise.
const MEMORY_SIZE: u32 = 1000;

/// The contender whose data path is attached.
const OURS: &str = "tc";

/// Whose memory is measured.
fn is_weighed(contender: &Contender) -> bool {
    matches!(contender.name, OURS | "macvlan" | "bridge")
}

/// How many measurements it takes.
pub fn steps(effort: &Effort) -> usize {
    if effort.quick {
        return 0;
    }
    let weighed = effort.contenders.iter().filter(|contender| is_weighed(contender)).count();
    let batches = |children| Batch::available().into_iter().filter(move |batch| children <= batch.most());
    // Each size: attach, our own add and delete, and that of the others.
    let each = SIZES.map(|children| 2 + batches(children).count());
    let commands = if takes_part(effort) { each.iter().sum() } else { 0 };
    (weighed + commands) * (effort.rounds.crowds + 1)
}

fn takes_part(effort: &Effort) -> bool {
    effort.contenders.iter().any(|contender| contender.name == OURS)
}

/// Measures all of it.
pub fn run(run: &mut Run<'_>) {
    if run.effort.quick {
        return;
    }
    if takes_part(run.effort) {
        commands(run);
    }
    let weighed = run.effort.contenders.iter().filter(|contender| is_weighed(contender));
    let cells = weighed.map(|contender| Cell {
        contender: contender.name,
        children: Some(MEMORY_SIZE),
        measure: Box::new(move || Ok(vec![weigh(contender)?])),
    });
    let cells = cells.collect();
    run.measure(&quantity::MEMORY, None, run.effort.rounds.crowds, cells);
}

fn commands(run: &mut Run<'_>) {
    let attach = SIZES.map(|children| Cell {
        contender: OURS,
        children: Some(children),
        measure: Box::new(move || attach(children)),
    });
    run.measure(&quantity::ATTACH, None, run.effort.rounds.crowds, attach.into());

    let mut cells: Vec<Cell<'_>> = Vec::new();
    for children in SIZES {
        cells.push(Cell {
            contender: OURS,
            children: Some(children),
            measure: Box::new(move || add_and_delete(children)),
        });
        for batch in Batch::available().into_iter().filter(|batch| children <= batch.most()) {
            let measure = Box::new(move || batch.add_and_delete(children));
            cells.push(Cell { contender: batch.name(), children: Some(children), measure });
        }
    }
    run.measure(&quantity::CHILDREN, None, run.effort.rounds.crowds, cells);
    run.others.extend(Batch::available().into_iter().map(|batch| Described {
        name: batch.name(),
        title: batch.title(),
        ours: false,
        limit: false,
        missing: None,
    }));
}

/// Seconds until so many children that others made are adopted, and bytes of the maps then.
fn attach(children: u32) -> Result<Vec<f64>> {
    let options = Contender::named(OURS).and_then(|ours| ours.datapath).context("nothing is ours")?;
    let mut crowd = Crowd::build(Joined::Macvlan, children)?;
    let start = std::time::Instant::now();
    crowd.attach(options())?;
    let took = start.elapsed();
    Ok(vec![took.as_secs_f64(), memory::of_maps(&crowd.host.netns)? as f64])
}

/// Seconds for so many new children on a master with our data path, and for their end.
fn add_and_delete(children: u32) -> Result<Vec<f64>> {
    let options = Contender::named(OURS).and_then(|ours| ours.datapath).context("nothing is ours")?;
    let mut crowd = Crowd::empty(Joined::Macvlan)?;
    crowd.attach(options())?;
    let home = namespaces::path_of(&crowd.home);
    let spec = |number| format!("{},netns={}", name(number), home.display()).parse::<ChildSpec>();
    let specs = (0..children).map(spec).collect::<Result<Vec<_>>>()?;
    let gone = (0..children).map(|number| name(number).parse()).collect::<Result<Vec<ChildChange>>>()?;
    let host = &crowd.host.netns;
    let start = std::time::Instant::now();
    on(host, async || child_add::add(DEVICE, &specs, Access::Change).await)?;
    let added = start.elapsed();
    on(host, async || child_del::del(DEVICE, &gone, Access::Change).await)?;
    let deleted = start.elapsed() - added;
    Ok(vec![added.as_secs_f64(), deleted.as_secs_f64()])
}

/// Bytes of kernel memory that each of many children takes, its part of the data path included.
fn weigh(contender: &Contender) -> Result<f64> {
    let joined = if contender.name == "bridge" { Joined::Bridge } else { Joined::Macvlan };
    let mut crowd = Crowd::empty(joined)?;
    let before = memory::of_kernel()?;
    crowd.make(0..MEMORY_SIZE)?;
    if let Some(options) = contender.datapath {
        crowd.attach(options())?;
    }
    let after = memory::of_kernel()?;
    Ok((after as f64 - before as f64) / f64::from(MEMORY_SIZE))
}
