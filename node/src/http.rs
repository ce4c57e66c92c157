//! The local HTTP port: metrics, health and status.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | Prometheus' text format |
//! | `/healthz` | 200 while the node's core answers; else 503: restart it |
//! | `/readyz` | 200 if the node votes and is caught up; else 503 with the reason |
//! | `/status` | everything about the node, as JSON |
//!
//! It asks for no password and changes nothing. Keep it local, or behind something that does ask.

use crate::metrics::Metrics;
use crate::runtime::{Observer, not_ready};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the port shows.
#[derive(Clone)]
pub struct Shown {
    /// The node.
    pub observer: Arc<Observer>,
    /// Its metrics.
    pub metrics: Arc<Metrics>,
}

/// Opens the port.
///
/// # Errors
/// If the address is taken or not this machine's.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop` is set.
///
/// # Errors
/// If the port breaks.
pub async fn serve(listener: TcpListener, shown: Shown, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .with_state(shown);
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    axum::serve(listener, routes).with_graceful_shutdown(stopped).await
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let core = shown.observer.core().await.ok();
    let known = core.map(|core| {
        let status = shown.observer.describe(&core);
        (core, status)
    });
    let text = shown.metrics.render(&shown.observer, known.as_ref());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn healthz(State(shown): State<Shown>) -> Response {
    match shown.observer.core().await {
        Ok(_) => (StatusCode::OK, "ok\n").into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the core does not answer\n").into_response(),
    }
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let unready = match shown.observer.status().await {
        Ok(status) => not_ready(&status),
        Err(error) => Some(error.to_string()),
    };
    match unready {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn status(State(shown): State<Shown>) -> Response {
    match shown.observer.status().await {
        Ok(status) => Json(status).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}
