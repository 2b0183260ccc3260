use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use crate::Secret;

/// Says which secret an upstream is to be shown now.
///
/// A [`Secret`] is its own source and never changes; a [`RotatingSecret`] is one that a task of
/// yours keeps fresh; and any `Fn() -> Option<Secret>` is one, see
/// [`Credentials::from_source`], and so is an `Arc` of a source.
pub trait CredentialSource: Send + Sync {
    /// The secret to send, asked once for each attempt on the way of the call: it must not block.
    ///
    /// `None` means that there is none for the moment. Nothing is sent then: the attempt counts as
    /// the upstream's failure, and the call moves on to another upstream.
    fn current(&self) -> Option<Secret>;
}

impl<F> CredentialSource for F
where
    F: Fn() -> Option<Secret> + Send + Sync,
{
    fn current(&self) -> Option<Secret> {
        self()
    }
}

impl<S: CredentialSource + ?Sized> CredentialSource for Arc<S> {
    fn current(&self) -> Option<Secret> {
        (**self).current()
    }
}

impl CredentialSource for Secret {
    fn current(&self) -> Option<Secret> {
        Some(self.clone())
    }
}

/// Where an upstream's secret comes from. Made of a key, a [`Secret`], a [`RotatingSecret`], or any
/// [`CredentialSource`]. Clones share the source.
#[derive(Clone)]
pub struct Credentials(Arc<dyn CredentialSource>);

impl Credentials {
    /// Asks this source for each attempt.
    ///
    /// ```
    /// # use std::sync::RwLock;
    /// use tollgate_region::{Credentials, Region, Secret, Upstream};
    ///
    /// // Stands in for a vault's client that keeps its secrets in memory.
    /// let vault = RwLock::new(String::from("0123456789abcdef"));
    /// let key = move || Some(Secret::new(vault.read().ok()?.as_str()));
    /// let sweden = Upstream::azure(
    ///     "sweden",
    ///     Region::new("eu").unwrap(),
    ///     "https://example-sweden.openai.azure.com",
    ///     Credentials::from_source(key),
    /// );
    /// ```
    pub fn from_source(source: impl CredentialSource + 'static) -> Self {
        Self(Arc::new(source))
    }

    pub(crate) fn current(&self) -> Option<Secret> {
        self.0.current()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl From<Secret> for Credentials {
    fn from(secret: Secret) -> Self {
        Self::from_source(secret)
    }
}

impl From<RotatingSecret> for Credentials {
    fn from(secret: RotatingSecret) -> Self {
        Self::from_source(secret)
    }
}

impl From<&str> for Credentials {
    fn from(key: &str) -> Self {
        Secret::new(key).into()
    }
}

impl From<String> for Credentials {
    fn from(key: String) -> Self {
        Secret::new(key).into()
    }
}

/// A secret that is replaced while calls go on, such as an Entra token. Clones share it.
///
/// Calls only ever look at it, and never wait: renewing is the business of a task of yours.
///
/// ```
/// use std::time::Duration;
/// use tollgate_region::{Region, RotatingSecret, Secret, Upstream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let token = RotatingSecret::new();
/// let sweden = Upstream::azure(
///     "sweden",
///     Region::new("eu").unwrap(),
///     "https://example-sweden.openai.azure.com",
///     token.clone(),
/// );
/// tokio::spawn(async move {
///     token
///         .keep_fresh(|| async {
///             // Ask for the scope `https://cognitiveservices.azure.com/.default` here.
///             let token = Secret::token("eyJ0eXAi");
///             Ok::<_, std::io::Error>((token, Duration::from_secs(3_600)))
///         })
///         .await
/// });
/// # }
/// ```
#[derive(Clone, Default)]
pub struct RotatingSecret(Arc<RwLock<Option<Current>>>);

struct Current {
    secret: Secret,
    expires: Option<Instant>,
}

impl RotatingSecret {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the secret. It is sent for as long as `lifetime` says; without one, until it is
    /// replaced.
    pub fn set(&self, secret: Secret, lifetime: Option<Duration>) {
        let expires = lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime));
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Current { secret, expires });
    }

    /// Fetches secrets and their lifetimes for ever: each when four fifths of the last one's
    /// lifetime are over.
    ///
    /// A fetch that fails, or takes longer than 30 s, is repeated after 1 s, 2 s, 4 s and so on,
    /// up to a minute. The old secret is sent until it expires, and none after that.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the fetch and keeps the secret.
    pub async fn keep_fresh<F, Fut, E>(&self, mut fetch: F) -> Infallible
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(Secret, Duration), E>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match timeout(LONGEST_FETCH, fetch()).await {
                Ok(Ok((secret, lifetime))) => {
                    self.set(secret, Some(lifetime));
                    pause = FIRST_PAUSE;
                    sleep((lifetime / 5 * 4).max(FIRST_PAUSE)).await;
                }
                Ok(Err(_)) | Err(_) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

impl CredentialSource for RotatingSecret {
    fn current(&self) -> Option<Secret> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let current = current.as_ref()?;
        let has_expired = current
            .expires
            .is_some_and(|expires| expires <= Instant::now());
        (!has_expired).then(|| current.secret.clone())
    }
}

impl fmt::Debug for RotatingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RotatingSecret(..)")
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_FETCH: Duration = Duration::from_secs(30);
