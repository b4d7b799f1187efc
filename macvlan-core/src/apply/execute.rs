//! A plan carried out on one master: all of it or nothing, but for what comes last because it
//! cannot be taken back.

use anyhow::Result;

use crate::{
    apply::{
        change::{Changed, take_down},
        create::Created,
        fallback::{remove_shims, step_down},
    },
    datapath::{Datapath as _, bpf::attached::Bpf, shim},
    discovery::locked_master::LockedMaster,
    model::{
        child::Child,
        description::Degraded,
        members::Members,
        options::{MissingChoice, Options, TcChoice, XdpChoice},
        request::AttachRequest,
    },
    plan::{planned::Plan, policies::changes},
};

/// Makes and changes children, puts the data path in place, then deletes. Gives back what is less
/// than was asked for.
///
/// # Errors
///
/// When something cannot be. Everything is as before then, unless it is only that a child cannot be
/// taken down or deleted at the end.
pub async fn execute(locked: &mut LockedMaster, request: &AttachRequest, plan: &Plan) -> Result<Vec<String>> {
    let before = locked.members()?;
    let created = Created::make(locked, &plan.children).await?;
    let mut changed = Changed::default();
    let put = async {
        changed.make_all(&plan.children).await?;
        put_in_place(locked, request, plan, &before).await
    };
    let warnings = match put.await {
        Ok(warnings) => warnings,
        Err(error) => {
            changed.undo().await;
            created.undo().await;
            if let Ok(bpf) = &mut locked.attached {
                // The error that led here is the one to report.
                let _ = bpf.sync(&locked.master, &before);
            }
            return Err(error);
        }
    };
    take_down(&plan.children).await?;
    locked.delete(&plan.doomed).await?;
    Ok(warnings)
}

/// Puts the programs on the master, or finds out why that cannot be.
async fn put_in_place(
    locked: &mut LockedMaster,
    request: &AttachRequest,
    plan: &Plan,
    before: &Members,
) -> Result<Vec<String>> {
    locked.observe().await?;
    let (options, max_children) = (locked.wanted_options(request), locked.wanted_max_children(request));
    let changes = changes(locked, request, &plan.children, before).await?;
    let mut members = locked.wanted_members(options.adopt, &changes)?;
    for doomed in &plan.doomed {
        let has_twin = |child: &Child| child.mac == doomed.mac && !child.is_same(doomed);
        if !locked.children().iter().any(has_twin) {
            members.policies.remove(&doomed.mac);
        }
    }
    // Whoever follows learns of addresses as they come.
    let owners = locked.find_addresses(&mut members, !request.follows).await?;
    if let Ok(bpf) = &mut locked.attached {
        bpf.update(&locked.master, &request.options)?;
        bpf.sync(&locked.master, &members)?;
        let children: Vec<&Child> = locked.observed.of(locked.master.index).iter().collect();
        bpf.vouch(&children, &members.policies).await?;
        bpf.set_owners(&locked.master, &owners)?;
        let warnings = warnings(&bpf.description().degraded, &request.options);
        remove_shims(locked).await?;
        return Ok(warnings);
    }
    if let Some(reason) = locked.refusal.clone() {
        return step_down(locked, request, &plan.doomed, &shim::access(&changes), reason).await;
    }
    locked.remove_broken().await?;
    match Bpf::install(&locked.netlink, &locked.master, options, max_children, &members).await {
        Ok(mut bpf) => {
            let children: Vec<&Child> = locked.children().iter().collect();
            bpf.vouch(&children, &members.policies).await?;
            bpf.set_owners(&locked.master, &owners)?;
            // Only now: until the hairpin stands, host and children talk through the shim.
            remove_shims(locked).await?;
            Ok(warnings(&bpf.description().degraded, &request.options))
        }
        Err(error) if request.options.on_missing_bpf == Some(MissingChoice::Fail) => Err(error),
        Err(error) => {
            let reason = format!("BPF cannot be had: {error:#}");
            step_down(locked, request, &plan.doomed, &shim::access(&changes), reason).await
        }
    }
}

/// What a person should look at: not what `auto` chose for good reasons.
fn warnings(degraded: &[Degraded], options: &Options) -> Vec<String> {
    let chosen = |degraded: &&Degraded| match degraded.feature.as_str() {
        "demux" => !matches!(options.xdp, None | Some(XdpChoice::Auto)),
        "hairpin" => !matches!(options.tc, None | Some(TcChoice::Auto)) || degraded.got == "off",
        _ => true,
    };
    degraded.iter().filter(chosen).map(Degraded::to_string).collect()
}
