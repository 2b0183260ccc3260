use std::{fmt, sync::Arc};

use http::request::Parts;
use tollgate_core::{
    Always, DefaultRender, Gate, GateLayer, Gated, Matcher, Region, Rejection, RejectionKind,
    Render,
};
use tower_layer::Layer;

/// Says in which region a request must be answered, from its head alone.
///
/// Any `Fn(&Parts) -> Option<Region>` or `Fn(&Parts) -> Result<Region, Rejection>` will do, and an
/// `Arc` of a rule; [`PathRegions`] is the default. Decide by what the client cannot choose against its own interest: the path, the
/// credential, the listener. Never by a header or a query.
pub trait FindRegion {
    /// The request's region.
    ///
    /// # Errors
    ///
    /// The refusal, which becomes the answer.
    fn region(&self, head: &Parts) -> Result<Region, Rejection>;
}

impl<F, T> FindRegion for F
where
    F: Fn(&Parts) -> T,
    T: FoundRegion,
{
    fn region(&self, head: &Parts) -> Result<Region, Rejection> {
        self(head).found()
    }
}

impl<F: FindRegion + ?Sized> FindRegion for Arc<F> {
    fn region(&self, head: &Parts) -> Result<Region, Rejection> {
        (**self).region(head)
    }
}

/// What a closure that is a [`FindRegion`] returns.
pub trait FoundRegion {
    /// The region, or why there is none.
    ///
    /// # Errors
    ///
    /// The refusal; that of `None` is [`RejectionKind::NotFound`], because paths are what names
    /// regions by default.
    fn found(self) -> Result<Region, Rejection>;
}

impl FoundRegion for Option<Region> {
    fn found(self) -> Result<Region, Rejection> {
        self.ok_or_else(|| Rejection::new(RejectionKind::NotFound))
    }
}

impl FoundRegion for Result<Region, Rejection> {
    fn found(self) -> Result<Region, Rejection> {
        self
    }
}

/// Publishes the fact [`Region`], or answers 404 or what the rule says. See the [crate docs](crate) for an example.
///
/// # Other sources than the path
///
/// A router that has taken the region off the path already, for instance one `nest` for each
/// region, wraps each of its services with a constant:
///
/// ```
/// # use tollgate_region::{Region, RegionLayer};
/// # use http::request::Parts;
/// let eu = Region::new("eu").unwrap();
/// let layer = RegionLayer::with(move |_: &Parts| Some(eu.clone()));
/// ```
///
/// Where the region belongs to the customer, put the layer inside `ApiKeyLayer` and look at the
/// workspace. `None` is the 404 of a path that nobody serves, to a gRPC client `UNIMPLEMENTED`; here
/// there is a better answer:
///
/// ```
/// # use tollgate_region::{Region, RegionLayer};
/// # use http::request::Parts;
/// use tollgate_core::{Fact, Rejection, RejectionKind, Workspace};
///
/// let eu = Region::new("eu").unwrap();
/// let layer = RegionLayer::with(move |head: &Parts| {
///     match Workspace::require(&head.extensions)?.as_str() {
///         "acme" => Ok(eu.clone()),
///         _ => Err(Rejection::new(RejectionKind::PermissionDenied)),
///     }
/// });
/// ```
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct RegionLayer<F = PathRegions, M = Always, R = DefaultRender> {
    find: F,
    matcher: M,
    render: R,
}

impl RegionLayer {
    /// Takes the region from the path, which must begin with `/openai/{region}/v1/` for one of
    /// these regions.
    pub fn new(regions: impl IntoIterator<Item = Region>) -> Self {
        Self::with(PathRegions::new(regions))
    }

    /// Answers paths that begin with `/v1/` in this region. Without it they are 404.
    pub fn default_region(mut self, region: Region) -> Self {
        self.find.default = Some(region);
        self
    }
}

