//! Connections in a bounded number, and none that is held without a word.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// A listener that takes a further connection only when fewer than so many are open.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    silence_max: Duration,
}

impl Bounded {
    /// Ends connections on which nothing moves for `silence_max`.
    pub(super) fn new(listener: TcpListener, connections_max: usize, silence_max: Duration) -> Self {
        let places = connections_max.min(Semaphore::MAX_PERMITS);
        Self { listener, places: Arc::new(Semaphore::new(places)), silence_max }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Held;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Held, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("nobody closes it");
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let deadline = Box::pin(tokio::time::sleep(self.silence_max));
        (Held { stream, deadline, silence_max: self.silence_max, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection, and its place among them.
pub(super) struct Held {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    silence_max: Duration,
    _place: OwnedSemaphorePermit,
}

impl Held {
    fn moved(&mut self) {
        let deadline = Instant::now() + self.silence_max;
        self.deadline.as_mut().reset(deadline);
    }

    /// What became of a read or a write: one that waits ends with the deadline.
    fn watch<T>(&mut self, done: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.moved();
            return done;
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(read, context)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::serve::Listener;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn bounded(connections_max: usize, silence_max: Duration) -> (Bounded, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        (Bounded::new(listener, connections_max, silence_max), address)
    }

    #[tokio::test]
    async fn a_further_connection_waits_until_one_has_ended() {
        let (mut listener, address) = bounded(1, Duration::from_secs(60)).await;
        let (_one, _other) = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let (held, _) = listener.accept().await;
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, listener.accept()).await.is_err(), "there is one place");
        drop(held);
        listener.accept().await;
    }

    #[tokio::test]
    async fn a_connection_without_a_word_ends_and_one_that_moves_does_not() {
        let (mut listener, address) = bounded(1, Duration::from_millis(300)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut held, _) = listener.accept().await;
        let mut byte = [0; 1];
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.write_all(b"x").await.unwrap();
            held.read_exact(&mut byte).await.expect("it moves");
        }
        let silent = held.read_exact(&mut byte).await;
        assert_eq!(silent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
