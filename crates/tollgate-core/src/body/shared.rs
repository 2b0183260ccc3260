use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{Fact, RequestBody, json::push_json_str};

/// A JSON object that was read once, and what is to be changed in it.
///
/// As a fact it lets inner layers rewrite members without knowing the body's type, and lets an
/// upstream layer send the same body again. Edits are keyed by member: setting one twice replaces
/// it. They are spliced in when the body is first measured or polled; every other byte goes out as
/// it came in, and no byte is copied.
///
/// Clones share their edits; [`fork`](Self::fork) does not.
///
/// ```
/// use tollgate_core::{Member, SharedBody};
///
/// let json = r#"{"model": "fast", "n": 1}"#;
/// let body = SharedBody::new(
///     json.into(),
///     vec![Member::new("model", 1, 10..16), Member::new("n", 18, 23..24)],
/// );
/// body.set("model", "\"gpt-4o\"").unwrap();
/// body.remove("n").unwrap();
/// body.set("stream_options", r#"{"include_usage":true}"#).unwrap();
/// assert_eq!(
///     body.to_bytes(),
///     r#"{"stream_options":{"include_usage":true},"model": "gpt-4o"}"#,
/// );
/// ```
#[derive(Clone)]
pub struct SharedBody {
    source: Arc<Source>,
    /// Of a fork; otherwise they are the source's.
    edits: Option<Arc<Mutex<Edits>>>,
}

struct Source {
    bytes: Bytes,
    members: Vec<Member>,
    edits: Mutex<Edits>,
}

#[derive(Clone, Default)]
struct Edits {
    list: Vec<Edit>,
    closed: bool,
}

#[derive(Clone)]
struct Edit {
    name: Cow<'static, str>,
    /// The JSON text to put in; `None` removes the member.
    json: Option<Bytes>,
}

impl SharedBody {
    /// A body that is one JSON object, and where its members are.
    ///
    /// `members` are all of the object's own members, in order. The caller vouches for their
    /// places: they come from the parser that checked the body.
    #[must_use]
    pub fn new(bytes: Bytes, members: Vec<Member>) -> Self {
        Self {
            source: Arc::new(Source {
                bytes,
                members,
                edits: Mutex::default(),
            }),
            edits: None,
        }
    }

    /// The bytes as they were received.
    #[must_use]
    pub fn received(&self) -> &Bytes {
        &self.source.bytes
    }

    /// The JSON text of a member as it was received.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Bytes> {
        let member = self.source.members.iter().find(|m| m.name == name)?;
        Some(self.source.bytes.slice(member.value.clone()))
    }

    /// The JSON text of a member as it is going to be sent, edits included.
    #[must_use]
    pub fn edited(&self, name: &str) -> Option<Bytes> {
        let edits = self.edits();
        match edits.list.iter().find(|edit| edit.name == name) {
            Some(edit) => edit.json.clone(),
            None => self.member(name),
        }
    }

    /// Gives a member this JSON text, in place of the one it has; adds the member if it is absent.
    ///
    /// # Errors
    ///
    /// [`EditsClosed`] once the body has been measured or polled.
    pub fn set(
        &self,
        name: impl Into<Cow<'static, str>>,
        json: impl Into<Bytes>,
    ) -> Result<(), EditsClosed> {
        self.edit(name.into(), Some(json.into()))
    }

    /// Removes a member, if it is there.
    ///
    /// # Errors
    ///
    /// [`EditsClosed`] once the body has been measured or polled.
    pub fn remove(&self, name: impl Into<Cow<'static, str>>) -> Result<(), EditsClosed> {
        self.edit(name.into(), None)
    }

    /// The same body with a copy of the edits, open again: for one attempt of several.
    #[must_use]
    pub fn fork(&self) -> Self {
        let list = self.edits().list.clone();
        Self {
            source: Arc::clone(&self.source),
            edits: Some(Arc::new(Mutex::new(Edits {
                list,
                closed: false,
            }))),
        }
    }

    /// A body that sends this one. Its edits stay open until it is measured or polled.
    #[must_use]
    pub fn body<B>(&self) -> RequestBody<B> {
        RequestBody::shared(self.clone())
    }

    /// The edited body in one piece, for tests and logs of your own; leaves the edits open.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let chunks = splice(&self.source, &self.edits().list);
        chunks.into_iter().flatten().collect::<Vec<u8>>().into()
    }

    /// The number of bytes that [`close`](Self::close) yields; closes the edits.
    pub(super) fn measure(&self) -> u64 {
        let mut edits = self.edits();
        edits.closed = true;
        if edits.list.is_empty() {
            return self.source.bytes.len() as u64;
        }
        splice(&self.source, &edits.list)
            .iter()
            .map(|c| c.len() as u64)
            .sum()
    }

    /// The edited body in pieces that share the received bytes; closes the edits.
    pub(super) fn close(&self) -> VecDeque<Bytes> {
        let mut edits = self.edits();
        edits.closed = true;
        splice(&self.source, &edits.list)
    }

    fn edit(&self, name: Cow<'static, str>, json: Option<Bytes>) -> Result<(), EditsClosed> {
        let mut edits = self.edits();
        if edits.closed {
            return Err(EditsClosed(()));
        }
        edits.list.retain(|edit| edit.name != name);
        edits.list.push(Edit { name, json });
        Ok(())
    }

    fn edits(&self) -> MutexGuard<'_, Edits> {
        let edits = self.edits.as_deref().unwrap_or(&self.source.edits);
        edits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fact for SharedBody {
    const NAME: &'static str = "SharedBody";
    const WRITTEN_BY: &'static str = "ValidateLayer";
}

