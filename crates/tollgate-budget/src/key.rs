use std::{borrow::Cow, sync::Arc};

use http::request::Parts;
use tollgate_core::{Fact, Model, Rejection, Workspace};

/// What a budget belongs to: a workspace, and what of that workspace's.
///
/// The two parts are kept apart wherever they go, so no choice of names makes two keys one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    workspace: Cow<'a, str>,
    name: Cow<'a, str>,
}

impl<'a> Key<'a> {
    /// The budget that this workspace has for `name`, by default a model.
    #[must_use]
    pub fn new(workspace: impl Into<Cow<'a, str>>, name: impl Into<Cow<'a, str>>) -> Self {
        Self {
            workspace: workspace.into(),
            name: name.into(),
        }
    }

    /// The same key, with names of its own.
    #[must_use]
    pub fn into_owned(self) -> Key<'static> {
        Key {
            workspace: Cow::Owned(self.workspace.into_owned()),
            name: Cow::Owned(self.name.into_owned()),
        }
    }

    /// The workspace. All windows of one workspace live together, so that they can be charged
    /// together.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// What the workspace is using.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Finds the budget that a request draws on.
///
/// Any `Fn(&Parts) -> Result<Key<'static>, Rejection>` does: a key that borrows from the head is
/// [made its own](Key::into_owned). Never derive a key from what the
/// caller may choose freely: each new name would be a fresh budget.
///
/// ```
/// use http::request::Parts;
/// use tollgate_budget::{BudgetLayer, Key, MemoryStore};
/// use tollgate_core::{Fact, Workspace};
///
/// # fn layer(layer: BudgetLayer<MemoryStore>) {
/// // One budget for each workspace, whatever the model.
/// let layer = layer.key(|head: &Parts| {
///     let workspace = Workspace::require(&head.extensions)?;
///     Ok(Key::new(workspace.as_str(), "all").into_owned())
/// });
/// # drop(layer);
/// # }
/// ```
pub trait FindKey {
    /// The key.
    ///
    /// # Errors
    ///
    /// The refusal of a request that has none, usually [`Rejection::missing_fact`].
    fn find<'h>(&self, head: &'h Parts) -> Result<Key<'h>, Rejection>;
}

impl<F> FindKey for F
where
    F: Fn(&Parts) -> Result<Key<'static>, Rejection>,
{
    fn find<'h>(&self, head: &'h Parts) -> Result<Key<'h>, Rejection> {
        self(head)
    }
}

impl<K: FindKey + ?Sized> FindKey for Arc<K> {
    fn find<'h>(&self, head: &'h Parts) -> Result<Key<'h>, Rejection> {
        (**self).find(head)
    }
}

/// A budget for each workspace and model, from the facts [`Workspace`] and [`Model`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByWorkspaceAndModel;

impl FindKey for ByWorkspaceAndModel {
    fn find<'h>(&self, head: &'h Parts) -> Result<Key<'h>, Rejection> {
        let workspace = Workspace::require(&head.extensions)?;
        let model = Model::require(&head.extensions)?;
        Ok(Key::new(workspace.as_str(), model.as_str()))
    }
}
