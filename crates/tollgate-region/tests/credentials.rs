//! Where credentials come from, how they change, and that nobody sees them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tollgate_region::{
    ConfigError, CredentialSource, Credentials, RotatingSecret, Secret, Upstream,
};
use tower::{Layer, ServiceExt};

use support::*;

const SECOND: Duration = Duration::from_secs(1);

fn azure_with(credentials: impl Into<Credentials>) -> Upstream {
    Upstream::azure("sweden", region("eu"), "http://sweden.test", credentials)
        .deployment("gpt-4o", "gpt-4o")
}

/// What an upstream is shown: `api-key` and `authorization`.
async fn shown(upstream: Upstream) -> (Option<String>, Option<String>) {
    let client = Client::new(|_| ok());
    let service = layer(&eu([upstream])).layer(client.clone());
    let answer = service.oneshot(call("eu")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = client.only().headers;
    let text = |name: &str| Some(headers.get(name)?.to_str().unwrap().to_owned());
    (text("api-key"), text("authorization"))
}

#[tokio::test]
async fn keys_and_tokens_are_never_sent_together() {
    let openai = |credentials: Credentials| {
        Upstream::openai("paris", region("eu"), "http://paris.test/v1", credentials)
            .deployment("gpt-4o", "gpt-4o")
    };
    let v1 = |credentials: Credentials| {
        Upstream::azure_v1("v1", region("eu"), "http://v1.test", credentials)
            .deployment("gpt-4o", "gpt-4o")
    };
    let key = || Credentials::from(Secret::new("k"));
    let token = || Credentials::from(Secret::token("t"));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(shown(azure_with(key())).await, (text("k"), None));
    assert_eq!(shown(azure_with(token())).await, (None, text("Bearer t")));
    assert_eq!(shown(v1(key())).await, (text("k"), None));
    assert_eq!(shown(v1(token())).await, (None, text("Bearer t")));
    assert_eq!(shown(openai(key())).await, (None, text("Bearer k")));
    assert_eq!(shown(openai(token())).await, (None, text("Bearer t")));
}

#[tokio::test]
async fn keys_come_from_the_environment() {
    // Set by cargo for every test.
    let key = Secret::from_env("CARGO_PKG_NAME").unwrap();
    let (key, _) = shown(azure_with(key)).await;
    assert_eq!(key.as_deref(), Some("tollgate-region"));
    let error = Secret::from_env("TOLLGATE_NO_SUCH_VARIABLE").unwrap_err();
    let variable = "TOLLGATE_NO_SUCH_VARIABLE".to_owned();
    assert_eq!(error, ConfigError::MissingVariable { variable });
    assert!(error.to_string().contains("TOLLGATE_NO_SUCH_VARIABLE"));
}

#[tokio::test]
async fn a_closure_is_asked_for_each_attempt() {
    let asked = Arc::new(AtomicU64::new(0));
    let source = {
        let asked = Arc::clone(&asked);
        move || Some(Secret::token(format!("t{}", asked.fetch_add(1, SeqCst))))
    };
    // Shared, as by a task that looks after it.
    let source: Arc<dyn CredentialSource> = Arc::new(source);
    let upstreams = eu([azure_with(Credentials::from_source(source))]);
    let client = Client::new(|_| ok());
    let service = layer(&upstreams).layer(client.clone());
    for _ in 0..2 {
        let _ = service.clone().oneshot(call("eu")).await.unwrap();
    }
    let sent: Vec<_> = client
        .forget()
        .into_iter()
        .map(|seen| seen.headers["authorization"].clone())
        .collect();
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0], sent[1]);
    assert!(sent.iter().all(http::HeaderValue::is_sensitive));
}

