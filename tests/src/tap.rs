//! The other end of a macvtap device: what a virtual machine monitor reads and writes.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag, makedev, mknod},
};

use crate::{
    fail::{OrFail as _, wait_for},
    lab::{Lab, Station},
};

/// Bytes of `struct virtio_net_hdr`, which comes before each frame unless told otherwise.
const VNET_HEADER: usize = 10;

/// An open `/dev/tapN`.
#[derive(Debug)]
pub struct TapFile {
    file: File,
}

impl TapFile {
    /// Opens the device node of a macvtap child, made in the lab's own mounts.
    #[track_caller]
    pub fn open(lab: &Lab, child: &Station) -> Self {
        let index = child.ns.ifindex(&child.dev);
        let file = lab.mounts().enter(|| {
            child.ns.enter(|| {
                let (major, minor) = device_number(&child.dev, index);
                let node = format!("/run/tap{index}");
                let mode = Mode::S_IRUSR | Mode::S_IWUSR;
                mknod(node.as_str(), SFlag::S_IFCHR, mode, makedev(major, minor))
                    .or_fail("make a device node");
                let mut options = File::options();
                options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
                let file = options.open(&node).or_fail(format!("open {node}"));
                fs::remove_file(&node).or_fail("remove a device node");
                file
            })
        });
        Self { file }
    }

    /// Sends a frame.
    #[track_caller]
    pub fn send(&mut self, frame: &[u8]) {
        let bytes = [&[0; VNET_HEADER], frame].concat();
        let written = self.file.write(&bytes).or_fail("write a frame");
        assert_eq!(written, bytes.len(), "a frame was cut");
    }

    /// Every frame that is there to be read.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while let Ok(len) = self.file.read(&mut buffer) {
            frames.push(buffer.get(VNET_HEADER..len).or_fail("read a frame").to_vec());
        }
        frames
    }

    /// Waits for a frame that `wanted` accepts; others are forgotten.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        wait_for(what, || self.take().into_iter().find(|frame| wanted(frame)))
    }
}

/// Major and minor number, which sysfs tells of the devices in the namespace it was mounted in.
#[track_caller]
fn device_number(device: &str, index: u32) -> (u64, u64) {
    let place = Path::new("/run/sysfs");
    fs::create_dir_all(place).or_fail("make a directory");
    mount(Some("sysfs"), place, Some("sysfs"), MsFlags::empty(), None::<&str>).or_fail("mount sysfs");
    let path = place.join(format!("class/net/{device}/tap{index}/dev"));
    let number = fs::read_to_string(&path);
    umount2(place, MntFlags::MNT_DETACH).or_fail("unmount sysfs");
    let number = number.or_fail(format!("read {}", path.display()));
    let (major, minor) = number.trim().split_once(':').or_fail("read a device number");
    (major.parse().or_fail("read a device number"), minor.parse().or_fail("read a device number"))
}
