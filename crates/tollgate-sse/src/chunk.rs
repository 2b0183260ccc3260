//! What a `chat.completion.chunk` says, and what has to be changed in it.

use std::ops::Range;

use crate::{
    edit::{Edits, Field, Put, Removal},
    identity::{Belonging, Identity},
    json::{Invalid, Scanner},
};

/// How events are to be read. All of it holds for a whole stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// The caller sees usage (rules R7 and R10).
    pub(crate) show_usage: bool,
    /// The caller sees what content filters say (rule R9).
    pub(crate) keep_filters: bool,
    pub(crate) shape: Shape,
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A whole answer, with messages.
    Answer,
    /// A chunk of a stream, with deltas.
    Chunk,
}

/// What an object was found to say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    /// The value of `error`, if it is not null.
    pub(crate) error: Option<Range<usize>>,
    /// The value of `usage`, if it is an object.
    pub(crate) usage: Option<Range<usize>>,
    /// It has a `choices` array.
    pub(crate) has_choices: bool,
    /// It has an `object` member, as whatever OpenAI's API answers with has.
    pub(crate) has_object: bool,
    /// How many choices are left for the caller.
    pub(crate) choices: usize,
    /// One bit for each index of a choice that is begun, and that is finished.
    pub(crate) begun: u128,
    pub(crate) finished: u128,
    /// Bytes of output text, those in holes apart.
    pub(crate) text_bytes: u64,
}

impl Chunk {
    /// Bytes of output text, all of them.
    pub(crate) fn output_bytes(&self, findings: &Findings) -> u64 {
        let texts = findings.holes.iter().filter_map(|hole| hole.text_bytes);
        self.text_bytes + texts.sum::<u64>()
    }
}

/// The inside of a string that may be another in the next chunk of the same shape.
#[derive(Clone, Debug)]
pub(crate) struct Hole {
    pub(crate) inside: Range<usize>,
    /// The bytes of its text, if that is output and not padding.
    pub(crate) text_bytes: Option<u64>,
}

/// What was found besides the chunk itself; kept from event to event for its memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) edits: Edits,
    pub(crate) holes: Vec<Hole>,
}

impl Findings {
    fn clear(&mut self) {
        // What one hostile event needed is not kept for the others.
        if self.edits.len() > MAX_KEPT_EDITS {
            *self = Self::default();
        }
        self.edits.clear();
        self.holes.clear();
    }
}

/// Reads one event's data, or one answer. All of it is checked to be JSON, with an object outside.
pub(crate) fn read(
    json: &str,
    reading: Reading,
    identity: &mut Identity,
    findings: &mut Findings,
) -> Result<Chunk, Invalid> {
    findings.clear();
    let mut reader = Reader {
        json,
        scanner: Scanner::new(json),
        reading,
        findings,
        chunk: Chunk::default(),
    };
    let mut belonging = Belonging::default();
    let open = reader.root(&mut belonging)?;
    reader.scanner.end()?;
    let chunk = reader.chunk;
    if chunk.has_choices && chunk.error.is_none() && reading.shape == Shape::Chunk {
        belonging.complete(json, open, identity, &mut findings.edits);
    }
    Ok(chunk)
}

struct Reader<'a, 'f> {
    json: &'a str,
    scanner: Scanner<'a>,
    reading: Reading,
    findings: &'f mut Findings,
    chunk: Chunk,
}

impl Reader<'_, '_> {
    fn root(&mut self, belonging: &mut Belonging) -> Result<usize, Invalid> {
        if self.scanner.peek()? != b'{' {
            return Err(Invalid);
        }
        let open = self.scanner.at();
        let streaming = self.reading.shape == Shape::Chunk;
        let mut members = self.scanner.enter();
        let mut removal = Removal::default();
        while let Some(key) = self.scanner.member(&mut members)? {
            let first_inside = self.findings.edits.len();
            let mut stays = true;
            match &*key.name() {
                // Of members with the same key the last one counts, as it does for clients.
                b"choices" => self.choices()?,
                b"error" => {
                    let value = self.scanner.skip()?;
                    self.chunk.error = Some(value).filter(|value| self.text_of(value) != "null");
                }
                b"usage" => {
                    let is_object = self.scanner.peek()? == b'{';
                    let value = self.scanner.skip()?;
                    self.chunk.usage = is_object.then_some(value);
                    stays = self.reading.show_usage || !streaming;
                }
                b"id" => belonging.saw(Field::Id, self.scanner.skip()?),
                b"object" => {
                    self.chunk.has_object = true;
                    belonging.saw(Field::Object, self.scanner.skip()?);
                }
                b"created" => belonging.saw(Field::Created, self.scanner.skip()?),
                b"model" => belonging.saw(Field::Model, self.scanner.skip()?),
                b"obfuscation" if self.scanner.peek()? == b'"' => {
                    let inside = self.scanner.string()?;
                    self.hole(inside, None);
                }
                b"prompt_filter_results" | b"prompt_annotations" => {
                    self.pass()?;
                    stays = self.reading.keep_filters;
                }
                _ => self.pass()?,
            }
            self.item(key.start, first_inside, stays, &mut removal);
        }
        removal.close(&mut self.findings.edits);
        Ok(open)
    }

    fn choices(&mut self) -> Result<(), Invalid> {
        self.chunk.has_choices = self.scanner.peek()? == b'[';
        self.chunk.choices = 0;
        self.chunk.begun = 0;
        self.chunk.finished = 0;
        if !self.chunk.has_choices {
            return self.pass();
        }
        let mut elements = self.scanner.enter();
        let mut removal = Removal::default();
        while self.scanner.element(&mut elements)? {
            let start = self.scanner.at();
            let first_inside = self.findings.edits.len();
            let stays = self.choice()?;
            self.chunk.choices += usize::from(stays);
            self.item(start, first_inside, stays, &mut removal);
        }
        removal.close(&mut self.findings.edits);
        Ok(())
    }

