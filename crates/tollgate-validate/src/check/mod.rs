//! The one pass over a body: checks every member against the policy's table and notes what others
//! need to know.

mod dialogue;
mod facts;
mod formats;
mod leaves;
mod messages;
mod parts;
mod role;
mod root;
mod rules;
mod tools;

use std::{borrow::Cow, ops::Range};

use bytes::{Buf, Bytes};
use http::HeaderValue;
use tollgate_core::{ChatRequest, Member, Rejection, SharedBody};

use self::{dialogue::Dialogue, facts::Gathered, leaves::PutOff};
use crate::{
    errors,
    json::{Keys, Malformed, Scanner, Value},
    path::Path,
    policy::Policy,
};

/// What a good request turned out to be.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) request: ChatRequest,
    pub(crate) body: SharedBody,
    /// The absorbed names, ready for the answer's header.
    pub(crate) absorbed: Option<HeaderValue>,
}

/// Checks a body and describes it.
pub(crate) fn check(policy: &Policy, mut bytes: Bytes) -> Result<Checked, Rejection> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        // Some writers put it in front of all UTF-8, and some readers of JSON refuse it.
        bytes.advance(BYTE_ORDER_MARK.len());
    }
    let json = simdutf8::basic::from_utf8(&bytes).map_err(|_| errors::not_json())?;
    let mut check = Check::new(policy, json);
    check.root().map_err(errors::malformed)?;
    if let Some((_, rejection)) = check.fault {
        return Err(rejection);
    }
    check.value_rules()?;
    check.found.rules(policy, json)?;
    let Check {
        members,
        absorbed,
        nulls,
        found,
        ..
    } = check;
    let request = found.describe(&bytes);
    let body = SharedBody::new(bytes, members);
    let name = |place: &usize| &policy.params()[*place].name;
    let absorbed: Vec<&Cow<'static, str>> = absorbed.iter().map(name).collect();
    for name in absorbed.iter().copied().chain(nulls.iter().map(name)) {
        // A body that nobody else has seen is open for edits.
        let _ = body.remove(Cow::clone(name));
    }
    for rule in &policy.request_rules {
        rule(&request, &body)?;
    }
    Ok(Checked {
        request,
        body,
        absorbed: header_list(&absorbed),
    })
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

fn header_list(names: &[&Cow<'static, str>]) -> Option<HeaderValue> {
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    HeaderValue::from_str(&names.join(", ")).ok()
}

/// The state of one pass. Everything that cannot be read is an `Err` and ends the pass; everything
/// that breaks a rule is noted, because faults are reported in an order of their own.
struct Check<'j, 'p> {
    policy: &'p Policy,
    scan: Scanner<'j>,
    /// Of objects that may have any keys.
    keys: Keys<'j>,
    json: &'j str,
    /// The rank of faults found where the scanner stands.
    rank: Rank,
    fault: Option<(Rank, Rejection)>,
    members: Vec<Member>,
    absorbed: Vec<usize>,
    /// What is null and would not have been passed on otherwise.
    nulls: Vec<usize>,
    found: Gathered<'j>,
    dialogue: Dialogue<'j>,
    put_off: Vec<PutOff<'j>>,
    /// Values that the user has rules about, by the places of their parameters.
    ruled: Vec<(usize, Range<usize>)>,
}

type Scan<T = ()> = Result<T, Malformed>;

/// Which fault is reported if there are several: the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    stage: Stage,
    /// The parameter's place in the table.
    place: usize,
    /// 0 for the parameter as a whole, then one more than the index of the item.
    item: usize,
    /// Whether it is within a part of a message, of which it is only known later whether the
    /// message may have parts at all.
    in_part: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Duplicate,
    Model,
    MessagesPresent,
    Unknown,
    Policy,
    Schema,
    Rules,
}

impl Stage {
    const fn rank(self, place: usize) -> Rank {
        Rank {
            stage: self,
            place,
            item: 0,
            in_part: false,
        }
    }
}

impl<'j, 'p> Check<'j, 'p> {
    fn new(policy: &'p Policy, json: &'j str) -> Self {
        Self {
            policy,
            scan: Scanner::new(json, policy.max_values),
            keys: Keys::default(),
            json,
            rank: Stage::Schema.rank(0),
            fault: None,
            members: Vec::with_capacity(16),
            absorbed: Vec::new(),
            nulls: Vec::new(),
            found: Gathered::for_body_of(json.len()),
            dialogue: Dialogue::default(),
            put_off: Vec::new(),
            ruled: Vec::new(),
        }
    }

    /// Reads what is left of a value, so that the scanner stands behind it.
    fn finish(&mut self, value: Value<'j>) -> Scan {
        if let Value::Array | Value::Object = value {
            if let Some(key) = self.keys.finish(&mut self.scan, value)? {
                self.duplicate(&Path::root(&errors::shown(key)));
            }
        }
        Ok(())
    }

    /// Reads a value of which nothing is needed.
    fn skip(&mut self) -> Scan {
        let value = self.scan.value()?;
        self.finish(value)
    }

    fn duplicate(&mut self, path: &Path<'_>) {
        self.refuse_as(Stage::Duplicate.rank(0), || errors::duplicate(path));
    }

    /// Notes a fault of what the scanner is at.
    fn refuse(&mut self, rejection: impl FnOnce() -> Rejection) {
        self.refuse_as(self.rank, rejection);
    }

    /// Notes a fault, which is only put into words if no smaller one is known.
    fn refuse_as(&mut self, rank: Rank, rejection: impl FnOnce() -> Rejection) {
        if self.fault.as_ref().is_none_or(|(known, _)| rank < *known) {
            self.fault = Some((rank, rejection()));
        }
    }
}
