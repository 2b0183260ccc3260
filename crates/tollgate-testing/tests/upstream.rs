//! The scripted upstream, as clients of both protocols see it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{io::ErrorKind, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tollgate_testing::{
    check_body,
    upstream::{Latch, Reply, ScriptedUpstream},
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

type TestClient = Client<HttpConnector, Full<Bytes>>;

fn client(over_http2: bool) -> TestClient {
    Client::builder(TokioExecutor::new())
        .http2_only(over_http2)
        .build_http()
}

fn both() -> [TestClient; 2] {
    [client(false), client(true)]
}

async fn get(client: &TestClient, at: &ScriptedUpstream) -> Result<Response<Incoming>, Error> {
    let request = client.get(at.url().parse().unwrap());
    timeout(PATIENCE, request).await.unwrap()
}

/// All that comes over a connection that asks for one answer, and how it ends.
async fn raw(at: &ScriptedUpstream, headers: &str) -> (String, Option<ErrorKind>) {
    let mut stream = TcpStream::connect(at.address()).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut read));
    let end = end.await.unwrap().err().map(|error| error.kind());
    (String::from_utf8(read).unwrap(), end)
}

#[tokio::test]
async fn requests_are_answered_and_remembered() {
    let upstream = ScriptedUpstream::start(|request| {
        let echo = Reply::new(StatusCode::CREATED).data(request.body().clone());
        echo.header("x-a", "1").header("x-a", "2")
    })
    .await;
    for (client, version) in both().iter().zip(["HTTP/1.1", "HTTP/2.0"]) {
        let request = Request::put(format!("{}/some/path?query", upstream.url()))
            .header("x-test", "yes")
            .body(Full::from("hello"))
            .unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["content-length"], "5");
        assert_eq!(response.headers().get_all("x-a").iter().count(), 2);
        assert_eq!(check_body(response.into_body()).await.data, "hello");

        let received = upstream.received_one();
        assert_eq!(received.method(), Method::PUT);
        assert_eq!(received.uri().path(), "/some/path");
        assert_eq!(received.uri().query(), Some("query"));
        assert_eq!(received.headers()["x-test"], "yes");
        assert_eq!(format!("{:?}", received.version()), version);
        assert_eq!(received.body(), "hello");
        assert_eq!(upstream.take_received().len(), 1);
        assert!(upstream.received().is_empty());
    }
    upstream.idle().await;
    assert_eq!((upstream.left(), upstream.sent()), (0, 10));
}

#[tokio::test]
async fn replies_come_in_turn_and_the_last_again() {
    let upstream = ScriptedUpstream::in_turn([503, 404, 200].map(Reply::new)).await;
    let client = client(false);
    for status in [503, 404, 200, 200] {
        assert_eq!(get(&client, &upstream).await.unwrap().status(), status);
    }
    upstream.called(4).await;
    assert_eq!((upstream.accepted(), upstream.connections()), (1, 1));
    drop(client);
    upstream.disconnected().await;
    assert_eq!(upstream.left(), 0);
}

#[tokio::test]
async fn each_piece_is_a_chunk_of_its_own() {
    let reply = Reply::sse(["a", "b"]).split_at(2).split_every(5);
    let upstream = ScriptedUpstream::in_turn([reply]).await;
    let (read, end) = raw(&upstream, "connection: close\r\n").await;
    assert_eq!(end, None);
    let (head, body) = read.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    let chunks =
        "2\r\nda\r\n3\r\nta:\r\n4\r\n a\n\n\r\n1\r\nd\r\n5\r\nata: \r\n3\r\nb\n\n\r\n0\r\n\r\n";
    assert_eq!(body, chunks);
}

