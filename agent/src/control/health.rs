//! `/healthz` and `/readyz`, for the kubelet's probes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

/// Whether the daemon does its work; it starts as not ready.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Says whether all is attached and known.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
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
            .with_state(self.clone());
        tokio::spawn(async move {
            // It ends with the process.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(())
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: waiting for the API server's lists, or the API server is out of reach\n",
        )
    }
}
