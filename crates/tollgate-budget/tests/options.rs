//! Everything that can be set on the layer, and what hostile requests cost.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "tests"
)]

mod support;

use std::{
    borrow::Cow,
    num::NonZeroU32,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, Request, Response, StatusCode, request::Parts};
use support::{Time, facts, limit, now, slow::SlowStore, standing};
use tollgate_budget::{
    BudgetLayer, DefaultOutput, Denial, Ending, Key, Limits, MemoryStore, Observe, Quota, Settled,
    Store, StoreError, Units, WindowSpec,
};
use tollgate_core::{
    ChatRequest, Fact, Member, Model, Rejection, SharedBody, TokenBounds, TokenCounter, Usage,
    UsageSlot,
};
use tollgate_testing::{ReadyProbe, ScriptedBody};
use tower::{Layer, Service, ServiceExt};

fn quota(requests: u64, tokens: u64) -> Quota {
    Quota::per_minute(limit(requests), limit(tokens))
}

fn limits() -> Limits {
    Limits::new(quota(500, 60_000))
}

/// An answer that is never read: its call stays open as long as the answer is kept.
fn answer(_: Request<&'static str>) -> Response<ScriptedBody> {
    Response::new(ScriptedBody::new().data("x"))
}

fn answer_with(
    prompt: u64,
    output: u64,
) -> impl Fn(Request<&'static str>) -> Response<ScriptedBody> + Clone {
    move |request| {
        let slot = UsageSlot::of(request.extensions()).unwrap();
        slot.record(Usage::new(prompt, output));
        Response::new(ScriptedBody::new().data("x"))
    }
}

async fn call<S, B>(service: S, request: Request<&'static str>) -> Response<B>
where
    S: Service<Request<&'static str>, Response = Response<B>, Error = std::convert::Infallible>,
{
    service.oneshot(request).await.unwrap()
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    headers[name].to_str().unwrap().parse().unwrap()
}

fn request_of(chat: tollgate_core::ChatRequestBuilder) -> Request<&'static str> {
    let mut request = facts("acme", "m", 0);
    request.extensions_mut().insert(chat.build());
    request
}

/// Knows every prompt exactly, and what it was asked.
#[derive(Clone, Default)]
struct Exactly {
    tokens: u64,
    counts: Arc<Mutex<u64>>,
}

impl TokenCounter for Exactly {
    fn bounds(&self, _: &ChatRequest, _: &Model) -> TokenBounds {
        TokenBounds::new(self.tokens / 4, self.tokens, self.tokens * 4)
    }

    fn count(&self, _: &ChatRequest, _: &Model) -> TokenBounds {
        *self.counts.lock().unwrap() += 1;
        TokenBounds::exact(self.tokens)
    }
}

#[tokio::test]
async fn calls_at_once_are_admitted_to_the_last_token() {
    // 200 calls of 100 + 1,000 tokens on 60,000: 54 fit.
    let counter = Exactly {
        tokens: 100,
        ..Exactly::default()
    };
    let layer = BudgetLayer::new(MemoryStore::new(), limits()).counter(counter.clone());
    let mut open = Vec::new();
    for _ in 0..200 {
        let response = call(
            layer.layer(ReadyProbe::new(answer)),
            facts("acme", "m", 1_000),
        )
        .await;
        if response.status() == StatusCode::OK {
            open.push(response);
        }
    }
    assert_eq!(open.len(), 54);
    assert_eq!(*counter.counts.lock().unwrap(), 200);
}