#[tokio::test]
async fn even_a_head_may_dribble() {
    let reply = Reply::json("0123456789").dribble(3).close_after(8);
    let upstream = ScriptedUpstream::in_turn([reply]).await;
    let mut stream = TcpStream::connect(upstream.address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let (mut read, mut reads_of_head) = (Vec::new(), 0);
    while timeout(PATIENCE, stream.read_buf(&mut read))
        .await
        .unwrap()
        .unwrap()
        > 0
    {
        let has_head = read.windows(4).any(|end| end == b"\r\n\r\n");
        reads_of_head += usize::from(!has_head);
    }
    assert!(reads_of_head > 1, "the head came at once");
    assert!(read.starts_with(b"HTTP/1.1 200 OK\r\n") && read.ends_with(b"\r\n\r\n01234567"));

    let reply = Reply::json("0123456789").dribble(3);
    let upstream = ScriptedUpstream::in_turn([reply]).await;
    for client in both() {
        let answer = get(&client, &upstream).await.unwrap();
        assert_eq!(check_body(answer.into_body()).await.data, "0123456789");
    }
}

#[tokio::test]
async fn what_is_held_comes_when_the_test_says_so() {
    for client in both() {
        let latch = Latch::new();
        let reply = Reply::json("0123456789").hold_at(4, &latch);
        let upstream = ScriptedUpstream::in_turn([reply.clone(), reply.hold_head(&latch)]).await;
        let mut response = get(&client, &upstream).await.unwrap();
        let first = response.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "0123");
        assert_eq!(upstream.sent(), 4);

        let answered = {
            let second = get(&client, &upstream);
            let opens = async {
                upstream.called(2).await;
                latch.open();
            };
            let (answered, ()) = tokio::join!(second, opens);
            answered.unwrap()
        };
        assert_eq!(check_body(answered.into_body()).await.data, "0123456789");
        assert_eq!(check_body(response.into_body()).await.data, "456789");
        upstream.idle().await;
        assert_eq!(upstream.left(), 0);
    }
}

#[tokio::test]
async fn who_leaves_a_stalled_answer_is_noticed() {
    for client in both() {
        let stalls = [
            Reply::json("0123").stall_after(2),
            Reply::sse(["a"]).stall(),
            Reply::json("01").stall(),
        ];
        let upstream = ScriptedUpstream::in_turn(stalls).await;
        for left in 1..=3 {
            let mut response = get(&client, &upstream).await.unwrap();
            response.frame().await.unwrap().unwrap();
            assert_eq!(upstream.left(), left - 1);
            drop(response);
            upstream.idle().await;
            assert_eq!(upstream.left(), left);
        }
    }
}