impl<F: FindRegion> RegionLayer<F> {
    /// Asks `find`, which is cloned with each service and should be cheap to clone.
    pub fn with(find: F) -> Self {
        Self {
            find,
            matcher: Always::default(),
            render: DefaultRender::default(),
        }
    }
}

impl<F, M, R> RegionLayer<F, M, R> {
    /// Decides only on requests that match; others pass untouched, without a [`Region`].
    pub fn when<M2: Matcher>(self, matcher: M2) -> RegionLayer<F, M2, R> {
        RegionLayer {
            find: self.find,
            matcher,
            render: self.render,
        }
    }

    /// Renders refusals with `render` in place of [`DefaultRender`].
    pub fn render<R2: Render>(self, render: R2) -> RegionLayer<F, M, R2> {
        RegionLayer {
            find: self.find,
            matcher: self.matcher,
            render,
        }
    }
}

impl<S, F, M, R> Layer<S> for RegionLayer<F, M, R>
where
    F: FindRegion + Clone,
    M: Matcher + Clone,
    R: Render + Clone,
{
    type Service = Gated<S, RegionGate<F>, M, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let find = self.find.clone();
        GateLayer::new(RegionGate { find })
            .when(self.matcher.clone())
            .render(self.render.clone())
            .layer(inner)
    }
}

impl<F, M, R> fmt::Debug for RegionLayer<F, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionLayer").finish_non_exhaustive()
    }
}

/// The decision that [`RegionLayer`] puts in front of a service.
#[derive(Clone, Copy, Debug)]
pub struct RegionGate<F> {
    find: F,
}

impl<F: FindRegion> Gate for RegionGate<F> {
    fn admit(&self, head: &mut Parts) -> Result<(), Rejection> {
        let region = self.find.region(head)?;
        head.extensions.insert(region);
        Ok(())
    }
}

/// The region in a path that begins with `/openai/{region}/v1/`.
///
/// Names are compared byte by byte: another case, a percent-encoding or a doubled slash is another
/// path, and unknown. So is a path that any reader could shorten, because it has `.` or `..` for a
/// segment.
#[derive(Clone, Debug)]
pub struct PathRegions {
    regions: Arc<[Region]>,
    default: Option<Region>,
}

impl PathRegions {
    /// Knows these regions and no other.
    pub fn new(regions: impl IntoIterator<Item = Region>) -> Self {
        Self {
            regions: regions.into_iter().collect(),
            default: None,
        }
    }
}

impl FindRegion for PathRegions {
    fn region(&self, head: &Parts) -> Result<Region, Rejection> {
        self.named(head.uri.path()).found()
    }
}

impl PathRegions {
    fn named(&self, path: &str) -> Option<Region> {
        let path = path.strip_prefix('/')?;
        if path.split('/').any(is_dots) {
            return None;
        }
        if path.starts_with("v1/") {
            return self.default.clone();
        }
        let (name, rest) = path.strip_prefix("openai/")?.split_once('/')?;
        rest.strip_prefix("v1/")?;
        let mut regions = self.regions.iter();
        regions.find(|region| region.as_str() == name).cloned()
    }
}