impl fmt::Debug for SharedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Prompts do not belong in logs.
        f.debug_struct("SharedBody")
            .field("received_bytes", &self.source.bytes.len())
            .finish_non_exhaustive()
    }
}

/// Where one member stands in a JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    name: Cow<'static, str>,
    start: usize,
    value: Range<usize>,
}

impl Member {
    /// The member of this unescaped name, whose key's opening quote is at `start` and whose value
    /// covers `value`; both count bytes from the start of the body.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, start: usize, value: Range<usize>) -> Self {
        Self {
            name: name.into(),
            start,
            value,
        }
    }
}

/// The body has been measured or polled: it is too late to edit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditsClosed(());

impl fmt::Display for EditsClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body has already been measured or polled")
    }
}

impl std::error::Error for EditsClosed {}

/// Cuts the source into the pieces of the edited body.
fn splice(source: &Source, edits: &[Edit]) -> VecDeque<Bytes> {
    let Source { bytes, members, .. } = source;
    let mut pieces = Pieces {
        bytes,
        kept: 0..0,
        list: VecDeque::with_capacity(1 + 4 * edits.len()),
    };
    let edit_of = |member: &Member| edits.iter().find(|edit| edit.name == member.name);

    // New members go to the front, where nothing has to be known about what stands at the end.
    let front = match members.first() {
        Some(member) => member.start,
        None => bytes.iter().position(|b| *b == b'{').map_or(0, |at| at + 1),
    };
    pieces.keep(0..front);
    let mut added = VecDeque::new();
    let stays = |member: &Member| edit_of(member).is_none_or(|edit| edit.json.is_some());
    let mut comma_due = members.iter().any(stays);
    for edit in edits.iter().rev() {
        let is_new = !members.iter().any(|member| member.name == edit.name);
        if let Some(json) = edit.json.as_ref().filter(|_| is_new) {
            added.push_front((&edit.name, json, comma_due));
            comma_due = true;
        }
    }
    for (name, json, comma) in added {
        let mut key = String::with_capacity(name.len() + 3);
        push_json_str(&mut key, name);
        key.push(':');
        pieces.put(key.into());
        pieces.put(json.clone());
        if comma {
            pieces.put(Bytes::from_static(b","));
        }
    }

    // Everything before `sent` has gone out or been left out.
    let mut sent = front;
    let mut kept_before = false;
    for (at, member) in members.iter().enumerate() {
        match edit_of(member).map(|edit| &edit.json) {
            Some(None) if kept_before => {
                // Goes with the comma in front of it.
                pieces.keep(sent..members[at - 1].value.end);
                sent = member.value.end;
            }
            Some(None) => {
                // Goes with the comma behind it.
                sent = members
                    .get(at + 1)
                    .map_or(member.value.end, |next| next.start);
            }
            Some(Some(json)) => {
                pieces.keep(sent..member.value.start);
                pieces.put(json.clone());
                sent = member.value.end;
                kept_before = true;
            }
            None => kept_before = true,
        }
    }
    pieces.keep(sent..bytes.len());
    pieces.end()
}

struct Pieces<'a> {
    bytes: &'a Bytes,
    /// What was kept last, until it is known that what follows is not next to it.
    kept: Range<usize>,
    list: VecDeque<Bytes>,
}

