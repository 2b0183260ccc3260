use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use tollgate_core::{Model, Workspace};

use crate::ConfigError;

/// The models that are served, the names that lead to them, and who may use which.
///
/// Cloning is cheap. See the [crate docs](crate) for examples.
#[derive(Clone)]
pub struct Models(Arc<Inner>);

struct Inner {
    /// Every full name, models and aliases, folded if case does not matter.
    names: HashMap<Arc<str>, Resolved>,
    /// Aliases that end in `*`, without it, the longest first.
    patterns: Vec<(Arc<str>, Resolved)>,
    /// Full names as configured, in that order.
    listed: Vec<Arc<str>>,
    /// The names of the models that a workspace may use.
    allowed: HashMap<Workspace, HashSet<Arc<str>>>,
    unlisted_may: bool,
    ignore_case: bool,
}

#[derive(Clone)]
pub(crate) struct Resolved {
    pub(crate) model: Model,
    /// The model's name as a JSON string.
    pub(crate) json: Bytes,
}

impl Models {
    /// Starts an empty set of models.
    pub fn builder() -> ModelsBuilder {
        ModelsBuilder {
            models: Vec::new(),
            aliases: Vec::new(),
            allowed: Vec::new(),
            unlisted_may: true,
            ignore_case: false,
        }
    }

    /// The model of this name, if it exists and the workspace may use it.
    ///
    /// `None` for the workspace is nobody: as soon as any workspace has a list, or if only listed
    /// workspaces may use models, nobody may use any.
    #[must_use]
    pub fn resolve(&self, name: &str, workspace: Option<&Workspace>) -> Option<&Model> {
        self.find(name, workspace).map(|resolved| &resolved.model)
    }

    /// The full names that the workspace may use, aliases included, in the order of configuration
    /// (models first), with the model that each leads to.
    pub fn names(&self, workspace: Option<&Workspace>) -> impl Iterator<Item = (&str, &Model)> {
        self.0.listed.iter().filter_map(move |name| {
            let model = self.resolve(name, workspace)?;
            Some((&**name, model))
        })
    }

    /// Whether who is calling matters.
    pub(crate) fn need_workspace(&self) -> bool {
        !self.0.allowed.is_empty() || !self.0.unlisted_may
    }

    pub(crate) fn find(&self, name: &str, workspace: Option<&Workspace>) -> Option<&Resolved> {
        let resolved = self.lookup(name)?;
        self.may_use(workspace, &resolved.model).then_some(resolved)
    }

    fn lookup(&self, name: &str) -> Option<&Resolved> {
        let Inner {
            names, patterns, ..
        } = &*self.0;
        let folded;
        let name = if self.0.ignore_case && name.bytes().any(|b| b.is_ascii_uppercase()) {
            folded = name.to_ascii_lowercase();
            &folded
        } else {
            name
        };
        names.get(name).or_else(|| {
            let (_, resolved) = patterns
                .iter()
                .find(|(prefix, _)| name.starts_with(&**prefix))?;
            Some(resolved)
        })
    }

    fn may_use(&self, workspace: Option<&Workspace>, model: &Model) -> bool {
        match workspace.map(|workspace| self.0.allowed.get(workspace)) {
            Some(Some(list)) => list.contains(model.name()),
            Some(None) => self.0.unlisted_may,
            None => !self.need_workspace(),
        }
    }
}

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Models")
            .field("names", &self.0.listed)
            .finish_non_exhaustive()
    }
}

/// Collects [`Models`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ModelsBuilder {
    models: Vec<Model>,
    aliases: Vec<(Arc<str>, Arc<str>)>,
    allowed: Vec<(Workspace, Vec<Arc<str>>)>,
    unlisted_may: bool,
    ignore_case: bool,
}

impl ModelsBuilder {
    /// Adds a model under its own name.
    pub fn model(mut self, model: Model) -> Self {
        self.models.push(model);
        self
    }