/// Whether a segment is `.` or `..`, in whatever spelling (RFC 3986, sections 2.4 and 5.2.4).
fn is_dots(segment: &str) -> bool {
    let mut rest = segment;
    for _ in 0..2 {
        for dot in [".", "%2e", "%2E"] {
            if let Some(shorter) = rest.strip_prefix(dot) {
                rest = shorter;
                break;
            }
        }
    }
    rest.is_empty() && !segment.is_empty()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn region(find: &impl FindRegion, path: &str) -> Option<String> {
        let request = Request::builder().uri(path).body(()).unwrap();
        let region = find.region(&request.into_parts().0);
        region.map(|region| region.to_string()).ok()
    }

    fn paths() -> PathRegions {
        PathRegions::new(["eu", "us"].map(|name| Region::new(name).unwrap()))
    }

    #[test]
    fn a_path_names_its_region() {
        for (path, name) in [
            ("/openai/eu/v1/chat/completions", "eu"),
            ("/openai/us/v1/models", "us"),
            ("/openai/us/v1/models/eu", "us"),
            ("/openai/eu/v1/x?region=us&r=/openai/us/v1/x", "eu"),
            ("http://us.example.com/openai/eu/v1/x", "eu"),
        ] {
            assert_eq!(region(&paths(), path).as_deref(), Some(name), "{path}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        // Whatever a path says, the region is its second segment, letter by letter.
        #[test]
        fn a_path_names_one_region_or_none(
            path in "(/openai/(eu|us)/v1)?(/(openai|eu|us|v1|EU|[.]{1,3}|%2[eEfF]|e%75|[a-z]{0,2}|[!-~&&[^?#]]{0,3})){1,8}",
        ) {
            let Ok(request) = Request::builder().uri(&path).body(()) else { return Ok(()) };
            let found = paths().region(&request.into_parts().0).ok();
            let segments: Vec<_> = path.split('/').collect();
            let named = match segments[..] {
                ["", "openai", name @ ("eu" | "us"), "v1", _, ..] => Some(name),
                _ => None,
            };
            let goes_up = segments.iter().any(|segment| {
                let plain = segment.replace("%2e", ".").replace("%2E", ".");
                plain == "." || plain == ".."
            });
            let expected = named.filter(|_| !goes_up);
            prop_assert_eq!(found.as_ref().map(Region::as_str), expected, "{}", path);
        }
    }

    #[test]
    fn every_other_spelling_is_unknown() {
        for path in [
            "/",
            "/openai/eu",
            "/openai/eu/",
            "/openai/eu/v1",
            "/openai/ch/v1/x",
            "/openai/EU/v1/x",
            "/OPENAI/eu/v1/x",
            "/openai/e%75/v1/x",
            "/openai/eu%2fv1/x",
            "//openai/eu/v1/x",
            "/openai//eu/v1/x",
            "/openai/eu//v1/x",
            "/openai/us/../eu/v1/x",
            "/openai/eu/v1/../../us/v1/x",
            "/openai/eu/v1/%2e%2E/%2E./us/v1/x",
            "/openai/eu/v1/./x",
            "/openai/eu,us/v1/x",
            "/openai/eu;us/v1/x",
            "/openai/169.254.169.254/v1/x",
            "/openai/@evil.example/v1/x",
            "/v1/chat/completions",
        ] {
            assert_eq!(region(&paths(), path), None, "{path}");
        }
    }

    #[test]
    fn a_default_serves_paths_without_a_region() {
        let layer = RegionLayer::with(paths()).default_region(Region::new("eu").unwrap());
        let expected = Some("eu");
        assert_eq!(region(&layer.find, "/v1/models").as_deref(), expected);
        assert_eq!(region(&layer.find, "/v1"), None);
        assert_eq!(region(&layer.find, "/openai/v1/models"), None);
    }

    #[test]
    fn a_shared_rule_is_a_rule() {
        let find: Arc<dyn FindRegion> = Arc::new(paths());
        assert_eq!(region(&find, "/openai/us/v1/x").as_deref(), Some("us"));
        assert_eq!(region(&find, "/openai/ch/v1/x"), None);
    }

    #[test]
    fn a_rule_may_say_why_not() {
        let head = Request::new(()).into_parts().0;
        let kind = |find: &dyn FindRegion| find.region(&head).unwrap_err().kind();
        assert_eq!(kind(&|_: &Parts| None), RejectionKind::NotFound);
        let forbids = |_: &Parts| -> Result<Region, Rejection> {
            Err(Rejection::new(RejectionKind::PermissionDenied))
        };
        assert_eq!(kind(&forbids), RejectionKind::PermissionDenied);
    }

    #[test]
    fn three_dots_are_a_name() {
        assert!(!is_dots("..."));
        assert!(!is_dots(""));
        assert!(!is_dots("%2e.".repeat(2).as_str()));
    }
}
