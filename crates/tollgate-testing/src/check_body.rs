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
/// If a length was promised that did not come, a frame followed an announced end or the trailers,
/// or an exact length was given although trailers followed (a server would then drop them).
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
        let frame = match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                received.error = Some(error);
                break;
            }
            None => break,
        };
        assert!(
            !announced_end,
            "a frame came after is_end_stream() was true"
        );
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

    struct Liar(u8);

    impl Body for Liar {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            self.0 += 1;
            std::task::Poll::Ready((self.0 < 3).then(|| Ok(http_body::Frame::data("a".into()))))
        }

        fn is_end_stream(&self) -> bool {
            self.0 == 1
        }
    }

    #[tokio::test]
    #[should_panic(expected = "after is_end_stream()")]
    async fn a_false_end_is_caught() {
        check_body(Liar(0)).await;
    }
}
