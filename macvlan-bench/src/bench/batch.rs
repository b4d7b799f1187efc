//! Children without us: `ip -batch` where it is installed, else as many netlink requests.

use std::{
    env,
    io::Write as _,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use macvlan_core::kernel::netns::Netns;

use crate::{
    bench::{
        crowd::{Crowd, GROUP, Joined, name},
        wiring::DEVICE,
    },
    lab::namespaces::path_of,
};

/// A way to make and delete many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// `ip -batch`, a line for each.
    Ip,
    /// The same, but deleted by their group.
    IpGroup,
    /// A netlink request for each, deleted by their group.
    Netlink,
}

impl Batch {
    /// Those that this machine has the tool for.
    pub fn available() -> Vec<Self> {
        let paths = env::var_os("PATH").unwrap_or_default();
        let is_there = env::split_paths(&paths).any(|directory| directory.join("ip").is_file());
        if is_there { vec![Self::Ip, Self::IpGroup] } else { vec![Self::Netlink] }
    }

    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::IpGroup => "ip-group",
            Self::Netlink => "rtnetlink",
        }
    }

    /// Its name in tables.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ip => "ip -batch",
            Self::IpGroup => "ip -batch, deleted by group",
            Self::Netlink => "netlink requests, deleted by group",
        }
    }

    /// More than so many take too long: one by one, the kernel waits 20 ms on each deletion.
    pub const fn most(self) -> u32 {
        match self {
            Self::Ip => 100,
            Self::IpGroup | Self::Netlink => u32::MAX,
        }
    }

    /// Seconds for so many new children, up in their namespace, and for their end.
    ///
    /// # Errors
    ///
    /// When one cannot be made.
    pub fn add_and_delete(self, children: u32) -> Result<Vec<f64>> {
        let crowd = Crowd::empty(Joined::Macvlan)?;
        let start = Instant::now();
        match self {
            Self::Ip | Self::IpGroup => {
                let home = path_of(&crowd.home);
                let lines = (0..children).map(|number| {
                    format!(
                        "link add link {DEVICE} name {} netns {} group {GROUP} up type macvlan mode bridge\n",
                        name(number),
                        home.display()
                    )
                });
                ip(&crowd.host.netns, &lines.collect::<String>())?;
            }
            Self::Netlink => crowd.make(0..children)?,
        }
        let added = start.elapsed();
        match self {
            Self::Ip => {
                let lines = (0..children).map(|number| format!("link del {}\n", name(number)));
                ip(&crowd.home, &lines.collect::<String>())?;
            }
            Self::IpGroup => ip(&crowd.home, &format!("link del group {GROUP}\n"))?,
            Self::Netlink => crowd.clear()?,
        }
        let deleted = start.elapsed() - added;
        Ok(vec![added.as_secs_f64(), deleted.as_secs_f64()])
    }
}

/// Runs `ip -batch` with these lines in a namespace.
fn ip(netns: &Netns, lines: &str) -> Result<()> {
    netns.run(|| {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run \"ip\"")?;
        // It reads all before it writes an error: neither waits for the other.
        let fed = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(lines.as_bytes()));
        let output = child.wait_with_output().context("cannot wait for \"ip\"")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("\"ip -batch\" failed: {}", said.lines().next().unwrap_or_default());
        }
        fed.context("cannot talk to \"ip\"")
    })
}
