use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{Key, Quota};

/// Who may use how much: a default, and what differs by workspace, by model and by both.
///
/// The most specific quota wins whole: a pair's before its workspace's, that before its model's,
/// that before the default. A handle: clones share the limits, and [`replace`](Self::replace)
/// changes them for all while calls go on.
///
/// ```
/// # use std::num::NonZeroU64;
/// use tollgate_budget::{Key, Limits, Quota};
///
/// # let per_minute = |r, t| Quota::per_minute(NonZeroU64::new(r).unwrap(), NonZeroU64::new(t).unwrap());
/// let limits = Limits::new(per_minute(500, 60_000))
///     .model("gpt-4", per_minute(50, 10_000))
///     .workspace("acme", per_minute(1_000, 200_000))
///     .pair("acme", "gpt-4", per_minute(100, 40_000));
/// assert_eq!(limits.quota(&Key::new("acme", "gpt-4")), per_minute(100, 40_000));
/// assert_eq!(limits.quota(&Key::new("acme", "gpt-4o")), per_minute(1_000, 200_000));
/// assert_eq!(limits.quota(&Key::new("other", "gpt-4")), per_minute(50, 10_000));
///
/// let handle = limits.clone();
/// handle.replace(Limits::new(per_minute(5, 600)));
/// assert_eq!(limits.quota(&Key::new("acme", "gpt-4")), per_minute(5, 600));
/// ```
#[derive(Clone)]
pub struct Limits(Arc<RwLock<Table>>);

#[derive(Clone, Debug)]
struct Table {
    default: Quota,
    models: HashMap<Box<str>, Quota>,
    workspaces: HashMap<Box<str>, Workspace>,
}

#[derive(Clone, Debug, Default)]
struct Workspace {
    quota: Option<Quota>,
    models: HashMap<Box<str>, Quota>,
}

impl Limits {
    /// This quota for every workspace and model, each pair on its own.
    #[must_use]
    pub fn new(default: Quota) -> Self {
        Self(Arc::new(RwLock::new(Table {
            default,
            models: HashMap::new(),
            workspaces: HashMap::new(),
        })))
    }

    /// Another quota for each workspace's use of this model.
    #[must_use]
    pub fn model(self, model: impl Into<Box<str>>, quota: Quota) -> Self {
        self.change(|table| table.models.insert(model.into(), quota));
        self
    }

    /// Another quota for each model that this workspace uses.
    #[must_use]
    pub fn workspace(self, workspace: impl Into<Box<str>>, quota: Quota) -> Self {
        self.change(|table| table.of(workspace.into()).quota = Some(quota));
        self
    }

    /// Another quota for this workspace's use of this model.
    #[must_use]
    pub fn pair(
        self,
        workspace: impl Into<Box<str>>,
        model: impl Into<Box<str>>,
        quota: Quota,
    ) -> Self {
        self.change(|table| {
            table
                .of(workspace.into())
                .models
                .insert(model.into(), quota)
        });
        self
    }

    /// Puts other limits in the place of these, for all clones. What was counted stays counted:
    /// the next request is measured by the new limits.
    pub fn replace(&self, other: Self) {
        let table = match Arc::try_unwrap(other.0) {
            Ok(only) => only.into_inner().unwrap_or_else(PoisonError::into_inner),
            Err(shared) => Self(shared).read(Table::clone),
        };
        self.change(|this| *this = table);
    }

    /// The quota of a key.
    #[must_use]
    pub fn quota(&self, key: &Key<'_>) -> Quota {
        self.read(|table| table.quota(key))
    }

    fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Table {
    fn of(&mut self, workspace: Box<str>) -> &mut Workspace {
        self.workspaces.entry(workspace).or_default()
    }

    fn quota(&self, key: &Key<'_>) -> Quota {
        let workspace = find(&self.workspaces, key.workspace());
        workspace
            .and_then(|own| find(&own.models, key.name()).copied().or(own.quota))
            .or_else(|| find(&self.models, key.name()).copied())
            .unwrap_or(self.default)
    }
}

// Most tables are empty, and hashing is not free.
fn find<'m, V>(map: &'m HashMap<Box<str>, V>, name: &str) -> Option<&'m V> {
    if map.is_empty() { None } else { map.get(name) }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|table| f.debug_tuple("Limits").field(table).finish())
    }
}
