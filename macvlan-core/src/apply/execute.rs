//! A plan carried out on one master: all of it or nothing, but for what comes last because it
//! cannot be taken back.

use anyhow::Result;

use crate::{
    apply::{
        change::{change_all, confirm_all, take_down},
        create::create_all,
        fallback::{remove_shims, step_down},
        flood::keep_flood,
        holders::tell_holders,
        journal::Journal,
    },
    datapath::{
        Datapath as _,
        bpf::{attached::Bpf, ingress_need, prepare::Prepared, single_mac::is_single},
        shim,
    },
    discovery::locked_master::LockedMaster,
    model::{
        child::Child,
        description::Degraded,
        fit::fit,
        members::Members,
        neighbours::ToldAddresses,
        options::{MissingChoice, Options, TcChoice, XdpChoice},
        request::AttachRequest,
    },
    plan::{
        planned::{Plan, PlannedChild},
        policies::changes,
    },
};

/// Makes and changes children, puts the data path in place, then deletes. Gives back what is less
/// than was asked for.
///
/// # Errors
///
/// When something cannot be. Everything is as before then, unless it is only that a child cannot be
/// taken down or deleted at the end.
pub async fn execute(locked: &mut LockedMaster, request: &AttachRequest, plan: &Plan) -> Result<Vec<String>> {
    let before = locked.members();
    let mut journal = Journal::begin(locked).await?;
    let put = async {
        create_all(locked, &mut journal, &plan.children).await?;
        confirm_all(locked, &mut journal, &plan.children).await?;
        change_all(locked, &mut journal, &plan.children).await?;
        put_in_place(locked, request, plan, &before).await
    };
    let put = put.await;
    let mut warnings = journal.close(locked, put).await?;
    take_down(&locked.master.netns, &plan.children).await?;
    locked.delete(&plan.doomed).await?;
    let changed = !plan.doomed.is_empty() || plan.children.iter().any(PlannedChild::is_taken_down);
    warnings.extend(keep_flood(locked, changed).await);
    Ok(warnings)
}

/// Puts the programs on the master, or finds out why that cannot be.
async fn put_in_place(
    locked: &mut LockedMaster,
    request: &AttachRequest,
    plan: &Plan,
    before: &Members,
) -> Result<Vec<String>> {
    // What was there when the plan was made tells all, where no child was made or changed since.
    if plan.children.iter().any(|child| !child.is_kept()) {
        locked.observe().await?;
    }
    let (options, max_children) = (locked.wanted_options(request), locked.wanted_max_children(request));
    let changes = changes(locked, request, &plan.children, before).await?;
    let mut members = {
        let readdressed = plan.children.iter().filter(|planned| planned.change.mac.is_some());
        let former = readdressed.filter_map(|planned| Some(planned.existing.as_ref()?.mac)).collect();
        locked.wanted_members(options.adopt, changes.clone(), Some(&request.policies), &former).await?
    };
    for doomed in &plan.doomed {
        let has_twin = |child: &Child| child.mac == doomed.mac && !child.is_same(doomed);
        if !locked.children().iter().any(has_twin) {
            members.policies.remove(&doomed.mac);
        }
    }
    if request.follows {
        let children: Vec<&Child> = locked.children().iter().collect();
        fit(&mut members, &children, &before.policies, max_children as usize);
    }
    // Whoever follows learns of addresses as they come.
    let owners = locked.find_addresses(&mut members, !request.follows).await?;
    if let Ok(bpf) = &mut locked.attached {
        bpf.update(&locked.master, &request.options).await?;
        bpf.sync(&locked.master, &members)?;
        return complete(locked, request, &members, &owners).await;
    }
    if let Some(reason) = locked.refusal.clone() {
        return step_down(locked, request, &plan.doomed, &shim::access(&changes), reason).await;
    }
    locked.remove_broken().await?;
    let prepared = locked.prepared.take().filter(|prepared| prepared.max_children() == max_children);
    let single = is_single(&options, &locked.master);
    let prepared = prepared.unwrap_or_else(|| Prepared::begin(max_children, single));
    match Bpf::install(prepared, &locked.netlink, &locked.master, options, &members).await {
        Ok(bpf) => {
            // From here on the journal takes it off when something fails.
            locked.attached = Ok(Box::new(bpf));
            complete(locked, request, &members, &owners).await
        }
        Err(error) if request.options.on_missing_bpf == Some(MissingChoice::Fail) => Err(error),
        Err(error) => {
            let reason = format!("BPF is unavailable: {error:#}");
            step_down(locked, request, &plan.doomed, &shim::access(&changes), reason).await
        }
    }
}

/// Puts in place what a data path needs beside its maps.
async fn complete(
    locked: &mut LockedMaster,
    request: &AttachRequest,
    members: &Members,
    owners: &ToldAddresses,
) -> Result<Vec<String>> {
    let Ok(bpf) = &mut locked.attached else { return Ok(Vec::new()) };
    let children: Vec<&Child> = locked.observed.of(locked.master.index).iter().collect();
    bpf.vouch(&children, &members.policies).await?;
    bpf.set_owners(&locked.master, owners)?;
    let warnings = warnings(&bpf.description().degraded, &request.options);
    tell_holders(locked, &members.policies).await?;
    // Only now: until the hairpin stands, host and children talk through the shim.
    remove_shims(locked).await?;
    Ok(warnings)
}

/// What a person should look at: not what `auto` chose for good reasons.
fn warnings(degraded: &[Degraded], options: &Options) -> Vec<String> {
    let chosen = |degraded: &&Degraded| match degraded.feature.as_str() {
        "demux" => !matches!(options.xdp, None | Some(XdpChoice::Auto)),
        "hairpin" => !matches!(options.tc, None | Some(TcChoice::Auto)) || degraded.got == "off",
        // That is seen last.
        _ => !ingress_need::concerns(degraded),
    };
    degraded.iter().filter(chosen).map(Degraded::to_string).collect()
}
