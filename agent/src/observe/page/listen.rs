//! The page's listening socket, and how it is named.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// The page's port if none is named.
const PORT: u16 = 9641;

/// Most connections at once. The others wait, so that the page never takes the descriptors that the daemon needs.
const MOST: usize = 64;

/// A client that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where to listen: `ADDRESS:PORT`, a port (on loopback), or an address.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let text = text.strip_prefix("localhost").map_or_else(|| text.to_owned(), |rest| format!("{loopback}{rest}"));
    let port = text.parse().map(|port| SocketAddr::new(loopback, port));
    let address =
        text.trim_start_matches('[').trim_end_matches(']').parse().map(|address| SocketAddr::new(address, PORT));
    text.parse().or(port).or(address).map_err(|_| format!("write it as 127.0.0.1:{PORT}, [::1]:{PORT} or {PORT}"))
}

/// A listener with a limit to its connections.
#[derive(Debug)]
pub(super) struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Limited {
    /// The same listener with a limit.
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(MOST)) }
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // It is never closed, and would then set no limit.
        let place = self.places.clone().acquire_owned().await.ok();
        // The TcpListener's own says how it goes on after an error.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Connection { stream, stalled: None, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that has a place, and loses it if its client takes nothing.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// When it counts as gone, while bytes wait for it.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// `polled`, or an error if that has been pending for too long.
    fn in_time<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.in_time(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The address of this machine at which a connection has arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local(pub(super) Option<IpAddr>);

impl Connected<IncomingStream<'_, Limited>> for Local {
    fn connect_info(stream: IncomingStream<'_, Limited>) -> Self {
        Self(stream.io().stream.local_addr().ok().map(|address| address.ip()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_in_several_ways() {
        for (text, expected) in [
            ("127.0.0.1:9641", "127.0.0.1:9641"),
            ("8080", "127.0.0.1:8080"),
            ("0.0.0.0", "0.0.0.0:9641"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]:9641"),
            ("::1", "[::1]:9641"),
            ("localhost", "127.0.0.1:9641"),
            ("localhost:80", "127.0.0.1:80"),
        ] {
            assert_eq!(address(text), Ok(expected.parse().expect("an address")), "{text}");
        }
        for text in ["", "example.org:80", "99999", ":80", "127.0.0.1:x", "localhostile"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
