use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tollgate_core::Workspace;

/// Says which workspace a key belongs to.
///
/// Implemented by [`ApiKeys`], by any `Fn(&[u8]) -> Option<Workspace>`, and by an `Arc` of a ring.
/// Implementors compare in constant time, do not block, and keep the key out of logs.
///
/// ```
/// use std::sync::{Arc, RwLock};
/// use tollgate_auth::{ApiKeyLayer, ApiKeys};
///
/// // Keys that change while they are in use. Cloning the set is cheap.
/// let keys = Arc::new(RwLock::new(ApiKeys::new()));
/// let current = Arc::clone(&keys);
/// let layer = ApiKeyLayer::new(move |key: &[u8]| {
///     let keys = current.read().ok()?.clone();
///     tollgate_auth::KeyRing::workspace(&keys, key)
/// });
/// # let _ = layer;
/// ```
pub trait KeyRing {
    /// The workspace of this key, `None` if nobody holds it. `key` is never empty and at most
    /// 1,024 bytes; it need not be UTF-8.
    fn workspace(&self, key: &[u8]) -> Option<Workspace>;
}

impl<F> KeyRing for F
where
    F: Fn(&[u8]) -> Option<Workspace>,
{
    fn workspace(&self, key: &[u8]) -> Option<Workspace> {
        self(key)
    }
}

impl<K: KeyRing + ?Sized> KeyRing for Arc<K> {
    fn workspace(&self, key: &[u8]) -> Option<Workspace> {
        (**self).workspace(key)
    }
}

/// API keys in memory, as hashes. Cloning is cheap; an empty set admits nobody.
///
/// ```
/// use tollgate_auth::{ApiKeys, KeyRing, Workspace};
///
/// let acme = Workspace::new("acme");
/// let keys = ApiKeys::new()
///     .key("sk-acme-0123456789abcdef", acme.clone())?
///     // Configurations need not hold a key itself: `printf %s "$key" | sha256sum`.
///     .key_sha256("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", acme.clone())?;
/// assert_eq!(keys.workspace(b"sk-acme-0123456789abcdef"), Some(acme));
/// assert_eq!(keys.workspace(b"sk-guess"), None);
/// # Ok::<_, tollgate_auth::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct ApiKeys(Arc<Ring>);

#[derive(Clone)]
struct Ring {
    hasher: Hmac<Sha256>,
    workspaces: HashMap<Tag, Workspace>,
}

impl ApiKeys {
    /// A set without keys.
    ///
    /// # Panics
    ///
    /// If the operating system has no source of randomness.
    #[must_use]
    pub fn new() -> Self {
        let mut secret = [0; 64];
        getrandom::fill(&mut secret).expect("the operating system provides randomness");
        Self(Arc::new(Ring {
            hasher: Hmac::new(&secret.into()),
            workspaces: HashMap::new(),
        }))
    }

    /// Adds a key of this workspace. The key itself is not kept.
    ///
    /// # Errors
    ///
    /// If the key is empty, longer than 1,024 bytes, not visible ASCII (it could not be sent), or
    /// already another workspace's.
    pub fn key(self, key: impl AsRef<str>, workspace: Workspace) -> Result<Self, ConfigError> {
        let key = key.as_ref().as_bytes();
        if !(1..=MAX_KEY_BYTES).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
            return Err(ConfigError::IllegalKey { workspace });
        }
        self.digest(&Sha256::digest(key).into(), workspace)
    }

    /// Adds a key of which only the SHA-256 is known, in 64 hexadecimal digits.
    ///
    /// Give keys at least 128 bits of randomness: a digest of a guessable key is guessed too.
    ///
    /// # Errors
    ///
    /// If the text is not 64 hexadecimal digits, or the key is already another workspace's.
    pub fn key_sha256(self, hex: &str, workspace: Workspace) -> Result<Self, ConfigError> {
        match parse_hex(hex.as_bytes()) {
            Some(digest) => self.digest(&digest, workspace),
            None => Err(ConfigError::IllegalDigest { workspace }),
        }
    }

    fn digest(mut self, digest: &[u8; 32], workspace: Workspace) -> Result<Self, ConfigError> {
        let ring = Arc::make_mut(&mut self.0);
        match ring.workspaces.entry(ring.tag(digest)) {
            Entry::Occupied(holder) if *holder.get() != workspace => Err(ConfigError::SharedKey {
                workspaces: [holder.get().clone(), workspace],
            }),
            Entry::Occupied(_) => Ok(self),
            Entry::Vacant(slot) => {
                slot.insert(workspace);
                Ok(self)
            }
        }
    }
}

impl Ring {
    fn tag(&self, digest: &[u8; 32]) -> Tag {
        Tag(self
            .hasher
            .clone()
            .chain_update(digest)
            .finalize()
            .into_bytes()
            .into())
    }
}

