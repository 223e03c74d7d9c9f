//! The HTTP/1 server: `/metrics`, `/healthz`, `/readyz`.
//!
//! Bounded in all directions: connections at a time, time per connection, one request each (a
//! scrape every few seconds gains nothing from keep-alive, and an idle connection would hold a
//! place).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::cluster::{Cluster, NodeId};
use crate::metrics::Metrics;

/// Connections at a time; the next ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 64;

/// From accepting a connection to the end of its request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// From accepting a connection to the end of its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// After a failed accept (no file descriptor left, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const PLAIN: &str = "text/plain; charset=utf-8";

/// The text format's own content type (Prometheus docs, "Exposition formats").
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where the instance is in its life; `app` sets it, `/readyz` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not accepting clients yet.
    Starting,
    /// Accepting clients.
    Serving,
    /// Accepting no more clients.
    Draining,
}

/// What the answers are made of.
#[derive(Clone, Debug)]
pub struct Server {
    /// Rendered at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Asked for its primary at `/readyz`.
    pub cluster: Arc<Cluster>,
    /// Asked at `/readyz`.
    pub phase: watch::Receiver<Phase>,
}

impl Server {
    /// Serves until the future is dropped; connections that are open then may outlive it by
    /// their time-out. A failed accept is logged and survived.
    pub async fn run(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // The semaphore is never closed; if it were, there would be nothing left to serve.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        server.serve(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "http: accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(self, stream: TcpStream) {
        let service = service_fn(|request: Request<hyper::body::Incoming>| {
            let response = self.answer(request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "http: connection failed"),
            Err(_) => tracing::debug!("http: connection took too long"),
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let known = matches!(path, "/metrics" | "/healthz" | "/readyz");
        if known && method != Method::GET && method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => self.metrics(),
            "/healthz" => text(StatusCode::OK, "alive\n"),
            "/readyz" => match unready(*self.phase.borrow(), self.cluster.view().primary) {
                None => text(StatusCode::OK, "ready\n"),
                Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
            },
            _ => text(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        match self.metrics.render() {
            Ok(body) => response(StatusCode::OK, EXPOSITION, body.into()),
            Err(error) => {
                tracing::error!(%error, "http: metrics not rendered");
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "metrics could not be rendered\n",
                )
            }
        }
    }
}

/// Why a write could not be served now, if so.
fn unready(phase: Phase, primary: Option<NodeId>) -> Option<&'static str> {
    match (phase, primary) {
        (Phase::Starting, _) => Some("starting: clients are not accepted yet\n"),
        (Phase::Draining, _) => Some("draining: no more clients are accepted\n"),
        (Phase::Serving, None) => Some("no primary: writes wait for one\n"),
        (Phase::Serving, Some(_)) => None,
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    response(status, PLAIN, Bytes::from_static(body.as_bytes()))
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests;