    /// Adds another name for a model, or for another alias.
    ///
    /// An alias that ends in `*` stands for every name with that beginning that has no meaning of
    /// its own; of several the longest counts. It is not listed.
    pub fn alias(mut self, alias: impl Into<Arc<str>>, target: impl Into<Arc<str>>) -> Self {
        self.aliases.push((alias.into(), target.into()));
        self
    }

    /// Lets the workspace use these models and no others, under all of their names.
    ///
    /// A name is a model's, an alias, or a beginning followed by `*`, which covers every
    /// configured name that begins so. Called again for the same workspace it adds to the list; an
    /// empty list allows nothing.
    pub fn allow<N: Into<Arc<str>>>(
        mut self,
        workspace: Workspace,
        names: impl IntoIterator<Item = N>,
    ) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.allowed.push((workspace, names));
        self
    }

    /// Lets workspaces without a list use nothing. By default they may use every model.
    pub fn only_listed_workspaces(mut self) -> Self {
        self.unlisted_may = false;
        self
    }

    /// Takes `GPT-4o` for `gpt-4o`. By default names are compared byte for byte, as OpenAI does.
    pub fn ignore_ascii_case(mut self) -> Self {
        self.ignore_case = true;
        self
    }

    /// The finished set.
    ///
    /// # Errors
    ///
    /// If a name is illegal or given twice, an alias leads nowhere or in a circle, or an
    /// allow-list names what does not exist.
    pub fn build(self) -> Result<Models, ConfigError> {
        let mut inner = Inner {
            names: HashMap::new(),
            patterns: Vec::new(),
            listed: Vec::new(),
            allowed: HashMap::new(),
            unlisted_may: self.unlisted_may,
            ignore_case: self.ignore_case,
        };
        for model in &self.models {
            let name = model.name();
            if name.is_empty() || name.contains('*') {
                let name = Arc::clone(name);
                return Err(ConfigError::IllegalName { name });
            }
            let json = serde_json::Value::from(&**name).to_string().into();
            let model = model.clone();
            self.insert(&mut inner, name, Resolved { model, json })?;
        }
        let targets = self.targets()?;
        for (alias, _) in &self.aliases {
            let model = self.follow(alias, &targets)?;
            let resolved = inner.names[&self.folded(model.name())].clone();
            self.insert(&mut inner, alias, resolved)?;
        }
        inner
            .patterns
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        for (workspace, names) in &self.allowed {
            let mut list = inner.allowed.remove(workspace).unwrap_or_default();
            for name in names {
                let mut covered = self.covered(&inner, name)?.peekable();
                if covered.peek().is_none() {
                    return Err(ConfigError::UnknownModel {
                        workspace: workspace.clone(),
                        name: Arc::clone(name),
                    });
                }
                list.extend(covered);
            }
            inner.allowed.insert(workspace.clone(), list);
        }
        Ok(Models(Arc::new(inner)))
    }

    fn insert(
        &self,
        inner: &mut Inner,
        name: &Arc<str>,
        resolved: Resolved,
    ) -> Result<(), ConfigError> {
        let key = self.folded(name);
        let duplicate = match prefix_of(&key)? {
            Some(prefix) => {
                let taken = inner.patterns.iter().any(|(other, _)| **other == *prefix);
                inner.patterns.push((prefix.into(), resolved));
                taken
            }
            None => {
                inner.listed.push(Arc::clone(name));
                inner.names.insert(key, resolved).is_some()
            }
        };
        if duplicate {
            let name = Arc::clone(name);
            return Err(ConfigError::Duplicate { name });
        }
        Ok(())
    }

    /// Where each alias leads in one step.
    fn targets(&self) -> Result<HashMap<Arc<str>, &Arc<str>>, ConfigError> {
        let mut targets = HashMap::new();
        for (alias, target) in &self.aliases {
            if targets.insert(self.folded(alias), target).is_some() {
                let name = Arc::clone(alias);
                return Err(ConfigError::Duplicate { name });
            }
        }
        Ok(targets)
    }

    /// The model that an alias leads to in the end.
    fn follow(
        &self,
        alias: &Arc<str>,
        targets: &HashMap<Arc<str>, &Arc<str>>,
    ) -> Result<&Model, ConfigError> {
        let mut at = alias;
        // A path that visits no alias twice is no longer than there are aliases.
        for _ in 0..targets.len() {
            let Some(target) = targets.get(&self.folded(at)) else {
                break;
            };
            let wanted = self.folded(target);
            let mut models = self.models.iter();
            if let Some(model) = models.find(|model| self.folded(model.name()) == wanted) {
                return Ok(model);
            }
            if !targets.contains_key(&wanted) {
                return Err(ConfigError::UnknownTarget {
                    alias: Arc::clone(at),
                    target: Arc::clone(target),
                });
            }
            at = target;
        }
        let alias = Arc::clone(alias);
        Err(ConfigError::AliasCycle { alias })
    }

    /// The names of the models that an entry of an allow-list covers.
    fn covered<'a>(
        &self,
        inner: &'a Inner,
        name: &Arc<str>,
    ) -> Result<impl Iterator<Item = Arc<str>> + 'a, ConfigError> {
        let key = self.folded(name);
        let prefix: Option<Arc<str>> = prefix_of(&key)?.map(Into::into);
        let covers = move |name: &str| match &prefix {
            Some(prefix) => name.starts_with(&**prefix),
            None => *name == *key,
        };
        let covered = inner.names.iter().filter(move |(name, _)| covers(name));
        Ok(covered.map(|(_, resolved)| Arc::clone(resolved.model.name())))
    }

    fn folded(&self, name: &Arc<str>) -> Arc<str> {
        if self.ignore_case {
            name.to_ascii_lowercase().into()
        } else {
            Arc::clone(name)
        }
    }
}

