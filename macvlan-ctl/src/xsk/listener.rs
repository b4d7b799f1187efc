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
use macvlan_core::kernel::errno::errno;
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, socket,
        },
        stat::{Mode, umask},
    },
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::xsk::seqpacket::Client;

/// Connections that may wait.
const BACKLOG: i32 = 16;

/// It listens; its file goes with it.
pub struct Listener {
    socket: AsyncFd<OwnedFd>,
    path: PathBuf,
}

impl Listener {
    /// Listens at this path. What a server that is gone left there is replaced.
    ///
    /// # Errors
    ///
    /// The path is taken, too long, or in a directory that cannot be written to.
    pub fn bind(path: &Path) -> Result<Self> {
        let socket = open(path).with_context(|| format!("cannot listen at {path:?}"))?;
        // SAFETY: the socket is owned by the `AsyncFd`, nobody else has its descriptor.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        Ok(Self { socket, path: path.to_owned() })
    }

    /// The next client.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub async fn accept(&self) -> Result<Client> {
        loop {
            let accepted = self.socket.async_io(Interest::READABLE, |socket| {
                Ok(accept4(socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?)
            });
            match accepted.await {
                Ok(client) => {
                    // SAFETY: a descriptor just made, which nobody else has.
                    let client = unsafe { OwnedFd::from_raw_fd(client) };
                    if let Ok(client) = Client::new(client) {
                        return Ok(client);
                    }
                }
                // It has gone again.
                Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => {}
                Err(error) => return Err(anyhow!("cannot take a client: {}", errno(&error))),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The next server replaces what stays.
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    let address = UnixAddr::new(path).context("the path is too long")?;
    let socket = new_socket()?;
    match bind_for_all(&socket, &address) {
        Err(Errno::EADDRINUSE) => {
            remove_abandoned(path, &address)?;
            bind_for_all(&socket, &address)?;
        }
        bound => bound?,
    }
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket)
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
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
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        bail!("there is a file that is no socket");
    }
    match connect(new_socket()?.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path).context("an old socket is in the way"),
        _ => bail!("another program listens there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        format!("{:#}", Listener::bind(path).err().unwrap())
    }

    #[tokio::test]
    async fn only_what_nobody_listens_on_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("xsk.sock");
        let first = Listener::bind(&path).unwrap();
        assert!(refusal(&path).ends_with("another program listens there"));
        // As when it is killed: the socket is closed, its file stays.
        let Listener { socket, .. } = &first;
        nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
        let second = Listener::bind(&path).unwrap();
        drop(second);
        assert!(!path.exists());
        fs::write(&path, "mine").unwrap();
        assert!(refusal(&path).ends_with("there is a file that is no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        drop(first);
    }

    #[tokio::test]
    async fn a_path_that_no_socket_can_have_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert!(refusal(&directory.path().join("x".repeat(200))).ends_with("the path is too long"));
        assert!(refusal(&directory.path().join("none/xsk.sock")).contains("cannot listen at"));
    }
}
