//! `/healthz` and `/readyz`, for the kubelet's probes, and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;

use super::scrape::{self, Asked, Asking};

/// Whether the daemon does its work; it starts as not ready.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    ready: Arc<AtomicBool>,
    asking: Asking,
}

impl Health {
    /// Makes it, and the end where the daemon is asked for metrics.
    pub(super) fn new() -> (Self, Asked) {
        let (asking, asked) = scrape::channel();
        (Self { ready: Arc::default(), asking }, asked)
    }

    /// Says whether all is attached and known.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Whether all is attached and known.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Answers at `address` as long as this process lives. `/healthz` is
    /// answered by the daemon's only thread: whoever gets an answer knows that
    /// the daemon is not stuck.
    ///
    /// # Errors
    /// If the address is taken.
    pub(crate) async fn serve(&self, address: SocketAddr) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("failed to listen at {address} for health probes: choose another --health"))?;
        let routes = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route(
                "/metrics",
                get(async |State(health): State<Self>, headers: HeaderMap| health.asking.metrics(&headers).await),
            )
            .with_state(self.clone());
        tokio::spawn(async move {
            // It ends with the process.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(())
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: waiting for the API server's lists, or the API server is out of reach\n",
        )
    }
}
