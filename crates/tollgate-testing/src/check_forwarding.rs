use std::{future::poll_fn, pin::pin};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::ScriptedBody;

/// Puts bodies of every kind through a wrapper that should change none of them, and checks that it
/// forwards everything: data, empty frames too, trailers, errors, lengths and ends as they are
/// announced, and the drop.
///
/// `wrap` makes the wrapper, or sends the body through a whole service:
///
/// ```
/// use http::{Request, Response};
/// use tollgate_testing::{ReadyProbe, check_forwarding};
/// use tower::{Layer, ServiceExt, layer::util::Identity};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let my_layer = Identity::new(); // put your layer here
/// check_forwarding(async |body| {
///     let mut body = Some(body);
///     let inner = ReadyProbe::new(move |_: Request<()>| Response::new(body.take().unwrap()));
///     let response = my_layer.layer(inner).oneshot(Request::new(())).await;
///     response.unwrap().into_body()
/// })
/// .await;
/// # }
/// ```
///
/// # Panics
///
/// If anything is lost or added, or a body is polled past its end.
pub async fn check_forwarding<B>(mut wrap: impl AsyncFnMut(ScriptedBody) -> B)
where
    B: Body<Data = Bytes>,
{
    for (name, script) in SCRIPTS {
        let original = all_of(script()).await;
        let body = script();
        let watch = body.watch();
        let wrapped = all_of(wrap(body).await).await;
        assert_eq!(wrapped, original, "{name}: not forwarded as it came");
        assert!(watch.is_dropped(), "{name}: kept after its end");

        let body = script();
        let watch = body.watch();
        drop(wrap(body).await);
        assert!(watch.is_dropped(), "{name}: kept when it was left");
    }
}

type Script = fn() -> ScriptedBody;

const SCRIPTS: [(&str, Script); 8] = [
    ("nothing", ScriptedBody::new),
    ("nothing, announced", || {
        ScriptedBody::new().announce_length()
    }),
    ("data", || {
        ScriptedBody::new().data("a").pending().data("").data("b")
    }),
    ("data, announced", || {
        ScriptedBody::new().data("a").data("b").announce_length()
    }),
    ("data and trailers", || {
        ScriptedBody::new().data("a").pending().trailers(trailers())
    }),
    ("trailers alone", || {
        ScriptedBody::new().trailers(trailers())
    }),
    ("data and an error", || {
        ScriptedBody::new().data("a").pending().error()
    }),
    ("an error alone", || ScriptedBody::new().error()),
];

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", http::HeaderValue::from_static("1"));
    trailers
}

/// What a body announces, and then does.
#[derive(Debug, PartialEq)]
struct Step {
    is_end_stream: bool,
    lower: u64,
    upper: Option<u64>,
    does: Does,
}

#[derive(Debug, PartialEq)]
enum Does {
    Data(Bytes),
    End,
    Error,
    Trailers(HeaderMap),
}

async fn all_of<B: Body<Data = Bytes>>(body: B) -> Vec<Step> {
    let mut body = pin!(body);
    let mut steps = Vec::new();
    loop {
        let (is_end_stream, hint) = (body.is_end_stream(), body.size_hint());
        let does = match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => Does::End,
            Some(Err(_)) => Does::Error,
            Some(Ok(frame)) => does(frame),
        };
        let is_over = matches!(does, Does::End | Does::Error);
        steps.push(Step {
            is_end_stream,
            lower: hint.lower(),
            upper: hint.upper(),
            does,
        });
        if is_over {
            return steps;
        }
    }
}

fn does(frame: Frame<Bytes>) -> Does {
    match frame.into_data() {
        Ok(data) => Does::Data(data),
        Err(frame) => frame.into_trailers().map_or(Does::End, Does::Trailers),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, ready},
    };

    use http_body::SizeHint;

    use super::*;
    use crate::ScriptError;

    /// A wrapper that makes one of the usual mistakes.
    struct Broken {
        inner: ScriptedBody,
        mistake: Mistake,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Mistake {
        AddsData,
        DropsEmptyFrames,
        HidesTheEnd,
        HidesTheLength,
        LosesErrors,
        LosesTrailers,
        None,
        PollsPastTheEnd,
    }

    impl Body for Broken {
        type Data = Bytes;
        type Error = ScriptError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, ScriptError>>> {
            let mistake = self.mistake;
            let mut frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
            let again = match &frame {
                None => mistake == Mistake::PollsPastTheEnd,
                Some(Ok(frame)) => {
                    let is_empty = frame.data_ref().is_some_and(Bytes::is_empty);
                    is_empty && mistake == Mistake::DropsEmptyFrames
                        || frame.is_trailers() && mistake == Mistake::LosesTrailers
                }
                Some(Err(_)) if mistake == Mistake::LosesErrors => {
                    frame = None;
                    false
                }
                Some(Err(_)) => false,
            };
            if again {
                frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
            }
            if frame.is_none() && mistake == Mistake::AddsData {
                self.mistake = Mistake::None;
                frame = Some(Ok(Frame::data("more".into())));
                self.inner = ScriptedBody::new();
            }
            Poll::Ready(frame)
        }

        fn is_end_stream(&self) -> bool {
            self.mistake != Mistake::HidesTheEnd && self.inner.is_end_stream()
        }

        fn size_hint(&self) -> SizeHint {
            match self.mistake {
                Mistake::HidesTheLength => SizeHint::default(),
                _ => self.inner.size_hint(),
            }
        }
    }

    async fn check(mistake: Mistake) {
        check_forwarding(async |inner| Broken { inner, mistake }).await;
    }

    #[tokio::test]
    async fn who_forwards_everything_passes() {
        check(Mistake::None).await;
    }

    #[tokio::test]
    #[should_panic(expected = "nothing: not forwarded as it came")]
    async fn added_data_is_caught() {
        check(Mistake::AddsData).await;
    }

    #[tokio::test]
    #[should_panic(expected = "data: not forwarded as it came")]
    async fn lost_empty_frames_are_caught() {
        check(Mistake::DropsEmptyFrames).await;
    }

    #[tokio::test]
    #[should_panic(expected = "nothing, announced: not forwarded as it came")]
    async fn a_hidden_end_is_caught() {
        check(Mistake::HidesTheEnd).await;
    }

    #[tokio::test]
    #[should_panic(expected = "announced: not forwarded as it came")]
    async fn a_hidden_length_is_caught() {
        check(Mistake::HidesTheLength).await;
    }

    #[tokio::test]
    #[should_panic(expected = "data and an error: not forwarded as it came")]
    async fn lost_errors_are_caught() {
        check(Mistake::LosesErrors).await;
    }

    #[tokio::test]
    #[should_panic(expected = "data and trailers: not forwarded as it came")]
    async fn lost_trailers_are_caught() {
        check(Mistake::LosesTrailers).await;
    }

    #[tokio::test]
    #[should_panic(expected = "polled after its end")]
    async fn polls_past_the_end_are_caught() {
        check(Mistake::PollsPastTheEnd).await;
    }

    #[tokio::test]
    #[should_panic(expected = "nothing: kept after its end")]
    async fn a_body_that_is_kept_is_caught() {
        check_forwarding(async |inner| Box::leak(Box::new(inner))).await;
    }
}
