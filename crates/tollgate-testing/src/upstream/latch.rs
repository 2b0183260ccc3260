use tokio::sync::watch;

/// Holds up whoever waits at it until it is opened, once and for all.
///
/// Tests open it where others would sleep: a [`Reply`](super::Reply) is held up until the test has
/// seen what it wanted to see. Clones are the same latch.
#[derive(Clone, Debug, Default)]
pub struct Latch(watch::Sender<bool>);

impl Latch {
    /// A closed latch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody pass, from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub(super) async fn opened(self) {
        let mut open = self.0.subscribe();
        // The sender is this latch itself, so that waiting cannot fail.
        let _ = open.wait_for(|open| *open).await;
    }
}
