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

    /// Whatever its fields say, in every poll what comes next.
    #[derive(Default)]
    struct Liar {
        frames: Vec<Result<Frame<Bytes>, &'static str>>,
        hint: SizeHint,
        says_end: bool,
        past_end: Option<ScriptedBody>,
    }

    fn data() -> Result<Frame<Bytes>, &'static str> {
        Ok(Frame::data("a".into()))
    }

    fn trailers() -> Result<Frame<Bytes>, &'static str> {
        Ok(Frame::trailers(HeaderMap::new()))
    }

    impl Body for Liar {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            if let Some(inner) = &mut self.past_end {
                while Pin::new(&mut *inner).poll_frame(cx).is_ready() {}
            }
            let next = (!self.frames.is_empty()).then(|| self.frames.remove(0));
            Poll::Ready(next)
        }

        fn is_end_stream(&self) -> bool {
            self.says_end
        }

        fn size_hint(&self) -> SizeHint {
            self.hint
        }
    }

    #[tokio::test]
    #[should_panic(expected = "more came after is_end_stream() was true")]
    async fn data_after_an_announced_end_is_caught() {
        let (frames, says_end) = (vec![data()], true);
        check_body(Liar {
            frames,
            says_end,
            ..Liar::default()
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "more came after is_end_stream() was true")]
    async fn trailers_after_an_announced_end_are_caught() {
        let (frames, says_end) = (vec![trailers()], true);
        check_body(Liar {
            frames,
            says_end,
            ..Liar::default()
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "more came after is_end_stream() was true")]
    async fn an_error_after_an_announced_end_is_caught() {
        let (frames, says_end) = (vec![Err("late")], true);
        check_body(Liar {
            frames,
            says_end,
            ..Liar::default()
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "a frame came after the trailers")]
    async fn data_after_trailers_is_caught() {
        let frames = vec![trailers(), data()];
        check_body(Liar {
            frames,
            ..Liar::default()
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "where 1 bytes followed")]
    async fn less_than_was_announced_is_caught() {
        let (frames, mut hint) = (vec![data()], SizeHint::new());
        hint.set_lower(2);
        check_body(Liar {
            frames,
            hint,
            ..Liar::default()
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "where 2 bytes followed")]
    async fn more_than_was_announced_is_caught() {
        let (frames, mut hint) = (vec![data(), data()], SizeHint::new());
        hint.set_upper(1);
        check_body(Liar {
            frames,
            hint,
            ..Liar::default()
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "where 0 bytes followed")]
    async fn a_length_that_does_not_shrink_is_caught() {
        let (frames, hint) = (vec![data()], SizeHint::with_exact(1));
        check_body(Liar {
            frames,
            hint,
            ..Liar::default()
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "polled after its end")]
    async fn a_poll_past_the_end_is_caught() {
        let past_end = Some(ScriptedBody::new().data("a"));
        check_body(Liar {
            past_end,
            ..Liar::default()
        })
        .await;
    }
}
