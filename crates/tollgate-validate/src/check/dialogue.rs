//! Tool calls and their answers: the rules across messages.

use std::hash::{BuildHasher, RandomState};

use super::{Check, Rank, Stage, role::Role};
use crate::{errors, json::Text, path::Path};

/// The tool calls that are waiting for their answers.
#[derive(Debug, Default)]
pub(super) struct Dialogue<'j> {
    /// Of the latest message of an assistant, if none but answers have come since.
    open: Vec<Call<'j>>,
    /// Of the message that is being read.
    fresh: Vec<Call<'j>>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Call<'j> {
    id: Text<'j>,
    /// Ids can be long, and are compared with those of up to 127 other calls.
    hash: u64,
    /// The message that answers it.
    answer: Option<usize>,
}

impl<'j> Dialogue<'j> {
    /// Notes a call of the message that is being read.
    pub(super) fn calls(&mut self, id: Text<'j>) {
        let hash = self.hash(id);
        self.fresh.push(Call {
            id,
            hash,
            answer: None,
        });
    }

    fn hash(&self, id: Text<'j>) -> u64 {
        self.hasher.hash_one(id.unescaped())
    }
}

impl<'j> Check<'j, '_> {
    /// A message has been read to its end.
    pub(super) fn turn(
        &mut self,
        message: &Path<'_>,
        index: usize,
        role: Option<Role>,
        answers: Option<Text<'j>>,
    ) {
        if role == Some(Role::Tool) {
            self.answer(message, index, answers);
            return;
        }
        self.settle(|| message.key("role").dotted());
        if role == Some(Role::Assistant) {
            std::mem::swap(&mut self.dialogue.open, &mut self.dialogue.fresh);
        }
        self.dialogue.fresh.clear();
    }

    /// No message follows.
    pub(super) fn end_of_dialogue(&mut self) {
        self.settle(|| "messages".to_owned());
    }

    fn answer(&mut self, message: &Path<'_>, index: usize, id: Option<Text<'j>>) {
        let rank = self.rule_rank();
        if self.dialogue.open.is_empty() {
            self.refuse_as(rank, || errors::tool_message_without_call(message));
            return;
        }
        let Some(id) = id else {
            self.refuse_as(rank, || errors::tool_message_without_id(message));
            return;
        };
        let hash = self.dialogue.hash(id);
        let same = |call: &&mut Call<'j>| call.hash == hash && call.id.same_as(id);
        let mut calls = self.dialogue.open.iter_mut().filter(same);
        match calls.next() {
            None => self.refuse_as(rank, || errors::tool_call_id_not_found(message, id)),
            Some(call) => match call.answer.replace(index) {
                None => calls.for_each(|twin| twin.answer = Some(index)),
                Some(first) => self.refuse_as(rank, || {
                    errors::tool_call_answered_twice(message, id, first, index)
                }),
            },
        }
    }

    /// Every open call must have been answered.
    fn settle(&mut self, param: impl FnOnce() -> String) {
        let open = std::mem::take(&mut self.dialogue.open);
        if open.iter().any(|call| call.answer.is_none()) {
            let unanswered = open.iter().filter(|call| call.answer.is_none());
            self.refuse_as(self.rule_rank(), || {
                errors::tool_calls_unanswered(unanswered.map(|call| call.id), param())
            });
        }
        // Its room is used again.
        self.dialogue.open = open;
        self.dialogue.open.clear();
    }

    /// The rank of a rule that is broken where the scanner stands.
    pub(super) fn rule_rank(&self) -> Rank {
        Rank {
            stage: Stage::Rules,
            ..self.rank
        }
    }
}
