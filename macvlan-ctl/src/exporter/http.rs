//! Answering clients, of whom each may be slow, hung or hostile.

use std::{collections::VecDeque, convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use macvlan_core::follow::snapshot::Snapshot;
use nix::sys::socket::{setsockopt, sockopt};
use prometheus::TEXT_FORMAT;
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::exporter::collector::Collector;

/// Clients at a time. The one that has been there longest makes room for a new one: an honest
/// client is done in milliseconds, and nobody can keep it out by holding connections.
const MAX_CLIENTS: usize = 16;

/// From the accept to the end of the request's header.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// From the accept to the last byte of the answer.
const CLIENT_TIME: Duration = Duration::from_secs(10);

/// Bytes and fields of a request's header.
const HEADER_SIZE: usize = 16 << 10;

const HEADER_FIELDS: usize = 64;

/// Pause after a failed accept: without free file descriptors the next one would fail at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const HOME: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>macvlan-ctl</title></head>\n\
    <body><h1>macvlan-ctl</h1><p><a href=\"/metrics\">Metrics</a> <a href=\"/healthz\">Health</a> <a href=\"/readyz\">Readiness</a></p></body></html>\n";

/// Accepts clients for as long as this is polled.
pub async fn accept(listener: &TcpListener, collector: Arc<Collector>) -> Infallible {
    let mut clients: VecDeque<AbortHandle> = VecDeque::with_capacity(MAX_CLIENTS);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_client(&error) => continue,
            Err(error) => {
                log::warn!("cannot accept a client of the metrics: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        clients.retain(|client| !client.is_finished());
        if clients.len() >= MAX_CLIENTS
            && let Some(oldest) = clients.pop_front()
        {
            oldest.abort();
            collector.evicted.count();
        }
        let collector = Arc::clone(&collector);
        clients.push_back(tokio::spawn(serve(stream, collector)).abort_handle());
    }
}

/// Whether the client has gone before it was accepted (accept(2), "Error handling").
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// One request and its answer, within [`CLIENT_TIME`].
async fn serve(stream: TcpStream, collector: Arc<Collector>) {
    let peer = stream.peer_addr().ok();
    // What the kernel has taken in and the client does not read goes with the client, too.
    let patience = u32::try_from(CLIENT_TIME.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = setsockopt(&stream, sockopt::TcpUserTimeout, &patience) {
        tell(peer, &error);
        return;
    }
    let answer = service_fn(|request: Request<Incoming>| {
        let collector = Arc::clone(&collector);
        async move {
            let looked = if request.uri().path() == "/metrics" { collector.look().await } else { None };
            Ok::<_, Infallible>(answer(&request, &collector, looked))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_SIZE)
        .max_header_size(HEADER_SIZE)
        .max_headers(HEADER_FIELDS)
        // With one request per connection, its age is the time that the request takes.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    match timeout(CLIENT_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tell(peer, &error),
        Err(_) => tell(peer, &"it took too long"),
    }
}

fn tell(peer: Option<SocketAddr>, what: &dyn std::fmt::Display) {
    let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
    log::debug!("hung up on client {peer} of the metrics: {what}");
}

/// The answer to a request, of which the body is never read.
fn answer(
    request: &Request<Incoming>,
    collector: &Collector,
    looked: Option<Arc<Snapshot>>,
) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let path = request.uri().path();
    if !matches!(path, "/" | "/metrics" | "/healthz" | "/readyz") {
        return response(StatusCode::NOT_FOUND, TEXT, "not found: try /metrics\n");
    }
    // hyper leaves the body of an answer to HEAD out.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are allowed\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/metrics" => match collector.text(looked) {
            Ok(text) => response(StatusCode::OK, TEXT_FORMAT, text),
            Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error:#}\n")),
        },
        "/healthz" | "/readyz" if !collector.is_followed() => {
            response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "nobody follows the masters any more\n")
        }
        "/healthz" => response(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => match collector.not_ready() {
            Some(reasons) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons),
            None => response(StatusCode::OK, TEXT, "ok\n"),
        },
        _ => response(StatusCode::OK, "text/html; charset=utf-8", HOME),
    }
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
