use std::{
    fmt, io,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::Version;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Notify, watch},
};

/// What a call can do to the connection that it came on.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) version: Version,
    pub(super) wishes: Arc<Wishes>,
}

impl Line {
    /// Lets each write take so many bytes at most.
    pub(super) fn dribble(&self, bytes: NonZeroUsize) {
        self.wishes.writes.store(bytes.get(), Ordering::SeqCst);
    }

    /// Waits until what is given to the connection now is written.
    pub(super) fn flushed(&self) -> impl Future<Output = ()> + Send + use<> {
        let is_alone = self.version != Version::HTTP_2;
        let mut flushes = self.wishes.flushes.subscribe();
        async move {
            if is_alone {
                // The connection holds what notifies this, and the body that waits.
                let _ = flushes.changed().await;
            } else {
                // Other streams flush, too, and a window may be closed: as good a moment as any.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Closes the connection.
    pub(super) fn close(&self) {
        self.wishes.end.notify_one();
    }

    /// Resets the connection, or says that the stream is to be reset alone.
    pub(super) fn reset(&self) -> Result<(), Broken> {
        if self.version == Version::HTTP_2 {
            return Err(Broken);
        }
        self.wishes.reset.store(true, Ordering::SeqCst);
        self.close();
        Ok(())
    }
}

/// An HTTP/2 stream is to be reset here.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script breaks the stream off")
    }
}

impl std::error::Error for Broken {}

/// What calls want of their connection, and what they wait for.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    end: Notify,
    reset: AtomicBool,
    /// How many bytes a write takes at most, or 0: all.
    writes: AtomicUsize,
    flushes: watch::Sender<()>,
}

impl Wishes {
    /// Waits until a call puts an end to the connection.
    pub(super) async fn end(&self) {
        self.end.notified().await;
    }
}

/// A connection that is reset when it is dropped, if a call has asked for that.
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) wishes: Arc<Wishes>,
    /// Whether the others have had their turn since the last write that was cut.
    pub(super) yielded: bool,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.wishes.reset.load(Ordering::SeqCst) {
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
        let most = self.wishes.writes.load(Ordering::SeqCst);
        if most == 0 {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        self.yielded = !self.yielded;
        if self.yielded {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = &buf[..buf.len().min(most)];
        Pin::new(&mut self.stream).poll_write(cx, piece)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.wishes.writes.load(Ordering::SeqCst) == 0 {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty());
        self.poll_write(cx, first.map_or(&[], |buf| buf))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.wishes.flushes.send_replace(());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
