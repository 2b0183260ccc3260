use std::{future::poll_fn, pin::pin};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, SizeHint};

/// What a body gave away, up to its end or its error.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received<E> {
    /// All data, joined.
    pub data: Bytes,
    /// The data frames as they came.
    pub frames: Vec<Bytes>,
    /// The trailers.
    pub trailers: Option<HeaderMap>,
    /// The error that ended the body.
    pub error: Option<E>,
}

/// Reads a body to its end and checks that it kept every promise on the way.
///
/// # Panics
///
/// If a length was promised that did not come, a frame or an error followed an announced end, a frame
/// followed the trailers, or an exact length was given although trailers followed. Servers believe
/// what is announced: they drop the rest, or break the connection.
///
/// It cannot know what should have come: that is [`Received`], for your own assertions, and
/// [`check_forwarding`](crate::check_forwarding), for bodies that should change nothing.
pub async fn check_body<B>(body: B) -> Received<B::Error>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut received = Received {
        data: Bytes::new(),
        frames: Vec::new(),
        trailers: None,
        error: None,
    };
    let mut data = BytesMut::new();
    let mut promises: Vec<(usize, SizeHint)> = Vec::new();
    loop {
        let announced_end = body.is_end_stream();
        promises.push((data.len(), body.size_hint()));
        let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await else {
            break;
        };
        assert!(
            !announced_end,
            "more came after is_end_stream() was true: servers would not see it"
        );
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                received.error = Some(error);
                break;
            }
        };
        assert!(
            received.trailers.is_none(),
            "a frame came after the trailers"
        );
        match frame.into_data() {
            Ok(bytes) => {
                data.extend_from_slice(&bytes);
                received.frames.push(bytes);
            }
            Err(frame) => received.trailers = frame.into_trailers().ok(),
        }
    }
    // A broken body owes nobody its length.
    if received.error.is_none() {
        for (at, hint) in promises {
            let rest = (data.len() - at) as u64;
            assert!(
                hint.lower() <= rest && hint.upper().is_none_or(|upper| rest <= upper),
                "size_hint() was {hint:?} where {rest} bytes followed"
            );
            assert!(
                hint.exact().is_none() || rest == 0 || received.trailers.is_none(),
                "size_hint() was exact although trailers followed"
            );
        }
    }
    received.data = data.freeze();
    received
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use http_body::Frame;
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::ScriptedBody;

    #[tokio::test]
    async fn a_good_body_is_read_whole() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x", "y".parse().unwrap());
        let body = ScriptedBody::new()
            .data("a")
            .data("")
            .pending()
            .data("b")
            .trailers(trailers);
        let received = check_body(body).await;
        assert_eq!(received.data, "ab");
        assert_eq!(received.frames.len(), 3);
        assert_eq!(received.trailers.unwrap()["x"], "y");
    }

    #[tokio::test]
    async fn an_error_ends_a_body() {
        let received = check_body(ScriptedBody::new().data("a").error()).await;
        assert!(received.error.is_some());
    }

    #[tokio::test]
    #[should_panic(expected = "exact although trailers followed")]
    async fn an_exact_length_with_trailers_is_a_lie() {
        let lie = Full::new(Bytes::from("a")).with_trailers(async { Some(Ok(HeaderMap::new())) });
        check_body(lie).await;
    }

    type Frames = Vec<Result<Frame<Bytes>, &'static str>>;

    /// Gives these frames, and announces the same all along.
    struct Liar {
        frames: Frames,
        says_end: bool,
        hint: SizeHint,
    }

    impl Body for Liar {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            Poll::Ready(self.frames.pop())
        }

        fn is_end_stream(&self) -> bool {
            self.says_end
        }

        fn size_hint(&self) -> SizeHint {
            self.hint
        }
    }

    async fn check(frames: Frames, says_end: bool, hint: SizeHint) {
        let body = Liar {
            frames,
            says_end,
            hint,
        };
        check_body(body).await;
    }

    fn data() -> Frame<Bytes> {
        Frame::data("a".into())
    }

    fn trailers() -> Frame<Bytes> {
        Frame::trailers(HeaderMap::new())
    }

    #[tokio::test]
    #[should_panic(expected = "more came after is_end_stream() was true")]
    async fn data_after_an_announced_end_is_caught() {
        check(vec![Ok(data())], true, SizeHint::new()).await;
    }

    #[tokio::test]
    #[should_panic(expected = "more came after is_end_stream() was true")]
    async fn trailers_after_an_announced_end_are_caught() {
        check(vec![Ok(trailers())], true, SizeHint::new()).await;
    }

    #[tokio::test]
    #[should_panic(expected = "more came after is_end_stream() was true")]
    async fn an_error_after_an_announced_end_is_caught() {
        check(vec![Err("late")], true, SizeHint::new()).await;
    }

    #[tokio::test]
    #[should_panic(expected = "a frame came after the trailers")]
    async fn data_after_trailers_is_caught() {
        // The last comes first.
        let frames = vec![Ok(data()), Ok(trailers())];
        check(frames, false, SizeHint::new()).await;
    }

    #[tokio::test]
    #[should_panic(expected = "where 1 bytes followed")]
    async fn less_than_was_announced_is_caught() {
        let mut at_least = SizeHint::new();
        at_least.set_lower(2);
        check(vec![Ok(data())], false, at_least).await;
    }

    #[tokio::test]
    #[should_panic(expected = "where 2 bytes followed")]
    async fn more_than_was_announced_is_caught() {
        let mut at_most = SizeHint::new();
        at_most.set_upper(1);
        check(vec![Ok(data()), Ok(data())], false, at_most).await;
    }

    #[tokio::test]
    #[should_panic(expected = "where 0 bytes followed")]
    async fn a_length_that_does_not_shrink_is_caught() {
        check(vec![Ok(data())], false, SizeHint::with_exact(1)).await;
    }

    #[tokio::test]
    #[should_panic(expected = "polled after its end")]
    async fn a_poll_of_an_inner_body_past_its_end_is_caught() {
        struct Twice(ScriptedBody);

        impl Body for Twice {
            type Data = Bytes;
            type Error = crate::ScriptError;

            fn poll_frame(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
                let _ = Pin::new(&mut self.0).poll_frame(cx);
                Pin::new(&mut self.0).poll_frame(cx)
            }
        }

        check_body(Twice(ScriptedBody::new().data("a").data("b"))).await;
    }
}
