use std::{collections::BTreeSet, fmt::Debug, num::NonZeroUsize, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, TRAILER},
};

use super::{
    Latch,
    body::{End, Step},
};

/// What a [`ScriptedUpstream`](super::ScriptedUpstream) answers a call, and how it fails to.
///
/// The body is made of pieces, and each piece is written and flushed by itself. Positions count the
/// bytes of the whole body, from 0, wherever its pieces end. At most one way to end a reply holds:
/// the last that was named.
///
/// ```
/// use tollgate_testing::upstream::{Latch, Reply};
///
/// // The first event comes in two pieces; the second when the test says so; then a reset.
/// let latch = Latch::new();
/// let reply = Reply::sse(["one", "two"]).split_at(3).hold_at(11, &latch).reset();
///
/// // Promises 12 bytes, and closes the connection after 5.
/// let reply = Reply::json(r#"{"id": "42"}"#).close_after(5);
///
/// // An error as a gateway would send it.
/// let reply = Reply::json("{}").status(503).header("retry-after", "2");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Reply {
    pub(super) before_head: BeforeHead,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    trailers: Option<HeaderMap>,
    pieces: Vec<Bytes>,
    cuts: BTreeSet<usize>,
    cut_every: Option<usize>,
    holds: Vec<(usize, Latch)>,
    pub(super) pace: Option<Duration>,
    pub(super) writes: Option<NonZeroUsize>,
    is_chunked: bool,
    keep: usize,
    end: End,
}

/// What comes before the head, or in place of it.
#[derive(Clone, Debug)]
pub(super) enum BeforeHead {
    Abort,
    HangUp,
    Hold(Latch),
    Nothing,
    Silence,
}

impl Reply {
    /// An answer without a body.
    ///
    /// # Panics
    ///
    /// If this is no status.
    pub fn new<S>(status: S) -> Self
    where
        S: TryInto<StatusCode, Error: Debug>,
    {
        Self {
            before_head: BeforeHead::Nothing,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            trailers: None,
            pieces: Vec::new(),
            cuts: BTreeSet::new(),
            cut_every: None,
            holds: Vec::new(),
            pace: None,
            writes: None,
            is_chunked: false,
            keep: usize::MAX,
            end: End::Complete,
        }
        .status(status)
    }

    /// A 200 with this JSON, which may be a `serde_json::Value` or text.
    #[expect(clippy::needless_pass_by_value, reason = "`json!(…)` is a value")]
    pub fn json(json: impl ToString) -> Self {
        Self::new(StatusCode::OK)
            .header(CONTENT_TYPE, "application/json")
            .data(json.to_string())
    }

    /// A 200 with a stream of server-sent events that have this data. Its length is not announced.
    pub fn sse<E: ToString>(events: impl IntoIterator<Item = E>) -> Self {
        let start = Self::new(StatusCode::OK)
            .header(CONTENT_TYPE, "text/event-stream")
            .chunked();
        events.into_iter().fold(start, Self::event)
    }

    /// No answer, not even a head, until the caller leaves.
    pub fn silence() -> Self {
        Self::instead_of_head(BeforeHead::Silence)
    }

    /// The connection is closed in place of an answer.
    pub fn hang_up() -> Self {
        Self::instead_of_head(BeforeHead::HangUp)
    }

    /// The connection is reset in place of an answer; over HTTP/2, the stream.
    pub fn abort() -> Self {
        Self::instead_of_head(BeforeHead::Abort)
    }

    fn instead_of_head(this: BeforeHead) -> Self {
        Self {
            before_head: this,
            ..Self::new(StatusCode::OK)
        }
    }

    /// With another status.
    ///
    /// # Panics
    ///
    /// If this is none.
    pub fn status<S>(mut self, status: S) -> Self
    where
        S: TryInto<StatusCode, Error: Debug>,
    {
        self.status = status.try_into().expect("a status");
        self
    }

