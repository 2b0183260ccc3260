//! Answers in one piece of JSON.

use bytes::{Bytes, BytesMut};
use tollgate_core::{Rejection, RejectionKind, UpstreamFault, UsageSlot};

use crate::{
    chunk::{self, Findings, Reading},
    edit, fault,
    identity::Identity,
    json::Scanner,
    usage,
};

/// An answer that is being read.
#[derive(Debug)]
pub(crate) struct JsonAnswer {
    /// The first piece, which usually is the only one.
    first: Bytes,
    rest: BytesMut,
    max_bytes: usize,
}

/// What to send in place of an answer.
pub(crate) enum Refusal {
    Fault(UpstreamFault),
    Rejection(Rejection),
}

impl JsonAnswer {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            first: Bytes::new(),
            rest: BytesMut::new(),
            max_bytes,
        }
    }

    /// Takes the next piece; `Err` if the answer is too large.
    pub(crate) fn push(&mut self, piece: Bytes) -> Result<(), Rejection> {
        if self.first.len() + self.rest.len() + piece.len() > self.max_bytes {
            return Err(too_large());
        }
        if self.first.is_empty() {
            self.first = piece;
        } else {
            if self.rest.is_empty() {
                self.rest.extend_from_slice(&self.first);
            }
            self.rest.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// Reads the whole answer: records what it used, and takes out what callers do not expect.
    pub(crate) fn finish(
        self,
        reading: Reading,
        slot: Option<&UsageSlot>,
    ) -> Result<Bytes, Refusal> {
        let bytes = if self.rest.is_empty() {
            self.first
        } else {
            self.rest.freeze()
        };
        let broken = || Refusal::Rejection(cut());
        let json = std::str::from_utf8(&bytes).map_err(|_| broken())?;
        if !json.trim_ascii_start().starts_with('{') {
            let mut scanner = Scanner::new(json);
            scanner
                .skip()
                .and_then(|_| scanner.end())
                .map_err(|_| broken())?;
            return Ok(bytes);
        }
        let mut findings = Findings::default();
        let mut identity = Identity::default();
        let read = chunk::read(json, reading, &mut identity, &mut findings);
        let chunk = read.map_err(|_| broken())?;
        let is_answer = chunk.has_choices || chunk.has_object;
        if let Some(error) = chunk.error.clone().filter(|_| !is_answer) {
            let fault = fault::reported(json.get(error).unwrap_or_default());
            return Err(Refusal::Fault(fault));
        }
        if let Some(slot) = slot {
            let text_bytes = chunk.output_bytes(&findings);
            let pieces = chunk.choices.min(text_bytes as usize) as u64;
            slot.watch_output();
            slot.add_output(pieces, text_bytes);
            let reported = chunk.usage.and_then(|usage| json.get(usage));
            if let Some(usage) = reported.and_then(|json| usage::read(json, pieces)) {
                slot.record(usage);
            }
        }
        if findings.edits.is_empty() {
            return Ok(bytes);
        }
        let mut edited = Vec::with_capacity(bytes.len());
        let edits = findings.edits.as_slice();
        edit::apply(edits, &bytes, 0..bytes.len(), &identity, &mut edited);
        Ok(edited.into())
    }
}

/// The answer is larger than anybody could want.
pub(crate) fn too_large() -> Rejection {
    Rejection::new(RejectionKind::UpstreamFailed)
        .with_detail("the upstream's JSON answer is larger than allowed")
}

/// The answer did not come whole.
pub(crate) fn cut() -> Rejection {
    Rejection::new(RejectionKind::UpstreamFailed)
        .with_detail("the upstream's JSON answer is cut off or is not JSON")
}