#[tokio::test]
async fn where_limits_are_wide_nothing_is_counted_until_they_are_reached() {
    let counter = Exactly {
        tokens: 100,
        ..Exactly::default()
    };
    let wide = Limits::new(quota(500, 375_000));
    let store = MemoryStore::new();
    let layer = BudgetLayer::new(store.clone(), wide).counter(counter.clone());
    let service = layer.layer(ReadyProbe::new(answer));
    let open = call(service.clone(), facts("acme", "m", 374_000)).await;
    assert_eq!(open.status(), StatusCode::OK);
    // The upper bound.
    assert_eq!(standing(&store, "acme", "m").await.1, 374_400);
    assert_eq!(*counter.counts.lock().unwrap(), 0);
    // 600 are left, and the bounds are 25 to 400.
    let upper_fits = call(service.clone(), facts("acme", "m", 100)).await;
    assert_eq!(upper_fits.status(), StatusCode::OK);
    drop(upper_fits);
    let count_fits = call(service, facts("acme", "m", 350)).await;
    assert_eq!(count_fits.status(), StatusCode::OK);
    assert_eq!(*counter.counts.lock().unwrap(), 1);
    drop(open);
}

#[tokio::test]
async fn six_hundred_at_once_are_five_hundred() {
    let store = MemoryStore::new();
    let layer = BudgetLayer::new(store.clone(), Limits::new(quota(500, 60_000_000)));
    let ask = || {
        let service = layer.layer(ReadyProbe::new(answer_with(5, 5)));
        now(call(service, facts("acme", "m", 500))).status() == StatusCode::OK
    };
    let admitted: usize = std::thread::scope(|scope| {
        let ask_75 = || (0..75).filter(|_| ask()).count();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask_75)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(admitted, 500);
    assert_eq!(standing(&store, "acme", "m").await, (500, 5_000));
}

#[tokio::test]
async fn the_output_is_the_largest_cap_times_the_choices() {
    let store = MemoryStore::new();
    let layer = BudgetLayer::new(store.clone(), limits());
    let chat = ChatRequest::builder("m")
        .output_cap("max_tokens", 1)
        .output_cap("max_completion_tokens", 5_000)
        .choices(NonZeroU32::new(8).unwrap());
    let open = call(layer.layer(ReadyProbe::new(answer)), request_of(chat)).await;
    assert_eq!(standing(&store, "acme", "m").await, (1, 40_003));
    drop(open);
    // No number is too large.
    let chat = ChatRequest::builder("m")
        .output_cap("max_tokens", u64::MAX)
        .choices(NonZeroU32::MAX);
    let refused = call(layer.layer(ReadyProbe::new(answer)), request_of(chat)).await;
    assert_eq!(refused.headers()["x-should-retry"], "false");
}

#[tokio::test]
async fn pictures_are_not_text_and_names_do_not_mix() {
    let store = MemoryStore::new();
    let layer = BudgetLayer::new(store.clone(), limits());
    let service = layer.layer(ReadyProbe::new(answer));
    let picture = tollgate_core::ImageInput::new(vec![b'A'; 5 << 20], Default::default());
    let chat = ChatRequest::builder("m")
        .output_cap("max_tokens", 1)
        .message()
        .image(picture);
    let open = call(service.clone(), request_of(chat)).await;
    assert_eq!(standing(&store, "acme", "m").await, (1, 1_453));
    drop(open);
    // `a:b` + `c` and `a` + `b:c`, and whatever else a separator could be.
    for (workspace, name) in [
        ("a:b", "c"),
        ("a", "b:c"),
        ("", "a:bc"),
        ("a:bc", ""),
        ("a\u{ff}", "b"),
    ] {
        let open = call(service.clone(), facts(workspace, name, 5)).await;
        assert_eq!(
            standing(&store, workspace, name).await.0,
            1,
            "{workspace} {name}"
        );
        drop(open);
    }
}

#[tokio::test]
async fn smoothing_refuses_what_a_minute_would_admit() {
    let time = Time::new();
    let store = MemoryStore::new().clock(time.clock());
    let smooth = quota(500, 60_000).requests_per_second(limit(2));
    let layer = BudgetLayer::new(store.clone(), Limits::new(smooth));
    let service = layer.layer(ReadyProbe::new(answer_with(1, 1)));
    for _ in 0..2 {
        let passed = call(service.clone(), facts("acme", "m", 5)).await;
        assert_eq!(passed.status(), StatusCode::OK);
        // Of the two windows the one that is fuller.
        assert_eq!(passed.headers()["x-ratelimit-limit-requests"], "2");
        assert_eq!(passed.headers()["x-ratelimit-limit-tokens"], "60000");
    }
    let refused = call(service.clone(), facts("acme", "m", 5)).await;
    let message = refused
        .extensions()
        .get::<Rejection>()
        .unwrap()
        .message()
        .to_owned();
    assert!(
        message.contains("requests per sec (RPS): Limit 2, Used 2"),
        "{message}"
    );
    assert!(message.contains("try again in 1.1s"), "{message}");
    // The minute was not charged for it.
    assert_eq!(standing(&store, "acme", "m").await.0, 2);
    time.pass(1_100);
    assert_eq!(
        call(service, facts("acme", "m", 5)).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn levels_are_charged_together_or_not_at_all() {
    let store = MemoryStore::new();
    let denials = Arc::new(Denials::default());
    let layer = BudgetLayer::new(store.clone(), limits())
        .observe(Arc::clone(&denials))
        .also("workspace", |_: &Parts| {
            Some((Cow::Borrowed(""), Quota::tokens_per_minute(limit(1_000))))
        })
        .also("user", |head: &Parts| {
            let user = ChatRequest::of(&head.extensions)?.user()?;
            let quota = Quota::requests_per_minute(limit(1));
            Some((Cow::Owned(user.to_owned()), quota))
        });
    let service = layer.layer(ReadyProbe::new(answer));
    let from = |user: &str, model: &str| {
        let mut request = facts("acme", model, 0);
        let chat = ChatRequest::builder(model)
            .output_cap("max_tokens", 300)
            .user(user);
        request.extensions_mut().insert(chat.build());
        request
    };
    let first = call(service.clone(), from("joe", "a")).await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(first.headers()["x-ratelimit-limit-tokens"], "1000");
    assert_eq!(first.headers()["x-ratelimit-remaining-tokens"], "697");
    assert_eq!(first.headers()["x-ratelimit-remaining-requests"], "0");

    let same_user = call(service.clone(), from("joe", "b")).await;
    assert_eq!(same_user.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(standing(&store, "acme", "b").await, (0, 0));
    let second = call(service.clone(), from("ann", "b")).await;
    let third = call(service.clone(), from("bob", "c")).await;
    assert_eq!(
        (second.status(), third.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    // The workspace has 91 left, whatever the model and the user.
    let fourth = call(service.clone(), from("eve", "d")).await;
    assert_eq!(fourth.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(standing(&store, "acme", "d").await, (0, 0));
    assert_eq!(*denials.0.lock().unwrap(), ["user", "workspace"]);
    // And the user was not charged for it.
    drop((second, third));
    assert_eq!(
        call(service, from("eve", "d")).await.status(),
        StatusCode::OK
    );
}

/// Which levels had no room.
#[derive(Default)]
struct Denials(Mutex<Vec<&'static str>>);

impl Observe for Denials {
    fn denied(&self, _: &Key<'_>, window: &WindowSpec<'_>, _: &Denial) {
        self.0.lock().unwrap().push(window.scope);
    }
}

#[tokio::test]
async fn who_has_no_limit_is_counted_and_never_refused() {
    let store = MemoryStore::new();
    let layer = BudgetLayer::new(store.clone(), Limits::new(Quota::UNLIMITED));
    for _ in 0..3 {
        let service = layer.layer(ReadyProbe::new(answer_with(14, 86)));
        let response = call(service, facts("acme", "m", u64::MAX)).await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut names = response.headers().keys();
        assert!(names.all(|name| !name.as_str().starts_with("x-ratelimit-")));
    }
    assert_eq!(standing(&store, "acme", "m").await, (3, 300));

    // Beside a level that has limits as well.
    let user = |_: &Parts| Some((Cow::Borrowed("jo"), Quota::requests_per_minute(limit(9))));
    let service = layer.also("user", user);
    let service = service.layer(ReadyProbe::new(answer_with(14, 86)));
    let response = call(service, facts("acme", "m", 9)).await;
    assert_eq!(response.status(), StatusCode::OK);
    drop(response);
    assert_eq!(standing(&store, "acme", "m").await, (4, 400));
}

#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn write(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observe for Diary {
    fn reserved(&self, key: &Key<'_>, cost: Units) {
        self.write(format!(
            "reserved {} {} {}",
            key.workspace(),
            key.name(),
            cost.tokens
        ));
    }

    fn denied(&self, _: &Key<'_>, _: &WindowSpec<'_>, denial: &Denial) {
        self.write(format!("denied {}", denial.dimension));
    }

    fn crowded(&self, _: &Key<'_>, limit: u32) {
        self.write(format!("crowded {limit}"));
    }

    fn failed(&self, _: &Key<'_>, error: &StoreError) {
        self.write(format!("failed {error}"));
    }

    fn ended(&self, _: &Key<'_>, ending: &Ending) {
        let (refunded, debt) = (ending.refunded().tokens, ending.debt().tokens);
        let (error, settled) = (ending.estimate_error(), ending.settled);
        self.write(format!("ended -{refunded} +{debt} {error:?} {settled:?}"));
    }
}

#[tokio::test]
async fn an_observer_sees_what_becomes_of_reservations() {
    let diary = Diary::default();
    let time = Time::new();
    let store = MemoryStore::new().clock(time.clock());
    let layer = BudgetLayer::new(store, Limits::new(quota(3, 1_000))).observe(diary.clone());

    drop(
        call(
            layer.layer(ReadyProbe::new(answer_with(14, 86))),
            facts("acme", "m", 500),
        )
        .await,
    );
    assert_eq!(
        diary.read(),
        ["reserved acme m 541", "ended -441 +0 Some(5) Done"]
    );
    drop(
        call(
            layer.layer(ReadyProbe::new(answer_with(14, 86))),
            facts("acme", "m", 5),
        )
        .await,
    );
    assert_eq!(
        diary.read(),
        ["reserved acme m 46", "ended -0 +54 Some(5) Done"]
    );

    let open = call(layer.layer(ReadyProbe::new(answer)), facts("acme", "m", 5)).await;
    drop(call(layer.layer(ReadyProbe::new(answer)), facts("acme", "m", 5)).await);
    assert_eq!(diary.read(), ["reserved acme m 46", "denied requests"]);
    time.pass(61_000);
    let later = call(layer.layer(ReadyProbe::new(answer)), facts("acme", "m", 5)).await;
    drop(open);
    assert_eq!(
        diary.read(),
        ["reserved acme m 46", "ended -27 +0 None Expired"]
    );
    drop(later);
}

#[tokio::test]
async fn a_store_that_fails_refuses_without_telling_why() {
    let diary = Diary::default();
    let layer = BudgetLayer::new(SlowStore::failing(), limits()).observe(diary.clone());
    let refused = call(layer.layer(ReadyProbe::new(answer)), facts("acme", "m", 5)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    let rejection = refused.extensions().get::<Rejection>().unwrap();
    assert!(!rejection.message().contains("redis"));
    assert!(rejection.detail().unwrap().contains("went away"));
    assert_eq!(diary.read(), ["failed redis://secret@host went away"]);
}

#[tokio::test]
async fn a_shadow_watches_and_changes_nothing() {
    let diary = Diary::default();
    let store = MemoryStore::new();
    let layer = BudgetLayer::new(store.clone(), Limits::new(quota(1, 1_000)))
        .shadow()
        .observe(diary.clone());
    let inner = ReadyProbe::new(|request: Request<&'static str>| {
        assert!(UsageSlot::of(request.extensions()).is_some());
        Response::builder()
            .header("x-ratelimit-limit-tokens", "theirs")
            .body(ScriptedBody::new())
            .unwrap()
    });
    for tokens in [5, 5, 5_000] {
        let response = call(layer.layer(inner.clone()), facts("acme", "m", tokens)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-ratelimit-limit-tokens"], "theirs");
        assert!(
            !response
                .headers()
                .contains_key("x-ratelimit-limit-requests")
        );
    }
    assert_eq!(inner.calls(), 3);
    assert_eq!(
        diary.read(),
        [
            "reserved acme m 46",
            "ended -27 +0 None Done",
            "denied requests",
            "denied tokens"
        ]
    );
    // What would have been refused would have cost nothing.
    assert_eq!(standing(&store, "acme", "m").await.0, 1);

    let failing = BudgetLayer::new(SlowStore::failing(), limits()).shadow();
    let response = call(failing.layer(inner), facts("acme", "m", 5)).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_place_is_held_to_the_end_of_the_answer() {
    let diary = Diary::default();
    let store = MemoryStore::new();
    let layer = BudgetLayer::new(store.clone(), limits())
        .concurrency(NonZeroU32::new(2).unwrap())
        .observe(diary.clone());
    let service = layer.layer(ReadyProbe::new(answer));
    let first = call(service.clone(), facts("acme", "m", 5)).await;
    let _second = call(service.clone(), facts("acme", "m", 5)).await;
    let _other = call(service.clone(), facts("acme", "n", 5)).await;
    let third = call(service.clone(), facts("acme", "m", 5)).await;
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(third.headers()["retry-after"], "1");
    let rejection = third.extensions().get::<Rejection>().unwrap();
    assert_eq!(
        rejection.message(),
        "Rate limit reached for m on concurrent requests: Limit 2, Used 2, Requested 1. Please \
         try again in 1s."
    );
    assert_eq!(rejection.error_type(), "requests");
    assert!(diary.read().contains(&"crowded 2".to_owned()));
    assert_eq!(standing(&store, "acme", "m").await.0, 2);
    drop(first);
    let fourth = call(service.clone(), facts("acme", "m", 5)).await;
    assert_eq!(fourth.status(), StatusCode::OK);
    // A call that is refused for another reason leaves its place.
    drop(fourth);
    for _ in 0..3 {
        let refused = call(service.clone(), facts("acme", "m", 70_000)).await;
        assert_eq!(refused.headers()["x-should-retry"], "false");
    }
    assert_eq!(
        call(service, facts("acme", "m", 5)).await.status(),
        StatusCode::OK
    );
}

fn uncapped() -> Request<&'static str> {
    request_of(ChatRequest::builder("m"))
}

#[tokio::test]
async fn outputs_without_a_cap_are_learnt() {
    let store = MemoryStore::new();
    let layer = BudgetLayer::new(store.clone(), Limits::new(quota(500, 1_000_000)));
    let service = layer.layer(ReadyProbe::new(answer_with(3, 400)));
    for n in 0..60 {
        let open = call(service.clone(), uncapped()).await;
        let (_, used) = standing(&store, "acme", "m").await;
        let expected = if n < 50 { 1_024 } else { 447 };
        assert_eq!(used, n * 403 + 3 + expected, "{n}");
        drop(open);
    }
    // Another key learns for itself.
    let mut other = uncapped();
    other.extensions_mut().insert(Model::new("other"));
    let open = call(service, other).await;
    assert_eq!(standing(&store, "acme", "other").await.1, 1_027);
    drop(open);

    let fixed = layer.default_output(DefaultOutput::fixed(7));
    let mut request = uncapped();
    request.extensions_mut().insert(Model::new("fixed"));
    let open = call(fixed.layer(ReadyProbe::new(answer)), request).await;
    assert_eq!(standing(&store, "acme", "fixed").await.1, 10);
    drop(open);
    // Not more than the model can say.
    let mut request = uncapped();
    let small = Model::new("small").with_max_output_tokens(4);
    request.extensions_mut().insert(small);
    let open = call(fixed.layer(ReadyProbe::new(answer)), request).await;
    assert_eq!(standing(&store, "acme", "small").await.1, 7);
    drop(open);
    // One model may differ.
    let thorough = fixed.default_output_of("thorough", DefaultOutput::learnt(99).start(8_192));
    for (model, expected) in [("thorough", 8_195), ("brief", 10)] {
        let mut request = uncapped();
        request.extensions_mut().insert(Model::new(model));
        let open = call(thorough.layer(ReadyProbe::new(answer)), request).await;
        assert_eq!(standing(&store, "acme", model).await.1, expected);
        drop(open);
    }
}

#[tokio::test]
async fn what_is_reserved_can_be_written_upstream() {
    let json = r#"{"model":"m","messages":[]}"#;
    let members = vec![
        Member::new("model", 1, 9..12),
        Member::new("messages", 13, 24..26),
    ];
    let layer = BudgetLayer::new(MemoryStore::new(), limits()).cap_upstream();
    let service = layer.layer(ReadyProbe::new(answer));
    for (cap, sent) in [
        (
            None,
            r#"{"max_completion_tokens":512,"model":"m","messages":[]}"#,
        ),
        (Some(9), json),
    ] {
        let body = SharedBody::new(json.into(), members.clone());
        let mut chat = ChatRequest::builder("m").choices(NonZeroU32::new(2).unwrap());
        if let Some(cap) = cap {
            chat = chat.output_cap("max_tokens", cap);
        }
        let mut request = request_of(chat);
        request.extensions_mut().insert(body.clone());
        let layer = layer.clone().default_output(DefaultOutput::fixed(512));
        let passed = call(layer.layer(ReadyProbe::new(answer)), request).await;
        assert_eq!(passed.status(), StatusCode::OK);
        assert_eq!(body.to_bytes(), sent);
    }
    // Who only watches changes no answer.
    let body = SharedBody::new(json.into(), members.clone());
    let mut request = uncapped();
    request.extensions_mut().insert(body.clone());
    let shadow = layer.clone().shadow().layer(ReadyProbe::new(answer));
    assert_eq!(call(shadow, request).await.status(), StatusCode::OK);
    assert_eq!(body.to_bytes(), json);
    // Where nothing can be written, the promise would be empty.
    let refused = call(service.clone(), uncapped()).await;
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = SharedBody::new(json.into(), members);
    let _measured = http_body::Body::size_hint(&body.body::<ScriptedBody>());
    let mut request = uncapped();
    request.extensions_mut().insert(body);
    let refused = call(service, request).await;
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn answers_that_were_cut_may_become_longer_again() {
    let json = r#"{"model":"m","messages":[]}"#;
    let members = || {
        vec![
            Member::new("model", 1, 9..12),
            Member::new("messages", 13, 24..26),
        ]
    };
    let layer = BudgetLayer::new(MemoryStore::new(), Limits::new(quota(500, 1_000_000)));
    let layer = layer.cap_upstream();
    let mut cap = 0;
    for (wanted, calls) in [(100, 60), (2_000, 60)] {
        for _ in 0..calls {
            // An upstream that heeds the cap.
            let inner = ReadyProbe::new(move |request: Request<&'static str>| {
                let body = SharedBody::of(request.extensions()).unwrap().to_bytes();
                let text = String::from_utf8(body.to_vec()).unwrap();
                let cap = text.strip_prefix(r#"{"max_completion_tokens":"#).unwrap();
                let cap: u64 = cap.split(',').next().unwrap().parse().unwrap();
                let slot = UsageSlot::of(request.extensions()).unwrap();
                slot.record(Usage::new(3, cap.min(wanted)));
                Response::builder()
                    .header("cap", cap)
                    .body(ScriptedBody::new())
                    .unwrap()
            });
            let mut request = uncapped();
            let body = SharedBody::new(json.into(), members());
            request.extensions_mut().insert(body);
            let response = call(layer.layer(inner), request).await;
            cap = number(response.headers(), "cap");
        }
        assert!(cap >= wanted, "{cap} {wanted}");
    }
}

#[tokio::test]
async fn usage_that_cannot_be_is_not_believed() {
    for (reported, charged) in [(0, 5), (4, 5), (5, 5), (u64::MAX, Units::MAX_COST)] {
        let store = MemoryStore::new();
        let service = BudgetLayer::new(store.clone(), limits()).layer(ReadyProbe::new(
            move |request: Request<&'static str>| {
                let slot = UsageSlot::of(request.extensions()).unwrap();
                slot.add_output(5, 1);
                slot.record(Usage::new(0, 0).with_total_tokens(reported));
                Response::new(ScriptedBody::new())
            },
        ));
        drop(call(service.clone(), facts("acme", "m", 5)).await);
        assert_eq!(standing(&store, "acme", "m").await, (1, charged));
        // Debt lasts until it has left the window.
        let next = call(service, facts("acme", "m", 5)).await.status();
        assert_eq!(next == StatusCode::OK, charged < 60_000);
    }
}

#[tokio::test]
async fn what_came_after_a_report_is_charged_too() {
    let store = MemoryStore::new();
    let service = BudgetLayer::new(store.clone(), limits()).layer(ReadyProbe::new(
        |request: Request<&'static str>| {
            let slot = UsageSlot::of(request.extensions()).unwrap();
            // As the first chunk says it.
            slot.record(Usage::new(14, 1));
            slot.add_output(86, 300);
            Response::new(ScriptedBody::new())
        },
    ));
    drop(call(service, facts("acme", "m", 5)).await);
    assert_eq!(standing(&store, "acme", "m").await, (1, 100));
}

#[tokio::test]
async fn inner_refusals_count_by_their_own_status() {
    // Under gRPC every answer is a 200.
    let store = MemoryStore::new();
    let service = BudgetLayer::new(store.clone(), limits()).layer(ReadyProbe::new(
        |_: Request<&'static str>| {
            let kind = tollgate_core::RejectionKind::UpstreamUnavailable;
            let mut response = Response::new(ScriptedBody::new());
            response.extensions_mut().insert(Rejection::new(kind));
            response
        },
    ));
    drop(call(service, facts("acme", "m", 5)).await);
    assert_eq!(standing(&store, "acme", "m").await, (0, 0));
}

#[tokio::test]
async fn a_slow_store_is_waited_for() {
    let memory = MemoryStore::new();
    let store = SlowStore::new(memory.clone(), 3);
    let layer = BudgetLayer::new(store, Limits::new(quota(1, 60_000)));
    let service = layer.layer(ReadyProbe::new(answer_with(14, 86)));
    let passed = call(service.clone(), facts("acme", "m", 5)).await;
    assert_eq!(
        number(passed.headers(), "x-ratelimit-remaining-requests"),
        0
    );
    drop(passed);
    let refused = call(service, facts("acme", "m", 5)).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(standing(&memory, "acme", "m").await, (1, 100));
}

#[test]
fn a_settlement_says_whether_it_came_in_time() {
    let time = Time::new();
    let store = MemoryStore::new().clock(time.clock());
    let windows = [WindowSpec::new(
        "",
        "m",
        tollgate_budget::Span::Minute,
        tollgate_budget::Limit::NONE,
    )];
    let charge = tollgate_budget::Charge::new("acme", &windows, Units::new(1, 5));
    for (millis, settled) in [
        (0, Settled::Done),
        (60_999, Settled::Done),
        (61_000, Settled::Expired),
    ] {
        let tollgate_budget::Decision::Granted { held, .. } = support::reserve(&store, &charge)
        else {
            panic!("nothing is limited");
        };
        // Whole minutes later, so that slots begin anew.
        time.pass(millis);
        // Only another call lets go of what has left.
        drop(support::reserve(&store, &charge));
        assert_eq!(store.settle(held, Units::ZERO), settled, "{millis}");
        time.set_nanos(1_000_000_000_000 * (1 + millis));
    }
}
