//! The page and its views over HTTP. Everything the page needs comes from here; it calls no other host. One that listens on this
//! computer alone answers those who name it so: a page of elsewhere whose name was made to lead here names itself.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
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
    let of_this_computer = listener.local_addr()?.ip().is_loopback();
    let router = if of_this_computer { router.layer(from_fn(named)) } else { router };
    let ended = async move { while last.changed().await.is_ok() {} };
    axum::serve(listener, router).with_graceful_shutdown(ended).await
}

/// Answers who names this computer.
async fn named(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_this_computer) {
        return next.run(request).await;
    }
    let why =
        "this console listens on its own computer alone: open it as localhost, or by its address\n";
    (StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

/// Whether a request's host, with or without a port, can only be this computer: what a console that listens there alone answers.
#[must_use]
pub fn is_this_computer(host: &str) -> bool {
    let address = host.parse::<SocketAddr>().map(|address| address.ip());
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = address.or_else(|_| bare.parse::<IpAddr>());
    if let Ok(address) = address {
        return address.is_loopback();
    }
    let name = match host.split_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        Some(_) => return false,
        None => host,
    };
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.strip_suffix(".localhost").is_some_and(is_name)
}

/// Labels of letters, digits and dashes.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.split('.').all(is_label)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    #[test]
    fn only_names_that_nobody_else_can_have_are_this_computer() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:7070",
            "[::1]:80",
            "::1",
            "[::1]",
            "LocalHost:1",
            "a.localhost",
        ] {
            assert!(is_this_computer(host), "{host}");
        }
        for host in [
            "",
            "evil.example:7070",
            "10.0.0.1:7070",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            ".localhost",
            "localhost:evil.example",
            "evil.example/.localhost",
            "evil.example:1:a.localhost",
            "]127.0.0.1[",
        ] {
            assert!(!is_this_computer(host), "{host}");
        }
    }

    /// A page of elsewhere whose name leads here reads nothing.
    #[test]
    fn who_names_another_host_is_not_answered() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(Text::from("{}"));
        let pages = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                serve(TcpListener::from_std(listener).unwrap(), receiver).await.unwrap();
            });
        });
        let ask = |host: &str| {
            let mut line = TcpStream::connect(address).unwrap();
            write!(line, "GET /api/view HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
                .unwrap();
            let mut said = String::new();
            line.read_to_string(&mut said).unwrap();
            said
        };
        let (own, other) = (ask(&address.to_string()), ask("evil.example"));
        assert!(own.starts_with("HTTP/1.1 200") && own.ends_with("{}"), "{own}");
        assert!(other.starts_with("HTTP/1.1 421") && !other.contains("{}"), "{other}");
        drop(sender);
        pages.join().unwrap();
    }
}
