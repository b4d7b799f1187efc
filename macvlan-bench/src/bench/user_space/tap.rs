//! The character device of a macvtap, as a virtual machine monitor has it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag, makedev, mknod},
};

use crate::bench::user_space::{
    program::{BATCH, Program, ROOM, turn_around},
    station::Station,
};

struct Tap {
    file: File,
    frame: Vec<u8>,
}

/// Opens the device, frames without headers before them.
pub fn open(station: &Station) -> Result<Box<dyn Program>> {
    station.forget_address()?;
    let index = station.index()?;
    let file = station.run(|| {
        let (major, minor) = device_number(station.device(), index)?;
        let node = std::env::temp_dir().join(format!("macvlan-bench-tap{}-{index}", std::process::id()));
        mknod(&node, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(major, minor))
            .context("cannot make a device node")?;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&node);
        fs::remove_file(&node).context("cannot remove a device node")?;
        opened.context("cannot open a macvtap")
    })?;
    // SAFETY: all zeros are a request without a name and without flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
    // SAFETY: the request is live.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error()).context("cannot set up a macvtap");
    }
    Ok(Box::new(Tap { file, frame: station.datagram()? }))
}

/// Major and minor number, which sysfs tells of the devices of the namespace that it was mounted in. The mount
/// namespace is the bench's own.
fn device_number(device: &str, index: u32) -> Result<(u64, u64)> {
    let place = std::env::temp_dir().join(format!("macvlan-bench-sysfs-{}", std::process::id()));
    fs::create_dir_all(&place).context("cannot make a directory")?;
    mount(Some("sysfs"), &place, Some("sysfs"), MsFlags::empty(), None::<&str>)
        .context("cannot mount sysfs")?;
    let told = read_number(&place, device, index);
    umount2(&place, MntFlags::MNT_DETACH).context("cannot unmount sysfs")?;
    fs::remove_dir(&place).context("cannot remove a directory")?;
    told
}

fn read_number(place: &Path, device: &str, index: u32) -> Result<(u64, u64)> {
    let path = place.join(format!("class/net/{device}/tap{index}/dev"));
    let text = fs::read_to_string(path).context("cannot read the number of a macvtap")?;
    let (major, minor) = text.trim().split_once(':').context("the number of a macvtap is none")?;
    Ok((major.parse()?, minor.parse()?))
}

impl Program for Tap {
    fn take(&mut self, answers: bool) -> io::Result<usize> {
        let mut room = [0; ROOM];
        let mut count = 0;
        while count < BATCH {
            let len = match self.file.read(&mut room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                read => read?,
            };
            count += 1;
            if answers && turn_around(&mut room[..len]) {
                let _ = self.file.write(&room[..len])?;
            }
        }
        Ok(count)
    }

    fn send(&mut self) -> io::Result<()> {
        (0..BATCH).try_for_each(|_| match self.file.write(&self.frame) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            written => written.map(drop),
        })
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
