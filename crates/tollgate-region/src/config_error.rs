use std::fmt;

use tollgate_core::Region;

use crate::DeploymentType;

/// Why a set of upstreams does not build. Names upstreams, never keys or URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two upstreams have one name.
    DuplicateName {
        /// The name.
        upstream: String,
    },
    /// An API version is not letters, digits, `-` and `.`.
    IllegalApiVersion {
        /// Whose.
        upstream: String,
    },
    /// A deployment's name is empty, too long, `.`, `..`, or holds control characters.
    IllegalDeployment {
        /// Whose.
        upstream: String,
        /// The model that it serves.
        model: String,
    },
    /// A header may not be forwarded, because the gateway sets it, or the connection owns it, or
    /// it holds credentials.
    IllegalHeader {
        /// Its name.
        header: String,
    },
    /// A key is empty or not visible ASCII.
    IllegalKey {
        /// Whose.
        upstream: String,
    },
    /// An upstream's name is empty or not visible ASCII.
    IllegalName {
        /// The name.
        upstream: String,
    },
    /// A URL is not `http://` or `https://`, a host, and perhaps a path.
    IllegalUrl {
        /// Whose.
        upstream: String,
    },
    /// A deployment of this type may be answered outside of the region.
    LeavesRegion {
        /// Whose.
        upstream: String,
        /// The region.
        region: Region,
        /// The type.
        deployment_type: DeploymentType,
    },
    /// An environment variable that should hold a key is unset or empty.
    MissingVariable {
        /// Its name.
        variable: String,
    },
    /// An upstream stands in another region's pool.
    MixedRegions {
        /// Which upstream.
        upstream: String,
        /// The region that it belongs to.
        region: Region,
        /// The region of the pool.
        pool: Region,
    },
    /// An upstream serves no model.
    NoDeployments {
        /// Which.
        upstream: String,
    },
    /// Upstreams of two regions have one URL.
    SharedUrl {
        /// The second upstream.
        upstream: String,
        /// Both regions.
        regions: [Region; 2],
    },
    /// A clock would strike at once.
    ZeroTimeout {
        /// Whose.
        upstream: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateName { upstream } => {
                write!(f, "there are two upstreams named `{upstream}`")
            }
            Self::IllegalApiVersion { upstream } => write!(
                f,
                "the API version of upstream `{upstream}` is not letters, digits, `-` and `.`"
            ),
            Self::IllegalDeployment { upstream, model } => write!(
                f,
                "the deployment of model `{model}` at upstream `{upstream}` has no usable name"
            ),
            Self::IllegalHeader { header } => {
                write!(f, "the header `{header}` may not be forwarded")
            }
            Self::IllegalKey { upstream } => write!(
                f,
                "the key of upstream `{upstream}` is empty or not visible ASCII"
            ),
            Self::IllegalName { upstream } => write!(
                f,
                "the upstream name {upstream:?} is empty or not visible ASCII"
            ),
            Self::IllegalUrl { upstream } => write!(
                f,
                "the URL of upstream `{upstream}` is not http:// or https://, a host without \
                 credentials, and a path"
            ),
            Self::LeavesRegion {
                upstream,
                region,
                deployment_type,
            } => write!(
                f,
                "upstream `{upstream}` is of type {deployment_type}, which leaves region \
                 `{region}`"
            ),
            Self::MissingVariable { variable } => {
                write!(f, "the environment variable {variable:?} is unset or empty")
            }
            Self::MixedRegions {
                upstream,
                region,
                pool,
            } => write!(
                f,
                "upstream `{upstream}` belongs to region `{region}` but stands in the pool of \
                 `{pool}`"
            ),
            Self::NoDeployments { upstream } => {
                write!(f, "upstream `{upstream}` has no deployments")
            }
            Self::SharedUrl {
                upstream,
                regions: [a, b],
            } => write!(
                f,
                "upstream `{upstream}` of region `{b}` has the URL of an upstream of region `{a}`"
            ),
            Self::ZeroTimeout { upstream } => {
                write!(f, "a timeout of upstream `{upstream}` is zero")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
