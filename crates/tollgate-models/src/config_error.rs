use std::{fmt, sync::Arc};

use tollgate_core::Workspace;

/// Why a set of [`Models`](crate::Models) does not build.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// An alias leads back to itself.
    AliasCycle {
        /// An alias on the cycle.
        alias: Arc<str>,
    },
    /// A name is given to two models or aliases.
    Duplicate {
        /// The name.
        name: Arc<str>,
    },
    /// A name is empty, or has a `*` where none may stand: in a model's name, or before the end of
    /// a pattern.
    IllegalName {
        /// The name.
        name: Arc<str>,
    },
    /// An allow-list names, or its pattern covers, nothing that is configured.
    UnknownModel {
        /// Whose list.
        workspace: Workspace,
        /// The name or pattern.
        name: Arc<str>,
    },
    /// An alias leads to nothing that is configured.
    UnknownTarget {
        /// The alias.
        alias: Arc<str>,
        /// Where it leads.
        target: Arc<str>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AliasCycle { alias } => write!(f, "the alias {alias:?} leads back to itself"),
            Self::Duplicate { name } => write!(f, "the model name {name:?} is given twice"),
            Self::IllegalName { name } => write!(
                f,
                "the model name {name:?} is empty or has a `*` where none may stand"
            ),
            Self::UnknownModel { workspace, name } => write!(
                f,
                "the allow-list of {workspace} has {name:?}, which matches no configured model"
            ),
            Self::UnknownTarget { alias, target } => write!(
                f,
                "the alias {alias:?} leads to {target:?}, which is not configured"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}