    /// One more header.
    ///
    /// # Panics
    ///
    /// If this is none.
    pub fn header<K, V>(mut self, name: K, value: V) -> Self
    where
        K: TryInto<HeaderName, Error: Debug>,
        V: TryInto<HeaderValue, Error: Debug>,
    {
        let name = name.try_into().expect("a header's name");
        let value = value.try_into().expect("a header's value");
        self.headers.append(name, value);
        self
    }

    /// Then a piece of the body with these bytes.
    pub fn data(mut self, bytes: impl Into<Bytes>) -> Self {
        self.pieces.push(bytes.into());
        self
    }

    /// Then a piece of the body that is a server-sent event with this data.
    #[expect(clippy::needless_pass_by_value, reason = "`json!(…)` is a value")]
    pub fn event(self, data: impl ToString) -> Self {
        let data = data.to_string();
        let lines = data.split('\n').map(|line| format!("data: {line}\n"));
        self.data(lines.collect::<String>() + "\n")
    }

    /// Then trailers. Over HTTP/1.1 only callers who say `te: trailers` get any.
    pub fn trailers(mut self, trailers: HeaderMap) -> Self {
        for name in trailers.keys() {
            self.headers.append(
                TRAILER,
                name.as_str().try_into().expect("a name is a value"),
            );
        }
        self.trailers = Some(trailers);
        self
    }

    /// Does not announce the body's length. Otherwise it is announced where that is possible.
    pub fn chunked(mut self) -> Self {
        self.is_chunked = true;
        self
    }

    /// Cuts the piece there, if no piece begins there.
    pub fn split_at(mut self, position: usize) -> Self {
        self.cuts.insert(position);
        self
    }