#[tokio::test(start_paused = true)]
async fn without_credentials_nothing_is_sent_there() {
    let token = RotatingSecret::new();
    let client = Client::new(|_| ok());
    let alone = layer(&eu([azure_with(token.clone())])).layer(client.clone());
    let (head, text) = read(alone.clone().oneshot(call("eu")).await.unwrap()).await;
    assert_eq!(head.status(), 502);
    assert!(text.contains("upstream_auth_failed"), "{text}");
    assert!(client.hosts().is_empty());

    let upstreams = eu([azure_with(token.clone()), azure("france", "eu").priority(1)]);
    let service = layer(&upstreams).layer(client.clone());
    let answer = service.clone().oneshot(call("eu")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(client.hosts(), ["france.test"]);
    let sweden = status_of(&upstreams, "sweden");
    assert_eq!(
        (sweden.attempts, sweden.failures, sweden.outstanding),
        (0, 1, 0)
    );
    client.forget();

    token.set(Secret::token("t1"), Some(SECOND * 60));
    let answer = service.clone().oneshot(call("eu")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(client.only().headers["authorization"], "Bearer t1");
    // Expired.
    sleep(SECOND * 60).await;
    assert!(token.current().is_none());
    let answer = service.oneshot(call("eu")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(client.hosts(), ["france.test"]);
    token.set(Secret::token("t2"), None);
    sleep(SECOND * 100_000).await;
    assert!(token.current().is_some(), "without a lifetime it stays");
    // What cannot be sent is nothing.
    token.set(Secret::token("t\n"), None);
    let answer = alone.oneshot(call("eu")).await.unwrap();
    assert_eq!(answer.status(), 502);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_fresh() {
    enum Fetch {
        Fail,
        Hang,
        Token(u64),
    }
    use Fetch::{Fail, Hang, Token};
    // Newest last: a token for 100 s, then trouble for longer than that, then one for ever.
    let script = Mutex::new(vec![Token(9_999), Fail, Hang, Fail, Fail, Token(100), Fail]);
    let start = Instant::now();
    let log = Mutex::new(Vec::new());
    let token = RotatingSecret::new();
    let fetch = || {
        let next = script.lock().unwrap().pop();
        log.lock().unwrap().push(start.elapsed().as_secs());
        async move {
            match next.unwrap() {
                Fail => Err(()),
                Hang => std::future::pending().await,
                Token(seconds) => Ok((
                    Secret::token(format!("t{seconds}")),
                    SECOND * seconds as u32,
                )),
            }
        }
    };
    let observe = async {
        let mut seen = Vec::new();
        for _ in 0..150 {
            seen.push(token.current().is_some());
            sleep(SECOND).await;
        }
        seen
    };
    let seen = tokio::select! {
        biased;
        seen = observe => seen,
        _ = token.keep_fresh(fetch) => unreachable!("it has no end"),
    };
    // After 1 s the first token, after 80 s more the next try, and pauses of 1, 2, 4 and 8 s, one
    // of them after a fetch of 30 s.
    assert_eq!(*log.lock().unwrap(), [0, 1, 81, 82, 84, 118, 126]);
    // One token for 100 s, none for a while, and then the next.
    let from_to = |from: usize, to: usize| seen[from..to].iter().all(|is_there| *is_there);
    assert!(!seen[0] && from_to(2, 101) && from_to(127, 150), "{seen:?}");
    assert!(!seen[102..126].contains(&true), "{seen:?}");
}

#[tokio::test]
async fn secrets_are_never_printed() {
    let rotating = RotatingSecret::new();
    rotating.set(Secret::token("hunter2"), None);
    let upstream = azure_with("hunter2");
    let upstreams = eu([azure_with(Secret::new("hunter2"))]);
    let layer = layer(&upstreams);
    let mut prints = format!("{rotating:?} {upstream:?} {upstreams:?} {layer:?}");
    prints += &format!(
        "{:?} {:?}",
        Secret::new("hunter2"),
        Credentials::from("hunter2")
    );
    prints += &format!("{:?} {:?}", upstreams.status(), upstreams.region_status());
    let client = Client::new(|seen| {
        // Not even with the whole request.
        assert!(!format!("{seen:?}").contains("hunter2"));
        answer(401, r#"{"error":{"message":"the key hunter2 is wrong"}}"#)
    });
    let service = layer.layer(client);
    prints += &format!("{:?}", service.oneshot(call("eu")).await.unwrap());
    assert!(!prints.contains("hunter2"), "{prints}");
}