impl KeyRing for ApiKeys {
    fn workspace(&self, key: &[u8]) -> Option<Workspace> {
        let tag = self.0.tag(&Sha256::digest(key).into());
        self.0.workspaces.get(&tag).cloned()
    }
}

impl Default for ApiKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("count", &self.0.workspaces.len())
            .finish_non_exhaustive()
    }
}

/// Why a set of API keys does not build. Names workspaces, never keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A digest is not 64 hexadecimal digits.
    IllegalDigest {
        /// Whose.
        workspace: Workspace,
    },
    /// A key is empty, longer than 1,024 bytes, or not visible ASCII.
    IllegalKey {
        /// Whose.
        workspace: Workspace,
    },
    /// One key stands for two workspaces.
    SharedKey {
        /// Which.
        workspaces: [Workspace; 2],
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IllegalDigest { workspace } => write!(
                f,
                "a key digest of workspace `{workspace}` is not 64 hexadecimal digits"
            ),
            Self::IllegalKey { workspace } => write!(
                f,
                "a key of workspace `{workspace}` is not 1 to {MAX_KEY_BYTES} visible ASCII \
                 characters"
            ),
            Self::SharedKey { workspaces: [a, b] } => {
                write!(f, "the workspaces `{a}` and `{b}` have a key in common")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// What stands for a key in the map. Nobody outside the process can predict it, so neither its
/// place in the map nor the time of a comparison says anything about a key.
#[derive(Clone)]
struct Tag([u8; 32]);

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Tag {}

impl Hash for Tag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

fn parse_hex(hex: &[u8]) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 2 * digest.len() {
        return None;
    }
    for (byte, digits) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        for digit in digits {
            let digit = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(digit).ok()?;
        }
    }
    Some(digest)
}

pub(crate) const MAX_KEY_BYTES: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> Workspace {
        Workspace::new("acme")
    }

    #[test]
    fn keys_are_found_by_text_and_by_digest() {
        // SHA-256 of `sk-acme-1`, by coreutils' sha256sum.
        const DIGEST: &str = "819685611e044dc4918e558945f580790befd0786cc2fb36e3417477ed704a3d";
        let by_text = ApiKeys::new().key("sk-acme-1", acme()).unwrap();
        let by_digest = ApiKeys::new().key_sha256(DIGEST, acme()).unwrap();
        for keys in [by_text, by_digest] {
            assert_eq!(keys.workspace(b"sk-acme-1"), Some(acme()));
            for wrong in [
                &b"sk-acme-"[..],
                b"sk-acme-11",
                b"SK-ACME-1",
                b"",
                b"\xff",
                DIGEST.as_bytes(),
            ] {
                assert_eq!(keys.workspace(wrong), None);
            }
        }
    }

    #[test]
    fn a_shared_ring_is_a_ring() {
        let find = |keys: &dyn KeyRing, key: &[u8]| keys.workspace(key);
        let keys: Arc<dyn KeyRing> = Arc::new(ApiKeys::new().key("sk-1", acme()).unwrap());
        assert_eq!(find(&keys, b"sk-1"), Some(acme()));
        assert_eq!(find(&keys, b"sk-2"), None);
    }

    #[test]
    fn a_key_has_one_owner() {
        let keys = ApiKeys::new().key("sk-1", acme()).unwrap();
        let again = keys.clone().key("sk-1", acme()).unwrap();
        assert_eq!(again.0.workspaces.len(), 1);
        let stolen = keys.key("sk-1", Workspace::new("globex")).unwrap_err();
        assert_eq!(
            stolen.to_string(),
            "the workspaces `acme` and `globex` have a key in common"
        );
    }

    #[test]
    fn illegal_keys_are_named_by_their_workspace_alone() {
        for illegal in ["", "sk 1", "sk-é", "sk\n", &"a".repeat(MAX_KEY_BYTES + 1)] {
            let error = ApiKeys::new().key(illegal, acme()).unwrap_err();
            assert_eq!(error, ConfigError::IllegalKey { workspace: acme() });
            assert!(illegal.is_empty() || !error.to_string().contains(illegal));
        }
        for illegal in [
            "",
            &"0".repeat(63),
            &"0".repeat(65),
            &"g".repeat(64),
            &"é".repeat(32),
        ] {
            let error = ApiKeys::new().key_sha256(illegal, acme()).unwrap_err();
            assert_eq!(error, ConfigError::IllegalDigest { workspace: acme() });
        }
    }

    #[test]
    fn nothing_of_a_key_can_be_printed() {
        let keys = ApiKeys::new().key("sk-acme-1", acme()).unwrap();
        assert_eq!(format!("{keys:?}"), "ApiKeys { count: 1, .. }");
    }
}