#[tokio::test]
async fn who_leaves_silence_is_noticed() {
    for client in both() {
        let upstream = ScriptedUpstream::start(|_| Reply::silence()).await;
        let leaves = async {
            upstream.called(1).await;
        };
        tokio::select! {
            _ = get(&client, &upstream) => panic!("silence was answered"),
            () = leaves => {}
        }
        upstream.idle().await;
        assert_eq!(upstream.left(), 1);
    }
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_a_request_is_noticed() {
    let upstream = ScriptedUpstream::start(|_| Reply::new(200)).await;
    let mut stream = TcpStream::connect(upstream.address()).await.unwrap();
    let half = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf";
    stream.write_all(half).await.unwrap();
    drop(stream);
    upstream.called(1).await;
    upstream.disconnected().await;
    assert_eq!(upstream.received_one().body(), "half");
    assert_eq!(upstream.left(), 1);
}

#[tokio::test]
async fn nobody_leaves_what_has_no_body() {
    let upstream = ScriptedUpstream::in_turn([Reply::json("{}"), Reply::new(204)]).await;
    for client in both() {
        let request = Request::head(upstream.url()).body(Full::default()).unwrap();
        client.request(request).await.unwrap();
        get(&client, &upstream).await.unwrap();
    }
    upstream.idle().await;
    assert_eq!((upstream.received().len(), upstream.left()), (4, 0));
}

#[tokio::test]
async fn connections_are_closed_early() {
    let upstream = ScriptedUpstream::in_turn([
        Reply::json("0123456789").close_after(4),
        Reply::sse(["a"]).close(),
        Reply::hang_up(),
    ])
    .await;
    for ending in ["\r\n\r\n0123", "\r\n\r\n9\r\ndata: a\n\n\r\n", ""] {
        let (read, end) = raw(&upstream, "").await;
        assert!(read.ends_with(ending), "{read}");
        assert_eq!(read.is_empty(), ending.is_empty());
        assert_eq!(end, None);
    }
    assert_eq!(upstream.left(), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_are_reset() {
    let upstream = ScriptedUpstream::in_turn([
        Reply::json("0123456789").reset_after(4),
        Reply::sse(["a"]).reset(),
        Reply::abort(),
    ])
    .await;
    for ending in ["\r\n\r\n0123", "\r\n\r\n9\r\ndata: a\n\n\r\n", ""] {
        let (read, end) = raw(&upstream, "").await;
        assert!(read.ends_with(ending), "{read}");
        assert_eq!(end, Some(ErrorKind::ConnectionReset));
    }
    assert_eq!(upstream.left(), 0);
}

#[tokio::test]
async fn streams_of_http2_are_reset_alone_and_closed_together() {
    let latch = Latch::new();
    let upstream = ScriptedUpstream::in_turn([
        Reply::json("0123").hold_at(2, &latch),
        Reply::json("0123").reset_after(2),
        Reply::abort(),
        Reply::json("0123").stall_after(2),
        Reply::json("0123").close_after(2),
        Reply::new(200),
    ])
    .await;
    let client = client(true);
    let other = get(&client, &upstream).await.unwrap();
    let reset = get(&client, &upstream).await.unwrap();
    assert!(check_body(reset.into_body()).await.error.is_some());
    assert!(get(&client, &upstream).await.is_err());
    latch.open();
    let other = check_body(other.into_body()).await;
    assert_eq!(other.data, "0123");
    assert_eq!(upstream.accepted(), 1);

    let other = get(&client, &upstream).await.unwrap();
    let closed = get(&client, &upstream).await.unwrap();
    assert!(check_body(closed.into_body()).await.error.is_some());
    assert!(check_body(other.into_body()).await.error.is_some());
    assert_eq!(get(&client, &upstream).await.unwrap().status(), 200);
    assert_eq!(upstream.accepted(), 2);
}

#[tokio::test]
async fn trailers_follow_a_body() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let reply = Reply::json("{}").trailers(trailers);
    let upstream = ScriptedUpstream::in_turn([reply]).await;
    for client in both() {
        let request = Request::get(upstream.url())
            .header("te", "trailers")
            .body(Full::default())
            .unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(response.headers()["trailer"], "x-sum");
        let received = check_body(response.into_body()).await;
        assert_eq!(received.trailers.unwrap()["x-sum"], "7");
    }
    upstream.idle().await;
    assert_eq!(upstream.left(), 0);
}

#[tokio::test]
async fn an_endless_answer_is_sent_while_it_is_read() {
    for client in both() {
        let piece = Bytes::from(vec![b'x'; 10_000]);
        let reply = Reply::sse(["a"]).endless(piece);
        let upstream = ScriptedUpstream::in_turn([reply]).await;
        let mut body = get(&client, &upstream).await.unwrap().into_body();
        let mut read = 0;
        while read < 10_000_000 {
            let frame = timeout(PATIENCE, body.frame()).await.unwrap();
            read += frame.unwrap().unwrap().into_data().unwrap().len() as u64;
        }
        assert!(upstream.sent() >= read);
        drop(body);
        upstream.idle().await;
        assert_eq!(upstream.left(), 1);
    }
}

#[tokio::test]
async fn paced_pieces_are_apart() {
    let pause = Duration::from_millis(10);
    let upstream =
        ScriptedUpstream::start(move |_| Reply::json("0123").split_every(1).pace(pause)).await;
    let started = tokio::time::Instant::now();
    let answer = get(&client(false), &upstream).await.unwrap();
    assert_eq!(check_body(answer.into_body()).await.data, "0123");
    assert!(started.elapsed() >= 3 * pause);
}

#[tokio::test]
async fn some_refuse_connections() {
    let upstream = ScriptedUpstream::refusing();
    assert!(
        get(&client(false), &upstream)
            .await
            .unwrap_err()
            .is_connect()
    );
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn dropping_it_ends_everything() {
    let upstream = ScriptedUpstream::start(|_| Reply::silence()).await;
    let address = upstream.address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    upstream.called(1).await;
    drop(upstream);
    let end = timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap();
    assert!(!matches!(end, Ok(1..)));
    assert!(TcpStream::connect(address).await.is_err());
}
