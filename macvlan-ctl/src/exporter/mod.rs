//! Metrics for Prometheus, over HTTP.
//!
//! [`serve`] answers on a thread of its own, so that no client can hold the follower up. A scrape
//! takes the latest [`Snapshot`], reads the pinned maps of its masters (`snapshot`), and writes what it
//! found (`render`) under the names in [`metrics`]. Clients within a quarter of a second share one
//! text (`collector`).

mod collector;
mod devices;
mod family;
mod http;
pub mod metrics;
mod naming;
mod render;
mod scrape;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, anyhow};
use macvlan_core::{
    follow::snapshot::{Snapshot, Tallies},
    kernel::errno::errno,
};
use tokio::sync::{oneshot, watch};

use crate::exporter::collector::Collector;

/// The exporter at work; dropping it ends it, and every connection with it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Where it listens; with the port that the kernel chose, if it was to choose one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of the metrics panicked");
        }
    }
}

/// Takes an address to serve on. To be called before privileges are dropped.
///
/// # Errors
///
/// When it is not free, or not of this machine.
pub fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => "address in use".to_owned(),
            io::ErrorKind::AddrNotAvailable => "no device has this address".to_owned(),
            _ => errno(&error),
        };
        anyhow!("cannot serve metrics on {address}: {reason}")
    })
}

/// Serves what `views` and `tallies` tell, in the caller's namespaces, until the result is dropped.
///
/// # Errors
///
/// The thread cannot be started.
pub fn serve(
    listener: TcpListener,
    views: watch::Receiver<Arc<Snapshot>>,
    tallies: Arc<Tallies>,
) -> Result<Server> {
    let address = listener.local_addr().context("cannot tell where metrics are served")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the event loop of the metrics")?;
    listener.set_nonblocking(true).context("cannot serve metrics")?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener).context("cannot serve metrics")?
    };
    let (named, shown) = watch::channel(Arc::new(naming::unnamed(&views.borrow())));
    let collector = Arc::new(Collector::new(shown, tallies));
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = move || {
        runtime.block_on(async {
            let naming = async {
                naming::name_containers(views, named).await;
                // The follower is gone; what was last known is still told.
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = naming => {}
                never = http::accept(&listener, collector) => match never {},
                _ = stopped => {}
            }
        });
    };
    let thread = thread::Builder::new().name("metrics".into()).spawn(serve);
    let thread = thread.context("cannot start the thread of the metrics")?;
    Ok(Server { address, stop: Some(stop), thread: Some(thread) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_taken_is_told_in_one_line() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address).unwrap_err();
        assert_eq!(format!("{error:#}"), format!("cannot serve metrics on {address}: address in use"));
    }

    #[test]
    fn an_address_of_another_machine_is_told_in_one_line() {
        // RFC 5737 keeps it for documentation.
        let error = bind("192.0.2.1:10099".parse().unwrap()).unwrap_err();
        let text = "cannot serve metrics on 192.0.2.1:10099: no device has this address";
        assert_eq!(format!("{error:#}"), text);
    }

    #[test]
    fn the_port_is_free_again_once_it_ends() {
        let (_sender, views) = watch::channel(Arc::default());
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let server = serve(listener, views, Arc::default()).unwrap();
        let address = server.address();
        assert!(bind(address).is_err());
        drop(server);
        assert!(bind(address).is_ok());
    }
}
