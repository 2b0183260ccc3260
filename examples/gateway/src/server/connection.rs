//! A caller's connection and its clocks.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::again::Relay;
use crate::config::ServerLimits;

/// A connection that fails once its caller is too slow.
///
/// hyper's own clock for request heads also runs while a connection is idle, and does not run
/// before it has guessed the version of HTTP. This one begins with the first byte of a head, is
/// joined by one for idle connections, and sees both versions. A second watches for callers who do
/// not read what is sent to them.
#[derive(Debug)]
pub(super) struct CallerIo {
    io: TcpStream,
    calls: Arc<OpenCalls>,
    /// How many of them had begun when it was last looked.
    seen: usize,
    limits: ServerLimits,
    reading: Reading,
    read_timer: Timer,
    write_timer: Timer,
}

/// What the bytes that the caller sends next belong to.
#[derive(Debug)]
enum Reading {
    /// A call that is open.
    Call,
    /// The head of a request, whose first bytes came at that time.
    Head(Instant),
    /// Nothing has come since that time.
    Nothing(Instant),
}

impl CallerIo {
    pub(super) fn new(io: TcpStream, calls: Arc<OpenCalls>, limits: ServerLimits) -> Self {
        Self {
            io,
            calls,
            seen: 0,
            limits,
            reading: Reading::Nothing(Instant::now()),
            read_timer: Timer::default(),
            write_timer: Timer::default(),
        }
    }

    /// Notices calls that have begun since the last time, even if they have ended as well.
    fn see_calls(&mut self) {
        let begun = self.calls.begun.load(Ordering::Relaxed);
        if begun != self.seen {
            self.seen = begun;
            self.reading = Reading::Call;
        }
    }

    fn poll_read_timeout(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.calls.any() {
            return self.poll_stalled(cx);
        }
        let deadline = match self.reading {
            Reading::Call => {
                let now = Instant::now();
                self.reading = Reading::Nothing(now);
                now + self.limits.idle
            }
            Reading::Head(since) => since + self.limits.header,
            Reading::Nothing(since) => since + self.limits.idle,
        };
        self.read_timer.poll_until(deadline, cx)
    }

    /// Ready if the caller has not read one of its answers for too long.
    ///
    /// On HTTP/1 the connection's writes tell. On HTTP/2 each answer has a window of its own, and
    /// while it is closed hyper does not even ask for more.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.calls.are_http2() {
            return Poll::Pending;
        }
        loop {
            let now = Instant::now();
            let since = self.calls.waiting_since().unwrap_or(now);
            let deadline = since + self.limits.write_stall;
            if deadline <= now {
                return Poll::Ready(());
            }
            ready!(self.read_timer.poll_until(deadline, cx));
        }
    }

    /// Passes the outcome of a write on, unless the caller has not read for too long.
    fn watch_write<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_timer.stop();
            return outcome;
        }
        ready!(self.write_timer.poll_for(self.limits.write_stall, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for CallerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.see_calls();
        if let Poll::Ready(outcome) = Pin::new(&mut this.io).poll_read(cx, buf) {
            // On HTTP/2 bytes without an open stream are no head: pings and settings.
            let silent = matches!(this.reading, Reading::Nothing(_) | Reading::Call);
            if silent && !this.calls.any() && !this.calls.are_http2() {
                this.reading = Reading::Head(Instant::now());
            }
            return Poll::Ready(outcome);
        }
        ready!(this.poll_read_timeout(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for CallerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch_write(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // An event leaves in three pieces. To copy them costs less than to have the kernel gather
        // them.
        let mut small = [0; SMALL_WRITE_BYTES];
        let outcome = match join(bufs, &mut small) {
            Some(joined) => Pin::new(&mut self.io).poll_write(cx, joined),
            None => Pin::new(&mut self.io).poll_write_vectored(cx, bufs),
        };
        self.watch_write(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// All the pieces in this buffer, if they fit into it.
fn join<'a>(bufs: &[IoSlice<'_>], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut length = 0;
    for buf in bufs {
        let end = length + buf.len();
        buffer.get_mut(length..end)?.copy_from_slice(buf);
        length = end;
    }
    buffer.get(..length)
}

const SMALL_WRITE_BYTES: usize = 1 << 10;

/// The calls that are open on a connection.
#[derive(Debug)]
pub(super) struct OpenCalls {
    relay: Arc<Relay>,
    number: AtomicUsize,
    begun: AtomicUsize,
    http2: AtomicBool,
    /// On HTTP/2: the calls that wait for their caller to read, and since when.
    waiting: Mutex<HashMap<usize, Instant>>,
}

impl OpenCalls {
    pub(super) fn new(relay: Arc<Relay>) -> Self {
        Self {
            relay,
            number: AtomicUsize::default(),
            begun: AtomicUsize::default(),
            http2: AtomicBool::default(),
            waiting: Mutex::default(),
        }
    }

    pub(super) fn begin(self: &Arc<Self>, version: http::Version) -> OpenCall {
        if version == http::Version::HTTP_2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        self.number.fetch_add(1, Ordering::Relaxed);
        OpenCall {
            id: self.begun.fetch_add(1, Ordering::Relaxed),
            calls: Arc::clone(self),
        }
    }

    fn any(&self) -> bool {
        self.number.load(Ordering::Relaxed) > 0
    }

    fn are_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    fn waiting_since(&self) -> Option<Instant> {
        self.waiting().values().min().copied()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<usize, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call is open as long as this lives.
#[derive(Debug)]
pub(super) struct OpenCall {
    id: usize,
    calls: Arc<OpenCalls>,
}

impl OpenCall {
    /// How often the connection has been woken, if it is the one that is polled here.
    pub(super) fn wakes(&self, cx: &Context<'_>) -> Option<usize> {
        self.calls.relay.wakes(cx.waker())
    }

    /// There is something for the caller to read.
    pub(super) fn wait_for_caller(&self) {
        if self.calls.are_http2() {
            self.calls.waiting().insert(self.id, Instant::now());
        }
    }

    /// The caller has read, or has to wait itself.
    pub(super) fn go_on(&self) {
        if self.calls.are_http2() {
            self.calls.waiting().remove(&self.id);
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.go_on();
        self.calls.number.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A timer that is made when it is first needed, and kept.
#[derive(Debug, Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    runs_until: Option<Instant>,
}

impl Timer {
    fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // One that is set earlier wakes for nothing, once; moving it at each call costs a lock.
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        ready!(sleep.as_mut().poll(cx));
        if sleep.deadline() < deadline {
            sleep.as_mut().reset(deadline);
            ready!(sleep.as_mut().poll(cx));
        }
        Poll::Ready(())
    }

    fn poll_for(&mut self, time: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.runs_until.get_or_insert_with(|| Instant::now() + time);
        self.poll_until(deadline, cx)
    }

    fn stop(&mut self) {
        self.runs_until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_in_their_order_if_they_fit() {
        let bufs = [b"4\r\n".as_slice(), b"", b"data", b"\r\n"].map(IoSlice::new);
        let mut buffer = [0; 9];
        assert_eq!(join(&bufs, &mut buffer), Some(b"4\r\ndata\r\n".as_slice()));
        assert_eq!(join(&bufs, &mut buffer[..8]), None);
        assert_eq!(join(&[], &mut buffer), Some([].as_slice()));
    }
}