impl Pieces<'_> {
    fn keep(&mut self, range: Range<usize>) {
        if range.start == self.kept.end {
            self.kept.end = range.end;
        } else {
            self.flush();
            self.kept = range;
        }
    }

    fn put(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.flush();
            self.list.push_back(piece);
        }
    }

    fn flush(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        if !kept.is_empty() {
            self.list.push_back(self.bytes.slice(kept.clone()));
        }
        self.kept = kept.end..kept.end;
    }

    fn end(mut self) -> VecDeque<Bytes> {
        self.flush();
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds the members of a flat object whose values hold no commas, colons or quotes of their
    /// own making.
    #[allow(clippy::string_slice, reason = "the tests' objects are ASCII")]
    fn flat(json: &str) -> SharedBody {
        let mut members = Vec::new();
        let mut start = json.find('"');
        while let Some(at) = start {
            let name_end = at + 1 + json[at + 1..].find('"').unwrap();
            let colon = name_end + json[name_end..].find(':').unwrap();
            let value = colon
                + 1
                + json[colon + 1..]
                    .find(|c: char| !c.is_whitespace())
                    .unwrap();
            let stop = value + json[value..].find([',', '}']).unwrap();
            let end = value + json[value..stop].trim_end().len();
            members.push(Member::new(
                json[at + 1..name_end].to_owned(),
                at,
                value..end,
            ));
            start = json[stop..].find('"').map(|next| stop + next);
        }
        SharedBody::new(Bytes::copy_from_slice(json.as_bytes()), members)
    }

    fn text(body: &SharedBody) -> String {
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn untouched_bytes_stay() {
        let json = "\n{ \"b\" : 1.00 ,\t\"a\":2}  ";
        let body = flat(json);
        assert_eq!(text(&body), json);
        body.set("a", "[3]").unwrap();
        assert_eq!(text(&body), json.replace(":2", ":[3]"));
        body.set("a", "2").unwrap();
        assert_eq!(text(&body), json);
    }

    // Every way to keep, replace or remove each of three members, and to add none, one or two.
    #[test]
    fn any_combination_of_edits_is_one_object() {
        for spaced in [false, true] {
            let json = if spaced {
                r#" { "a" : 1 , "b" : 2 , "c" : 3 } "#
            } else {
                r#"{"a":1,"b":2,"c":3}"#
            };
            for choice in 0..27 * 3 {
                let body = flat(json);
                let mut expected = Vec::new();
                for (digit, name) in [(1, "a"), (3, "b"), (9, "c")] {
                    match choice / digit % 3 {
                        0 => expected.push(format!(
                            "\"{name}\":{}",
                            body.member(name).unwrap()[0] - b'0'
                        )),
                        1 => {
                            body.set(name, "true").unwrap();
                            expected.push(format!("\"{name}\":true"));
                        }
                        _ => body.remove(name).unwrap(),
                    }
                }
                for (at, name) in ["x", "y"].into_iter().take(choice / 27).enumerate() {
                    body.set(name, "{}").unwrap();
                    expected.insert(at, format!("\"{name}\":{{}}"));
                }
                let compact: String = text(&body).split_whitespace().collect();
                assert_eq!(
                    compact,
                    format!("{{{}}}", expected.join(",")),
                    "case {choice}"
                );
                assert_eq!(body.fork().measure(), body.to_bytes().len() as u64);
            }
        }
    }

    #[test]
    fn an_empty_object_can_grow() {
        let body = SharedBody::new("{ }".into(), Vec::new());
        body.set("a", "1").unwrap();
        body.remove("b").unwrap();
        assert_eq!(text(&body), r#"{"a":1 }"#);
    }

    #[test]
    fn measuring_closes_this_fork_alone() {
        let body = flat(r#"{"a":1}"#);
        body.set("a", "2").unwrap();
        let fork = body.fork();
        assert_eq!(body.measure(), 7);
        assert!(body.set("a", "3").is_err());
        assert!(body.remove("a").is_err());
        fork.set("a", "44").unwrap();
        assert_eq!(fork.measure(), 8);
        assert_eq!(text(&body), r#"{"a":2}"#);
    }

    #[test]
    fn the_received_bytes_are_shared() {
        let body = flat(r#"{"a":1,"b":2}"#);
        body.set("a", "3").unwrap();
        let pieces = body.close();
        assert_eq!(pieces[0].as_ptr(), body.received().as_ptr());
    }

    #[test]
    fn what_is_going_to_be_sent_can_be_asked_for() {
        let json = r#"{"a":1,"b":2}"#;
        let members = vec![Member::new("a", 1, 5..6), Member::new("b", 7, 11..12)];
        let body = SharedBody::new(json.into(), members);
        body.set("a", "3").unwrap();
        body.set("c", "4").unwrap();
        body.remove("b").unwrap();
        let edited = ["a", "b", "c", "d"].map(|name| body.edited(name));
        assert_eq!(edited, [Some("3".into()), None, Some("4".into()), None]);
        assert_eq!(body.member("a").unwrap(), "1");
    }
}
