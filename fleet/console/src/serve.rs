//! The page and its views over HTTP. Everything the page needs comes from here; it calls no other host.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt as _};

/// A view as JSON text.
pub(crate) type Text = Arc<str>;

/// Nothing is loaded from, or sent to, anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// Serves the page and every view that comes, until the sender of views is dropped.
pub(crate) async fn serve(listener: TcpListener, views: watch::Receiver<Text>) -> io::Result<()> {
    let mut last = views.clone();
    let (events, view) = (views.clone(), views);
    let file =
        |kind: &'static str, text: &'static str| get(move || async move { (headers(kind), text) });
    let router = Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("../page/index.html")))
        .route("/style.css", file("text/css; charset=utf-8", include_str!("../page/style.css")))
        .route("/page.js", file("text/javascript; charset=utf-8", include_str!("../page/page.js")))
        .route("/icon.svg", file("image/svg+xml", include_str!("../page/icon.svg")))
        .route("/api/view", get(|| async move { json(&view.borrow().clone()) }))
        .route("/events", get(|| async move { (headers("text/event-stream"), stream(events)) }));
    let ended = async move { while last.changed().await.is_ok() {} };
    axum::serve(listener, router).with_graceful_shutdown(ended).await
}

fn json(view: &Text) -> impl IntoResponse + use<> {
    (headers("application/json"), view.to_string())
}

fn headers(kind: &'static str) -> [(HeaderName, &'static str); 5] {
    [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ]
}

/// The newest view, then each that comes; one that comes while the reader is slow is left out for a newer one.
fn stream(
    views: watch::Receiver<Text>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let events = WatchStream::new(views).map(|view| Ok(Event::default().data(&*view)));
    Sse::new(events).keep_alive(KeepAlive::default())
}