    /// Whether the choice is one for the caller (rule R8).
    fn choice(&mut self) -> Result<bool, Invalid> {
        let streaming = self.reading.shape == Shape::Chunk;
        if self.scanner.peek()? != b'{' {
            self.pass()?;
            return Ok(!streaming);
        }
        let open = self.scanner.at();
        let first_hole = self.findings.holes.len();
        let mut members = self.scanner.enter();
        let mut removal = Removal::default();
        let mut has_delta = false;
        let mut no_delta = None;
        let mut finished = false;
        let mut index = 0;
        while let Some(key) = self.scanner.member(&mut members)? {
            let first_inside = self.findings.edits.len();
            let mut stays = true;
            match &*key.name() {
                b"delta" if streaming => {
                    has_delta = self.scanner.peek()? == b'{';
                    if has_delta {
                        self.output()?;
                    } else {
                        no_delta = Some(self.scanner.skip()?);
                    }
                }
                b"message" if !streaming && self.scanner.peek()? == b'{' => self.output()?,
                b"finish_reason" => {
                    let value = self.scanner.skip()?;
                    finished = self.is_reason(&value);
                }
                b"index" => {
                    let value = self.scanner.skip()?;
                    index = self
                        .json
                        .get(value)
                        .and_then(|n| n.parse().ok())
                        .unwrap_or(0);
                }
                b"content_filter_results"
                | b"content_filter_result"
                | b"content_filter_offsets"
                | b"content_filter_raw" => {
                    self.pass()?;
                    stays = self.reading.keep_filters;
                }
                _ => self.pass()?,
            }
            self.item(key.start, first_inside, stays, &mut removal);
        }
        removal.close(&mut self.findings.edits);
        if streaming && !has_delta {
            if !finished {
                self.findings.holes.truncate(first_hole);
                return Ok(false);
            }
            let (span, put) = match no_delta {
                Some(value) => (value, Put::EmptyObject),
                None => (open + 1..open + 1, Put::EmptyDelta),
            };
            self.findings.edits.add(span, put);
        }
        // Nobody can ask for more than 128 choices; if there are more, the last bit is all theirs.
        let bit = 1u128 << u32::min(index, 127);
        self.chunk.begun |= bit;
        if finished {
            self.chunk.finished |= bit;
        }
        Ok(true)
    }

    /// Finds the output in a delta or message: text, refusals, arguments, whatever they are called.
    fn output(&mut self) -> Result<(), Invalid> {
        let mut members = self.scanner.enter();
        while let Some(key) = self.scanner.member(&mut members)? {
            match (&*key.name(), self.scanner.peek()?) {
                (b"role", _) => self.pass()?,
                (_, b'"') => self.text()?,
                (b"tool_calls", b'[') => {
                    let mut calls = self.scanner.enter();
                    while self.scanner.element(&mut calls)? {
                        self.tool_call()?;
                    }
                }
                (b"function_call", b'{') => self.function()?,
                // Parts, as some servers send them: what is text in them is theirs to say.
                (b"content", b'[') => {
                    let parts = self.scanner.skip()?;
                    self.chunk.text_bytes += u64::from(parts.len() > "[]".len());
                }
                _ => self.pass()?,
            }
        }
        Ok(())
    }

    fn tool_call(&mut self) -> Result<(), Invalid> {
        if self.scanner.peek()? != b'{' {
            return self.pass();
        }
        let mut members = self.scanner.enter();
        while let Some(key) = self.scanner.member(&mut members)? {
            match (&*key.name(), self.scanner.peek()?) {
                (b"function" | b"custom", b'{') => self.function()?,
                _ => self.pass()?,
            }
        }
        Ok(())
    }

    fn function(&mut self) -> Result<(), Invalid> {
        let mut members = self.scanner.enter();
        while self.scanner.member(&mut members)?.is_some() {
            match self.scanner.peek()? {
                b'"' => self.text()?,
                // Arguments that nobody has put into a string.
                b'{' => self.chunk.text_bytes += self.scanner.skip()?.len() as u64,
                _ => self.pass()?,
            }
        }
        Ok(())
    }

    fn text(&mut self) -> Result<(), Invalid> {
        let (inside, bytes) = self.scanner.text()?;
        if !self.hole(inside, Some(bytes)) {
            self.chunk.text_bytes += bytes;
        }
        Ok(())
    }

    fn hole(&mut self, inside: Range<usize>, text_bytes: Option<u64>) -> bool {
        let holes = &mut self.findings.holes;
        let room = holes.len() < MAX_HOLES;
        if room {
            holes.push(Hole { inside, text_bytes });
        }
        room
    }

    fn pass(&mut self) -> Result<(), Invalid> {
        self.scanner.skip()?;
        Ok(())
    }

    fn item(&mut self, start: usize, first_inside: usize, stays: bool, removal: &mut Removal) {
        let item = start..self.scanner.at();
        let edits = &mut self.findings.edits;
        if stays {
            removal.keep(item, edits);
        } else {
            removal.remove(item, first_inside, edits);
        }
    }

    /// Whether a `finish_reason` names a reason. Some servers say `""` for as long as there is none.
    fn is_reason(&self, value: &Range<usize>) -> bool {
        !matches!(self.text_of(value), "null" | "\"\"")
    }

    fn text_of(&self, value: &Range<usize>) -> &str {
        self.json.get(value.clone()).unwrap_or_default()
    }
}

/// Strings of one chunk that may vary without the chunk being read again.
pub(crate) const MAX_HOLES: usize = 8;

const MAX_KEPT_EDITS: usize = 1_024;