    /// Cuts the body after each so many bytes.
    ///
    /// # Panics
    ///
    /// If `bytes` is zero.
    pub fn split_every(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "pieces of nothing make no body");
        self.cut_every = Some(bytes);
        self
    }

    /// The connection is written in pieces of so many bytes from here on: head, body and framing.
    ///
    /// # Panics
    ///
    /// If `bytes` is zero.
    pub fn dribble(mut self, bytes: usize) -> Self {
        let bytes = NonZeroUsize::new(bytes);
        self.writes = Some(bytes.expect("pieces of nothing make no answer"));
        self
    }

    /// Each piece comes this long after the one before it.
    pub fn pace(mut self, pause: Duration) -> Self {
        self.pace = Some(pause);
        self
    }

    /// Nothing comes until the latch is open, not even the head.
    pub fn hold_head(mut self, latch: &Latch) -> Self {
        self.before_head = BeforeHead::Hold(latch.clone());
        self
    }

    /// What begins at this position comes when the latch is open; at 0, all but the head.
    pub fn hold_at(mut self, position: usize, latch: &Latch) -> Self {
        self.cuts.insert(position);
        self.holds.push((position, latch.clone()));
        self
    }

    /// Nothing follows the body, not even its end, until the caller leaves.
    pub fn stall(mut self) -> Self {
        self.end = End::Stall;
        self
    }

    /// The same after so many bytes of the body.
    pub fn stall_after(self, bytes: usize) -> Self {
        self.only(bytes).stall()
    }

    /// The connection is closed without the end of the body, as by a server that is stopped.
    pub fn close(mut self) -> Self {
        self.end = End::Close;
        self
    }

    /// The same after so many bytes of the body.
    pub fn close_after(self, bytes: usize) -> Self {
        self.only(bytes).close()
    }

    /// The connection is reset without the end of the body, as by a server that is killed; over
    /// HTTP/2, the stream is. What its caller has not read by then may be lost.
    pub fn reset(mut self) -> Self {
        self.end = End::Reset;
        self
    }

    /// The same after so many bytes of the body.
    pub fn reset_after(self, bytes: usize) -> Self {
        self.only(bytes).reset()
    }

    /// The body ends in these bytes, again and again, as fast as its caller reads.
    pub fn endless(mut self, bytes: impl Into<Bytes>) -> Self {
        self.end = End::Repeat(bytes.into());
        self
    }

    fn only(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// The length that is announced: none that is reached before the end.
    pub(super) fn length(&self) -> Option<u64> {
        let whole: usize = self.pieces.iter().map(Bytes::len).sum();
        let ends_with_last_byte = match self.end {
            End::Complete => self.trailers.is_none(),
            End::Close | End::Reset | End::Stall => self.keep < whole,
            End::Repeat(_) => false,
        } && self.holds.iter().all(|(position, _)| *position < whole);
        (ends_with_last_byte && !self.is_chunked).then_some(whole as u64)
    }

    /// The body, step by step.
    pub(super) fn into_steps(self) -> (Vec<Step>, End) {
        let whole = Bytes::from(self.pieces.concat());
        let kept = whole.len().min(self.keep);
        let mut bounds = self.cuts;
        bounds.extend([0, kept]);
        bounds.extend(self.pieces.iter().scan(0, |end, piece| {
            *end += piece.len();
            Some(*end)
        }));
        if let Some(bytes) = self.cut_every {
            bounds.extend((0..kept).step_by(bytes));
        }
        let bounds: Vec<usize> = bounds.into_iter().filter(|bound| *bound <= kept).collect();
        let mut steps = Vec::new();
        for (at, start) in bounds.iter().enumerate() {
            let holds = self.holds.iter().filter(|(position, _)| position == start);
            steps.extend(holds.map(|(_, latch)| Step::Hold(latch.clone())));
            if let Some(end) = bounds.get(at + 1) {
                steps.push(Step::Data(whole.slice(*start..*end)));
            }
        }
        if let (End::Complete, Some(trailers)) = (&self.end, self.trailers) {
            steps.push(Step::Trailers(trailers));
        }
        (steps, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(reply: Reply) -> Vec<String> {
        let show = |step: &Step| match step {
            Step::Data(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Step::Hold(_) => "(hold)".to_owned(),
            Step::Trailers(_) => "(trailers)".to_owned(),
        };
        reply.into_steps().0.iter().map(show).collect()
    }

    #[test]
    fn pieces_are_cut_where_it_was_asked() {
        let whole = || Reply::new(200).data("abcd").data("").data("ef");
        assert_eq!(steps(whole()), ["abcd", "ef"]);
        assert_eq!(steps(whole().split_at(1).split_at(4)), ["a", "bcd", "ef"]);
        assert_eq!(steps(whole().split_every(3)), ["abc", "d", "ef"]);
        assert_eq!(steps(whole().split_at(9)), ["abcd", "ef"]);
        assert_eq!(steps(whole().reset_after(5)), ["abcd", "e"]);
        assert_eq!(steps(whole().stall_after(0)), [""; 0]);
        assert_eq!(steps(Reply::sse(["a\nb"])), ["data: a\ndata: b\n\n"]);
    }

    #[test]
    fn holds_stand_where_they_were_put() {
        let latch = Latch::new();
        let held = |at| Reply::new(200).data("abc").hold_at(at, &latch);
        assert_eq!(steps(held(0)), ["(hold)", "abc"]);
        assert_eq!(steps(held(2)), ["ab", "(hold)", "c"]);
        assert_eq!(steps(held(3)), ["abc", "(hold)"]);
        let trailers = held(3).trailers(HeaderMap::new());
        assert_eq!(steps(trailers), ["abc", "(hold)", "(trailers)"]);
        assert_eq!(steps(held(2).close_after(1)), ["a"]);
    }

    #[test]
    fn lengths_are_those_of_whole_bodies() {
        assert_eq!(Reply::json("{}").close_after(1).length(), Some(2));
        assert_eq!(Reply::new(204).length(), Some(0));
        assert_eq!(Reply::json("{}").chunked().length(), None);
        assert_eq!(Reply::sse(["a"]).length(), None);
        assert_eq!(Reply::json("{}").stall().length(), None);
        assert_eq!(Reply::json("{}").close_after(2).length(), None);
        let at_the_end = Reply::json("{}").hold_at(2, &Latch::new());
        assert_eq!(at_the_end.length(), None);
        assert_eq!(Reply::new(200).trailers(HeaderMap::new()).length(), None);
        assert_eq!(Reply::new(200).endless("a").length(), None);
    }
}
