//! One HTTP request over a Unix socket, its answer bounded in size. Time is the caller's.

use std::{path::Path, pin::pin};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, Response,
    client::conn::http1,
    header::{HOST, HeaderMap},
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Most bytes of headers, and of a body that waits to be read.
const MAX_BUFFER: usize = 64 << 10;

/// Most headers.
const MAX_HEADERS: usize = 64;

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Gets `target` from the server behind `stream`.
///
/// # Errors
///
/// When it does not speak HTTP, answers other than with success, or with more than `limit` bytes.
pub async fn get(stream: UnixStream, target: &str, limit: usize) -> Result<Answer> {
    let request = Request::get(target).header(HOST, "localhost").body(Empty::<Bytes>::new())?;
    let mut client = http1::Builder::new();
    client.max_buf_size(MAX_BUFFER).max_headers(MAX_HEADERS);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let response: Response<_> = sender.send_request(request).await?;
        if !response.status().is_success() {
            bail!("the answer to {target} is {}", response.status());
        }
        let (parts, body) = response.into_parts();
        match Limited::new(body, limit).collect().await {
            Ok(body) => Ok(Answer { headers: parts.headers, body: body.to_bytes() }),
            Err(error) => bail!("cannot read the answer to {target}: {error}"),
        }
    };
    // The connection must be polled for anything to move; it may well end before the answer is read.
    match select(pin!(exchange), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, exchange)) => exchange.await,
    }
}

/// Connects to the Unix socket at `path`.
///
/// # Errors
///
/// When nobody listens there.
pub async fn connect(path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path).await.with_context(|| format!("cannot connect to \"{}\"", path.display()))
}
