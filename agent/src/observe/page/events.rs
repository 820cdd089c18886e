//! The pictures of the board as server-sent events, each with all that the page shows: who comes late or misses some
//! needs nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use tokio::sync::watch;

use super::Shared;

/// Most browsers at once.
const MOST: usize = 16;

/// When a browser tries again after the daemon has gone.
const RETRY: Duration = Duration::from_secs(2);

/// Time after which a comment is sent, so that a browser that is gone is noticed.
const ALIVE: Duration = Duration::from_secs(15);

/// Somebody who looks, as long as this lives.
#[derive(Debug)]
struct Viewer(Arc<Shared>);

impl Viewer {
    /// `None` if there are too many.
    fn new(shared: Arc<Shared>) -> Option<Self> {
        let has_place = shared.viewers.send_if_modified(|count| {
            let has_place = *count < MOST;
            *count += usize::from(has_place);
            has_place
        });
        has_place.then(|| Self(shared))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.viewers.send_modify(|count| *count -= 1);
    }
}

/// One event for each new picture; those that a slow browser cannot take are left out.
pub(super) async fn serve(State(shared): State<Arc<Shared>>) -> Response {
    let Some(viewer) = Viewer::new(shared.clone()) else {
        let refusal = (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "10")],
            "Too many browsers show this page: close one.\n",
        );
        return refusal.into_response();
    };
    let mut pictures = shared.pictures.subscribe();
    pictures.mark_changed();
    Sse::new(stream::unfold((pictures, viewer, true), next))
        .keep_alive(KeepAlive::new().interval(ALIVE))
        .into_response()
}

type Pictures = watch::Receiver<Arc<str>>;

async fn next(
    (mut pictures, viewer, is_first): (Pictures, Viewer, bool),
) -> Option<(Result<Event, Infallible>, (Pictures, Viewer, bool))> {
    pictures.changed().await.ok()?;
    let picture = pictures.borrow_and_update().clone();
    let event = Event::default().data(&*picture);
    let event = if is_first { event.retry(RETRY) } else { event };
    Some((Ok(event), (pictures, viewer, false)))
}