/// What stands before the `*` of a pattern; `None` if the name is no pattern.
fn prefix_of(name: &Arc<str>) -> Result<Option<&str>, ConfigError> {
    let prefix = name.strip_suffix('*');
    if name.is_empty() || prefix.unwrap_or(name).contains('*') {
        let name = Arc::clone(name);
        return Err(ConfigError::IllegalName { name });
    }
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> ModelsBuilder {
        Models::builder()
            .model(Model::new("gpt-4o"))
            .model(Model::new("gpt-4o-mini"))
            .model(Model::new("gpt-35-turbo"))
    }

    fn resolved<'a>(models: &'a Models, name: &str) -> Option<&'a str> {
        models.resolve(name, None).map(Model::as_str)
    }

    #[test]
    fn names_are_compared_byte_for_byte() {
        let models = builder().build().unwrap();
        assert_eq!(resolved(&models, "gpt-4o"), Some("gpt-4o"));
        for other in ["GPT-4o", "gpt-4o ", "gpt-4", "", "gpt-4o-mini-", "*"] {
            assert_eq!(resolved(&models, other), None, "{other:?}");
        }
    }

    #[test]
    fn case_may_be_ignored() {
        let models = builder()
            .alias("Fast", "GPT-4o-Mini")
            .ignore_ascii_case()
            .build()
            .unwrap();
        assert_eq!(resolved(&models, "GPT-4O"), Some("gpt-4o"));
        assert_eq!(resolved(&models, "fAST"), Some("gpt-4o-mini"));
        let names: Vec<_> = models.names(None).map(|(name, _)| name).collect();
        assert_eq!(names, ["gpt-4o", "gpt-4o-mini", "gpt-35-turbo", "Fast"]);
    }

    #[test]
    fn aliases_may_be_chained_in_any_order() {
        let models = builder()
            .alias("a", "b")
            .alias("b", "c")
            .alias("c", "gpt-4o")
            .build()
            .unwrap();
        for alias in ["a", "b", "c"] {
            assert_eq!(resolved(&models, alias), Some("gpt-4o"));
        }
    }

    #[test]
    fn the_longest_pattern_counts_and_names_come_first() {
        let models = builder()
            .alias("*", "gpt-35-turbo")
            .alias("gpt-4o-*", "gpt-4o")
            .build()
            .unwrap();
        assert_eq!(resolved(&models, "gpt-4o-2024-08-06"), Some("gpt-4o"));
        assert_eq!(resolved(&models, "gpt-4o-mini"), Some("gpt-4o-mini"));
        assert_eq!(resolved(&models, "anything"), Some("gpt-35-turbo"));
    }

    #[test]
    fn cycles_do_not_build() {
        for (cycle, on) in [
            (&[("a", "a")][..], "a"),
            (&[("a", "b"), ("b", "a")], "a"),
            (&[("x", "a"), ("a", "b"), ("b", "c"), ("c", "a")], "x"),
        ] {
            let builder = cycle
                .iter()
                .fold(builder(), |b, (alias, target)| b.alias(*alias, *target));
            let error = builder.build().unwrap_err();
            assert_eq!(error, ConfigError::AliasCycle { alias: on.into() });
        }
        let folded = builder().alias("A", "b").alias("B", "a");
        assert!(folded.clone().build().is_err());
        assert_eq!(
            folded.ignore_ascii_case().build().unwrap_err().to_string(),
            "the alias \"A\" leads back to itself"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let duplicate = |name: &str| ConfigError::Duplicate { name: name.into() };
        let illegal = |name: &str| ConfigError::IllegalName { name: name.into() };
        let unknown = |alias: &str, target: &str| ConfigError::UnknownTarget {
            alias: alias.into(),
            target: target.into(),
        };
        let acme = Workspace::new("acme");
        let not_there = |name: &str| ConfigError::UnknownModel {
            workspace: Workspace::new("acme"),
            name: name.into(),
        };
        for (builder, error) in [
            (builder().model(Model::new("gpt-4o")), duplicate("gpt-4o")),
            (
                builder().alias("gpt-4o", "gpt-4o-mini"),
                duplicate("gpt-4o"),
            ),
            (
                builder().alias("a", "gpt-4o").alias("a", "gpt-4o"),
                duplicate("a"),
            ),
            (
                builder().alias("a*", "gpt-4o").alias("a*", "gpt-4o"),
                duplicate("a*"),
            ),
            (builder().model(Model::new("")), illegal("")),
            (builder().model(Model::new("a*")), illegal("a*")),
            (builder().alias("", "gpt-4o"), illegal("")),
            (builder().alias("a*b", "gpt-4o"), illegal("a*b")),
            (builder().alias("a", "nothing"), unknown("a", "nothing")),
            (
                builder().alias("a", "b").alias("b", "gpt-*"),
                unknown("b", "gpt-*"),
            ),
            (builder().allow(acme.clone(), ["gpt-9"]), not_there("gpt-9")),
            (builder().allow(acme.clone(), ["o1*"]), not_there("o1*")),
            (builder().allow(acme.clone(), ["*-mini"]), illegal("*-mini")),
        ] {
            assert_eq!(builder.build().unwrap_err(), error);
        }
    }

    #[test]
    fn a_list_covers_models_under_all_their_names() {
        let [acme, globex, other] = ["acme", "globex", "other"].map(Workspace::new);
        let models = builder()
            .alias("gpt-3.5-turbo", "gpt-35-turbo")
            .alias("best", "gpt-4o")
            .allow(acme.clone(), ["gpt-3.5-turbo"])
            .allow(acme.clone(), ["gpt-4o-*"])
            .allow(globex.clone(), [] as [&str; 0])
            .build()
            .unwrap();
        let names = |workspace: Option<&Workspace>| {
            let names = models.names(workspace).map(|(name, _)| name.to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(
            names(Some(&acme)),
            ["gpt-4o-mini", "gpt-35-turbo", "gpt-3.5-turbo"]
        );
        assert_eq!(names(Some(&globex)), [] as [&str; 0]);
        assert_eq!(names(Some(&other)).len(), 5);
        assert_eq!(names(None), [] as [&str; 0]);
        assert!(models.resolve("best", Some(&acme)).is_none());
    }

    #[test]
    fn the_unlisted_may_be_left_outside() {
        let models = builder().only_listed_workspaces().build().unwrap();
        let anyone = Workspace::new("anyone");
        assert!(models.resolve("gpt-4o", Some(&anyone)).is_none());
        assert!(models.resolve("gpt-4o", None).is_none());
    }
}
