//! The data path on the master, as attachments come and go.
//!
//! One that is there learns of each child. One that is not is attached by the first child that
//! wants host access or a guard, and leaves the children of others alone; but for `antiSpoof`, which
//! must know every child to tell what is forged. It stays when the last child goes: `macvlan-ctl
//! detach` takes it off.

use std::collections::{BTreeMap, BTreeSet};

use macvlan_common::{child::AntiSpoof, mac::Mac};
use macvlan_core::{
    apply::{flood, sync},
    commands::attach,
    datapath::{
        Datapath as _,
        bpf::attached::{Bpf, Found},
    },
    discovery::{access::Access, locked_master::LockedMaster},
    kernel::netlink::Netlink,
    model::{
        master::Master,
        options::{MissingChoice, OptionValues, Options},
        request::AttachRequest,
    },
    policy::change::PolicyChange,
};

use crate::{
    config::{Config, OnMissingBpf},
    error::{CniError, CniResult, code},
};

/// What became of a child that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// The data path knows it, or it needs none; with what is less than it could be.
    Done(Vec<String>),
    /// There is no data path yet: see [`attach`](attach()).
    NotAttached,
}

/// Tells the data path of a child, with the number of the port that it is, or 0. The master must be locked.
///
/// # Errors
///
/// Code 11 when it has no room, 7 when it leaves children of others alone and so cannot tell what
/// is forged.
pub async fn join(
    netlink: &Netlink,
    master: &Master,
    config: &Config,
    mac: Mac,
    port: u32,
) -> CniResult<Joined> {
    let Found::Whole(mut bpf) = Bpf::find(netlink, master).await else {
        return Ok(if config.wants_data_path() { Joined::NotAttached } else { Joined::Done(Vec::new()) });
    };
    if config.anti_spoof != AntiSpoof::Off && !bpf.description().adopts {
        let msg = format!(
            "antiSpoof needs a data path that knows every child: run macvlan-ctl attach {} --adopt",
            master.name
        );
        return Err(CniError::new(code::INVALID_CONFIG, msg));
    }
    let full = |error: anyhow::Error| CniError::new(code::TRY_AGAIN, format!("{error:#}"));
    let change = PolicyChange {
        host_access: Some(config.wants_host_access()),
        group: config.group.map(Some),
        anti_spoof: Some(config.anti_spoof),
        mac_change: Some(config.mac_change),
        vepa_reflect: config.vepa_reflect,
        rate_scope: Some(config.rate.scope),
        ..PolicyChange::default()
    };
    let mut groups = bpf.members().groups.clone();
    let policy = change.apply(None, config.mode, &mut groups).map_err(full)?.with_port(port);
    let limits = config.rate.limits;
    let member = (policy.with_limit(!limits.is_empty()), limits);
    bpf.sync_one(master, mac, Some(member), groups).map_err(full)?;
    Ok(Joined::Done(keep_flood(netlink, master, &mut bpf, None).await))
}

/// Makes the data path forget a child. Gives what is less than it could be. The master must be locked.
///
/// # Errors
///
/// The data path's maps cannot be read or written.
pub async fn leave(netlink: &Netlink, master: &Master, mac: Mac) -> CniResult<Vec<String>> {
    let Found::Whole(mut bpf) = Bpf::find(netlink, master).await else { return Ok(Vec::new()) };
    let groups = bpf.members().groups.clone();
    bpf.sync_one(master, mac, None, groups)?;
    Ok(keep_flood(netlink, master, &mut bpf, Some(mac)).await)
}

/// What carries the host's broadcasts, as the children need it now. No container fails for that.
async fn keep_flood(netlink: &Netlink, master: &Master, bpf: &mut Bpf, left: Option<Mac>) -> Vec<String> {
    match flood::keep_flood_for_one(netlink, master, bpf, left).await {
        Ok(less) => less,
        Err(error) => vec![format!("{error:#}")],
    }
}

/// Takes away what is on a master without children and keeps a passthru child off it. The master must be
/// locked.
///
/// # Errors
///
/// A map cannot be written, or a device cannot be deleted.
pub async fn make_way(netlink: &Netlink, master: &Master) -> CniResult<()> {
    if let Found::Whole(mut bpf) = Bpf::find(netlink, master).await
        && bpf.members().policies.is_empty()
    {
        bpf.keep_flood(master, &[], &[]).await?;
    }
    Ok(())
}

/// Puts the data path on a master. Gives what is less than it could be. The master must not be
/// locked.
///
/// # Errors
///
/// Code 50 when the programs are unavailable and the network is not to be without.
pub async fn attach(master: &str, config: &Config) -> CniResult<Vec<String>> {
    let request = AttachRequest {
        options: Options {
            xdp: config.xdp,
            single_mac: config.single_mac,
            adopt: (config.anti_spoof != AntiSpoof::Off).then_some(true),
            on_missing_bpf: (config.on_missing_bpf == OnMissingBpf::Fail).then_some(MissingChoice::Fail),
            ..Options::default()
        },
        may_be_down: true,
        // Somebody else may have attached meanwhile: it stays as they said then.
        at_first: OptionValues { adopt: false, ..OptionValues::default() },
        ..AttachRequest::default()
    };
    match attach::attach_unasked(master, &request).await {
        Ok(outcome) => Ok(outcome.warnings),
        Err(error) if config.on_missing_bpf == OnMissingBpf::Continue => Ok(vec![format!(
            "{error:#}; containers on {master:?} have neither host access nor guards nor rates"
        )]),
        Err(error) => Err(CniError::new(code::NOT_AVAILABLE, "host access is unavailable")
            .with_details(format_args!("{error:#}"))),
    }
}

/// Brings the data path of a master to the children that there are now.
///
/// # Errors
///
/// The data path's maps cannot be read or written.
pub async fn resync(locked: &mut LockedMaster) -> CniResult<()> {
    if locked.attached.is_ok() {
        sync::sync(locked, &BTreeMap::new(), &BTreeSet::new()).await?;
        flood::keep_flood(locked, false).await;
    }
    Ok(())
}

/// Holds a child to its addresses, now that it has them. The master must not be locked. Gives what is
/// less than was asked for.
///
/// # Errors
///
/// The device's namespace cannot be entered, or it takes no program.
pub async fn guard(master: &str) -> CniResult<Vec<String>> {
    let mut locked = hold(master).await?;
    match locked.attached {
        Ok(_) => Ok(sync::sync(&mut locked, &BTreeMap::new(), &BTreeSet::new()).await?),
        Err(_) => Ok(Vec::new()),
    }
}

/// A hold on a master, to look for what is not where it should be.
///
/// # Errors
///
/// When it is no master.
pub async fn hold(master: &str) -> CniResult<LockedMaster> {
    Ok(LockedMaster::open(master, Access::Change).await?)
}

/// Whether the host can talk with a child; `None` where there is no data path.
///
/// # Errors
///
/// The data path's maps cannot be read.
pub async fn reaches(netlink: &Netlink, master: &Master, mac: Mac) -> CniResult<Option<bool>> {
    match Bpf::find(netlink, master).await {
        Found::Whole(bpf) => {
            Ok(Some(bpf.members().policies.get(&mac).is_some_and(|policy| policy.reaches_host())))
        }
        _ => Ok(None),
    }
}
