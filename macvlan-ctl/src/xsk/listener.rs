//! The socket that clients connect to.

use std::{
    fs,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::FileTypeExt as _,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, socket,
        },
        stat::{Mode, umask},
    },
    unistd::unlink,
};

use crate::xsk::client::Client;

/// Connections that may wait.
const BACKLOG: i32 = 16;

/// It listens.
pub struct Listener(OwnedFd);

/// The file by which it is found; it goes with this.
pub struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // The next server replaces what stays.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens at this path. What a server that is gone left there is replaced.
    ///
    /// # Errors
    ///
    /// The path is taken, too long, or in a directory that cannot be written to.
    pub fn bind(path: &Path) -> Result<(Self, Place)> {
        let socket = open(path).with_context(|| format!("cannot listen at {path:?}"))?;
        Ok((Self(socket), Place(path.to_owned())))
    }

    /// Waits for the next client.
    ///
    /// # Errors
    ///
    /// It is gone again, or there is no room for it.
    pub fn accept(&self) -> Result<Client, Errno> {
        let client = accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
        // SAFETY: a descriptor just made, which nobody else has.
        Client::new(unsafe { OwnedFd::from_raw_fd(client) })
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    let address = UnixAddr::new(path).map_err(told)?;
    let socket = new_socket().map_err(told)?;
    let bound = match bind_for_all(&socket, &address) {
        Err(Errno::EADDRINUSE) => {
            remove_abandoned(path, &address)?;
            bind_for_all(&socket, &address)
        }
        bound => bound,
    };
    bound.map_err(told)?;
    listen(&socket, Backlog::new(BACKLOG).map_err(told)?).map_err(told)?;
    Ok(socket)
}

/// Without the name of its number.
fn told(error: Errno) -> anyhow::Error {
    anyhow!("{}", error.desc().to_lowercase())
}

fn new_socket() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
}

/// Binds so that anybody may connect: the kernel tells who it is. The mode is right from the start: a change by path
/// would follow what somebody else put there.
fn bind_for_all(socket: &OwnedFd, address: &UnixAddr) -> Result<(), Errno> {
    let before = umask(Mode::from_bits_truncate(0o111));
    let bound = bind(socket.as_raw_fd(), address);
    umask(before);
    bound
}

/// Removes a socket that nobody listens on.
fn remove_abandoned(path: &Path, address: &UnixAddr) -> Result<()> {
    if !fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        bail!("there is a file that is no socket");
    }
    let asked = new_socket().and_then(|socket| connect(socket.as_raw_fd(), address));
    if asked != Err(Errno::ECONNREFUSED) {
        bail!("another program listens there");
    }
    unlink(path).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        format!("{:#}", Listener::bind(path).err().unwrap())
    }

    #[test]
    fn only_what_nobody_listens_on_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("xsk.sock");
        let (socket, place) = Listener::bind(&path).unwrap();
        assert!(refusal(&path).ends_with("another program listens there"));
        // As when it is killed: the socket is closed, its file stays.
        drop(socket);
        let second = Listener::bind(&path).unwrap();
        drop(second);
        assert!(!path.exists());
        drop(place);
        fs::write(&path, "mine").unwrap();
        assert!(refusal(&path).ends_with("there is a file that is no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert!(refusal(&directory.path().join("x".repeat(200))).ends_with("file name too long"));
        assert!(refusal(&directory.path().join("none/xsk.sock")).ends_with("no such file or directory"));
    }
}
