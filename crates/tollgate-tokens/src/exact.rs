use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
};

use bpe_openai::Tokenizer;
use tollgate_core::{ChatRequest, Model, TokenBounds, TokenCounter, TokenInputs};

use crate::{
    Encoding, Estimator,
    scan::Scan,
    schemas,
    text::plain,
    texts::{Survey, role_tokens},
};

/// Counts exactly what bounds leave open. See the [crate docs](crate) for an example.
///
/// [`bounds`](TokenCounter::bounds) are the [`Estimator`]'s and cheap;
/// [`count`](TokenCounter::count) uses the vocabulary, as soon as it is loaded, and is the
/// estimator's too until then. Cloning is cheap, and clones share what is loaded.
#[derive(Clone)]
pub struct ExactCounter {
    estimator: Estimator,
    vocabularies: Arc<[Vocabulary]>,
    byte_cap: usize,
}

struct Vocabulary {
    encoding: Encoding,
    tokenizer: OnceLock<&'static Tokenizer>,
}

impl ExactCounter {
    /// A counter that may load these vocabularies and no others. Nothing is loaded yet.
    #[must_use]
    pub fn new(encodings: impl IntoIterator<Item = Encoding>) -> Self {
        let mut vocabularies: Vec<Vocabulary> = Vec::new();
        for encoding in encodings {
            if vocabularies.iter().all(|other| other.encoding != encoding) {
                vocabularies.push(Vocabulary {
                    encoding,
                    tokenizer: OnceLock::new(),
                });
            }
        }
        Self {
            estimator: Estimator::new(),
            vocabularies: vocabularies.into(),
            byte_cap: DEFAULT_BYTE_CAP,
        }
    }

    /// A counter with the vocabularies that these models need.
    #[must_use]
    pub fn for_models<'a>(models: impl IntoIterator<Item = &'a Model>) -> Self {
        Self::new(models.into_iter().filter_map(Encoding::of_model))
    }

    /// Takes bounds, and everything that is not text, from this estimator.
    #[must_use]
    pub fn estimator(mut self, estimator: Estimator) -> Self {
        self.estimator = estimator;
        self
    }

    /// Sets how many bytes of text are counted for one request. Default: 32 KiB, which takes
    /// about half a millisecond, and 5 at worst. Texts that no longer fit are bounded and estimated,
    /// and the count is not exact then. The same happens to texts in which one punctuation mark or a
    /// tab stands more than 128 times in a row, whatever their length: they would take 50
    /// milliseconds.
    #[must_use]
    pub fn byte_cap(mut self, bytes: usize) -> Self {
        self.byte_cap = bytes;
        self
    }

    /// Loads what is not loaded yet, in this thread: about a tenth of a second and 60 MB for each
    /// vocabulary.
    pub fn load(&self) {
        for vocabulary in &*self.vocabularies {
            vocabulary
                .tokenizer
                .get_or_init(|| match vocabulary.encoding {
                    Encoding::Cl100kBase => bpe_openai::cl100k_base(),
                    Encoding::O200kBase => bpe_openai::o200k_base(),
                });
        }
    }

    /// Loads in a thread of its own, so that a listener can open meanwhile; until it is done
    /// counts are bounds. The handle may be dropped.
    ///
    /// # Errors
    ///
    /// If the operating system refuses the thread.
    pub fn load_in_background(&self) -> io::Result<JoinHandle<()>> {
        let counter = self.clone();
        thread::Builder::new()
            .name("tollgate-tokens".to_owned())
            .spawn(move || counter.load())
    }

    /// Whether every vocabulary is loaded.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        let mut vocabularies = self.vocabularies.iter();
        vocabularies.all(|vocabulary| vocabulary.tokenizer.get().is_some())
    }

    /// The tokens of one text, whatever its length; `None` unless the vocabulary is loaded.
    #[must_use]
    pub fn text(&self, text: &str, encoding: Encoding) -> Option<u64> {
        Some(count(self.tokenizer(encoding)?, text))
    }

    fn tokenizer(&self, encoding: Encoding) -> Option<&'static Tokenizer> {
        let mut vocabularies = self.vocabularies.iter();
        let vocabulary = vocabularies.find(|vocabulary| vocabulary.encoding == encoding)?;
        vocabulary.tokenizer.get().copied()
    }

    fn texts(
        &self,
        inputs: &TokenInputs,
        encoding: Encoding,
        tokenizer: &Tokenizer,
    ) -> TokenBounds {
        let mut cap = self.byte_cap;
        let mut tokens = 0;
        // What does not fit.
        let mut survey = Survey::new(Some(encoding), self.estimator.cap());
        for input in inputs.texts() {
            if schemas::is_schema(input) {
                continue;
            }
            if let Some(role) = role_tokens(input) {
                tokens += role;
                continue;
            }
            // A text that turns out to be slow has used the cap up, too.
            let text = cap.checked_sub(input.text.len()).map(|left| {
                cap = left;
                plain(&input.text, input.escaped)
            });
            match text.filter(|text| !is_slow(text)) {
                Some(text) => tokens += count(tokenizer, &text),
                None => survey.add(input),
            }
        }
        let count = |text: &str| match is_slow(text) {
            true => Scan::of(text, encoding).estimate,
            false => count(tokenizer, text),
        };
        [
            TokenBounds::exact(tokens),
            survey.bounds(),
            schemas::bounds(inputs, encoding, cap, &count),
        ]
        .into_iter()
        .sum()
    }
}

impl TokenCounter for ExactCounter {
    fn bounds(&self, request: &ChatRequest, model: &Model) -> TokenBounds {
        self.estimator.bounds(request, model)
    }

    fn count(&self, request: &ChatRequest, model: &Model) -> TokenBounds {
        let loaded = Encoding::of_model(model)
            .and_then(|encoding| Some((encoding, self.tokenizer(encoding)?)));
        match loaded {
            Some((encoding, tokenizer)) => {
                let inputs = request.inputs();
                let texts = self.texts(inputs, encoding, tokenizer);
                [self.estimator.frame(inputs, model), texts]
                    .into_iter()
                    .sum()
            }
            None => self.estimator.count(request, model),
        }
    }
}

impl fmt::Debug for ExactCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encodings = self.vocabularies.iter().map(|v| v.encoding);
        f.debug_struct("ExactCounter")
            .field("encodings", &encodings.collect::<Vec<_>>())
            .field("is_loaded", &self.is_loaded())
            .finish_non_exhaustive()
    }
}

fn count(tokenizer: &Tokenizer, text: &str) -> u64 {
    tokenizer.count(text) as u64
}

/// Whether the text has a long run of one punctuation mark or of tabs, the one thing known that
/// counts many times slower than random letters.
fn is_slow(text: &str) -> bool {
    let (mut last, mut run) = (0, 0);
    text.bytes().any(|byte| {
        run = if byte == last { run + 1 } else { 1 };
        last = byte;
        run > LONGEST_RUN && (byte.is_ascii_punctuation() || byte == b'\t')
    })
}

const LONGEST_RUN: usize = 128;
const DEFAULT_BYTE_CAP: usize = 32 << 10;
