//! A connection as the client library sees it: plain or under TLS, with what comes in mended.
//!
//! The library takes any transport that its runtime calls a TCP stream, so the runtime given to it is tokio with
//! another such type.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::{AsyncRead, AsyncWrite, Stream};
use lapin::tcp::AsyncTcpStream;

use super::mender::{Mender, Notes};

/// Bytes read at once at most: what is moved when properties are taken out of a header.
const READ_BYTES_MAX: usize = 256 << 10;

/// A stream of bytes, plain or under TLS.
pub(super) type Socket = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// The runtime whose TCP streams are [`Line`]s; `tokio` does all the work.
pub(super) fn runtime(tokio: &Tokio) -> Runtime<RuntimeParts<Tokio, Lines>> {
    Runtime::new(RuntimeParts::new(tokio.clone(), Lines(tokio.clone())))
}

/// A socket whose incoming frames are mended.
pub(super) struct Line {
    socket: Socket,
    mender: Mender,
}

impl Line {
    /// Above TLS, where there is TLS. What is mended is noted in `notes`.
    pub(super) fn over(socket: Socket, notes: Arc<Notes>) -> Self {
        Self { socket, mender: Mender::new(notes) }
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Line { socket, mender } = self.get_mut();
        loop {
            let given = mender.give(buffer);
            if given > 0 {
                return Poll::Ready(Ok(given));
            }
            let room = buffer.len().min(mender.wanted()).min(READ_BYTES_MAX);
            let read = ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer[..room]))?;
            let passed = mender.take(&mut buffer[..read]);
            // Nothing read is the end; nothing passed only means that a frame is not whole yet.
            if read == 0 || passed > 0 {
                return Poll::Ready(Ok(passed));
            }
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_close(cx)
    }
}

/// Tokio's reactor, with [`Line`] as the type of TCP streams.
#[derive(Clone, Debug)]
pub(super) struct Lines(Tokio);

impl Reactor for Lines {
    type TcpStream = Line;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(&self, address: SocketAddr) -> impl Future<Output = io::Result<Line>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async { Ok(Line::over(AsyncTcpStream::Plain(connecting.await?), Arc::default())) }
    }
}
