//! Where an upstream is and what it is shown, which is no business of a caller's.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri, header::AUTHORIZATION, request::Parts};
use tollgate_core::{ChatRequest, Fact, Model, SharedBody};

/// The names that one request gives to its upstream, and its credentials there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Address {
    uri: Uri,
    credentials: [Option<HeaderValue>; 2],
    /// The name in the body, as JSON, where it is not what the caller has sent.
    model: Option<Bytes>,
    chat: Option<ChatRequest>,
    resolved: Option<Model>,
}

impl Address {
    pub(crate) fn of(head: &Parts) -> Self {
        let body = SharedBody::of(&head.extensions);
        let model = body.and_then(|body| {
            let sent = body.edited(MODEL)?;
            // A part of the caller's own bytes would keep all of them in memory.
            (body.member(MODEL).as_ref() != Some(&sent)).then_some(sent)
        });
        Self {
            uri: head.uri.clone(),
            credentials: CREDENTIALS.map(|name| {
                let mut value = head.headers.get(name)?.clone();
                value.set_sensitive(true);
                Some(value)
            }),
            model,
            chat: ChatRequest::of(&head.extensions).cloned(),
            resolved: Model::of(&head.extensions).cloned(),
        }
    }

    /// A text without its URLs and without words that name the upstream or its credentials.
    pub(crate) fn left_out<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let hidden: Vec<String> = self.hidden().map(str::to_ascii_lowercase).collect();
        let betrays = |word: &str| {
            let word = word.to_ascii_lowercase();
            word.contains("://") || hidden.iter().any(|name| names(&word, name))
        };
        if !text.split(' ').any(betrays) {
            return Cow::Borrowed(text);
        }
        let words = text.split(' ').map(|word| match betrays(word) {
            true => "…",
            false => word,
        });
        Cow::Owned(words.collect::<Vec<_>>().join(" "))
    }

    fn hidden(&self) -> impl Iterator<Item = &str> {
        let mut segments = self.uri.path().split('/');
        let in_path = segments
            .any(|segment| segment == "deployments")
            .then(|| segments.next())
            .flatten();
        let in_body = self.model.as_deref().and_then(|json| {
            let json = std::str::from_utf8(json).ok()?;
            json.strip_prefix('"')?.strip_suffix('"')
        });
        let deployments = [in_path, in_body].into_iter().flatten();
        let private = deployments.filter(|name| !self.is_public(name));
        let credentials = self.credentials.iter().flatten().filter_map(|value| {
            let value = value.to_str().ok()?;
            value.rsplit(' ').next()
        });
        let names = private.chain(self.uri.host()).chain(credentials);
        names.filter(|name| !name.is_empty())
    }

    /// Whether the caller knows this name of the model.
    fn is_public(&self, name: &str) -> bool {
        let asked = self.chat.as_ref().map(ChatRequest::model);
        let resolved = self.resolved.as_ref().map(|model| &**model.name());
        [asked, resolved].contains(&Some(name))
    }
}

/// Whether the word names this: as a whole, or as a part of something else that can only be meant.
fn names(word: &str, name: &str) -> bool {
    let mut around = word.split(name).zip(word.split(name).skip(1));
    around.any(|(before, after)| {
        let in_word =
            before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
        !in_word || name.len() >= UNMISTAKABLE_BYTES
    })
}

const MODEL: &str = "model";

/// What upstreams read a key or a token from.
const CREDENTIALS: [HeaderName; 2] = [AUTHORIZATION, HeaderName::from_static("api-key")];

/// As long as this, no name is found in other words by chance.
const UNMISTAKABLE_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use http::Request;
    use tollgate_core::Member;

    use super::*;

    const TEXT: &str = "No answer from eu-7.internal, see https://x.test/y: \
                        'Chat-East-3' of gpt-4o is down.";

    fn left_out(uri: &str, sent: Option<&str>) -> String {
        let mut request = Request::builder().uri(uri).body(()).unwrap();
        let chat = ChatRequest::builder("gpt-4o").build();
        request.extensions_mut().insert(chat);
        if let Some(sent) = sent {
            let json = Bytes::from_static(br#"{"model":"gpt-4o"}"#);
            let body = SharedBody::new(json, vec![Member::new("model", 1, 9..17)]);
            body.set("model", sent.to_owned()).unwrap();
            request.extensions_mut().insert(body);
        }
        Address::of(&request.into_parts().0)
            .left_out(TEXT)
            .into_owned()
    }

    #[test]
    fn neither_host_nor_deployment_is_named() {
        const HIDDEN: &str = "No answer from … see … … of gpt-4o is down.";
        let azure = "https://eu-7.internal/openai/deployments/chat-east-3/chat/completions?a=b";
        assert_eq!(left_out(azure, None), HIDDEN);
        let others = "https://eu-7.internal/v1/chat/completions";
        assert_eq!(left_out(others, Some("\"chat-east-3\"")), HIDDEN);
    }

    #[test]
    fn no_credentials_are_told() {
        for (name, value) in [
            ("authorization", "Bearer sk-Upstream-1"),
            ("api-key", "sk-Upstream-1"),
        ] {
            let request = Request::builder().header(name, value).body(()).unwrap();
            let address = Address::of(&request.into_parts().0);
            let text = "Incorrect API key provided: (sk-Upstream-1). See xsk-upstream-1x.";
            assert_eq!(
                address.left_out(text),
                "Incorrect API key provided: … See …"
            );
        }
    }

    #[test]
    fn a_short_name_is_not_found_in_other_words() {
        let uri = "http://a/openai/deployments/had/chat/completions";
        let request = Request::builder().uri(uri).header("api-key", "k");
        let address = Address::of(&request.body(()).unwrap().into_parts().0);
        let plain = "The backend had-not shadowed a key: back again.";
        assert_eq!(
            address.left_out(plain),
            "The backend … shadowed … key: back again."
        );
        let plain = "The upstream backed away.";
        assert_eq!(address.left_out(plain), plain);
    }

    #[test]
    fn what_the_caller_knows_is_named() {
        let public = "http://gw.test/openai/deployments/gpt-4o/chat/completions";
        let only_urls = TEXT.replace("https://x.test/y:", "…");
        for (uri, sent) in [
            (public, None),
            ("/chat/completions", Some("\"gpt-4o\"")),
            ("/openai/deployments", None),
            ("/openai/deployments/", None),
        ] {
            assert_eq!(left_out(uri, sent), only_urls, "{uri}");
        }
    }
}
