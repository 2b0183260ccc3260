use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::Version;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

use super::body::Broken;

/// What a call can do to the connection that it came on.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) version: Version,
    pub(super) ends: Arc<Ends>,
}

/// How a connection is to end, and when.
#[derive(Debug, Default)]
pub(super) struct Ends {
    now: Notify,
    with_reset: AtomicBool,
}

impl Ends {
    /// Waits until a call has put an end to the connection.
    pub(super) async fn now(&self) {
        self.now.notified().await;
    }
}

impl Line {
    /// Closes the connection.
    pub(super) fn close(&self) {
        self.ends.now.notify_one();
    }

    /// Resets the connection, or says that the stream is to be reset alone.
    pub(super) fn reset(&self) -> Result<(), Broken> {
        if self.version == Version::HTTP_2 {
            return Err(Broken);
        }
        self.ends.with_reset.store(true, Ordering::SeqCst);
        self.close();
        Ok(())
    }
}

/// A connection that is reset when it is dropped, if a call has asked for that.
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) ends: Arc<Ends>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.ends.with_reset.load(Ordering::SeqCst) {
            // It fails where the caller is gone already.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
