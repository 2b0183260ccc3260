use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tollgate_core::Region;

use crate::{
    ConfigError, DeploymentStatus, RegionStatus, Upstream,
    choice::Random,
    health::{Breaker, Clock},
    pool::{Pool, RegionShared},
    retry_budget::RetryBudget,
    target::Target,
};

/// The upstreams of all regions, checked. Cloning is cheap; clones share what they have learnt.
///
/// ```
/// use tollgate_region::{Region, Secret, Upstream, Upstreams};
///
/// let eu = Region::new("eu").unwrap();
/// let us = Region::new("us").unwrap();
/// let paris = Upstream::openai("paris", eu.clone(), "https://paris.example/v1", Secret::new("k"))
///     .deployment("gpt-4o", "gpt-4o");
/// let texas = Upstream::openai("texas", us.clone(), "https://texas.example/v1", Secret::new("k"))
///     .deployment("gpt-4o", "gpt-4o");
///
/// // An upstream belongs to one region, whatever pool it is put into.
/// let mixed = Upstreams::builder().pool(eu.clone(), [paris.clone(), texas.clone()]).build();
/// assert_eq!(
///     mixed.unwrap_err().to_string(),
///     "upstream `texas` belongs to region `us` but stands in the pool of `eu`",
/// );
///
/// let upstreams = Upstreams::builder().pool(eu, [paris]).pool(us, [texas]).build().unwrap();
/// assert_eq!(upstreams.status().len(), 2);
/// assert_eq!(upstreams.regions().count(), 2);
/// ```
#[derive(Clone)]
pub struct Upstreams {
    regions: Arc<HashMap<Region, RegionPools>>,
}

struct RegionPools {
    shared: Arc<RegionShared>,
    pools: HashMap<Arc<str>, Arc<Pool>>,
}

impl Upstreams {
    /// Starts with no upstream.
    pub fn builder() -> UpstreamsBuilder {
        UpstreamsBuilder {
            pools: Vec::new(),
            breaker: Breaker::default(),
            cooldown: DEFAULT_COOLDOWN,
            retries: (10, 1, 100),
            seed: RandomState::new().build_hasher().finish(),
            before: None,
        }
    }

    /// The regions that have a pool: those that a [`RegionLayer`](crate::RegionLayer) should know.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.keys()
    }

    /// Every region and model, of these models, that no upstream serves: what a gateway warns of
    /// when it starts. Calls for them are answered with 503.
    #[must_use]
    pub fn unserved<'a>(
        &self,
        models: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<(String, &'a str)> {
        let models: Vec<&str> = models.into_iter().collect();
        let mut unserved = BTreeSet::new();
        for (region, served) in &*self.regions {
            for model in &models {
                if !served.pools.contains_key(*model) {
                    unserved.insert((region.to_string(), *model));
                }
            }
        }
        unserved
    }

    /// The state of every deployment, by region, upstream and model: for metrics and for admins.
    #[must_use]
    pub fn status(&self) -> Vec<DeploymentStatus> {
        let mut all = Vec::new();
        for served in self.regions.values() {
            let now = served.shared.clock.now();
            let targets = served.pools.values().flat_map(|pool| pool.targets());
            all.extend(targets.map(|target| DeploymentStatus::of(target, now)));
        }
        all.sort_by(|a, b| {
            let key = |s: &DeploymentStatus| {
                let region = s.region.to_string();
                (region, Arc::clone(&s.upstream), Arc::clone(&s.model))
            };
            key(a).cmp(&key(b))
        });
        all
    }

    /// What has happened in each region, by name.
    #[must_use]
    pub fn region_status(&self) -> Vec<RegionStatus> {
        let all = self.regions.values();
        let mut all: Vec<_> = all.map(|served| RegionStatus::of(&served.shared)).collect();
        all.sort_by(|a, b| a.region.as_str().cmp(b.region.as_str()));
        all
    }

    pub(crate) fn pool(&self, region: &Region, model: &str) -> Option<&Arc<Pool>> {
        self.regions.get(region)?.pools.get(model)
    }

    /// The deployment that this one takes the place of.
    fn same(&self, target: &Target) -> Option<&Arc<Target>> {
        let pool = self.pool(&target.region, &target.model)?;
        let mut targets = pool.targets();
        targets.find(|same| same.upstream == target.upstream && same.uri == target.uri)
    }

    fn clock(&self) -> Option<Clock> {
        let any = self.regions.values().next()?;
        Some(any.shared.clock)
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstreams")
            .field("regions", &self.regions.keys())
            .finish_non_exhaustive()
    }
}

/// Collects [`Upstreams`], by region.
#[derive(Clone, Debug)]
#[must_use = "nothing is checked before `build`"]
pub struct UpstreamsBuilder {
    pools: Vec<(Region, Vec<Upstream>)>,
    breaker: Breaker,
    cooldown: Duration,
    retries: (u32, u32, u32),
    seed: u64,
    before: Option<Upstreams>,
}

impl UpstreamsBuilder {
    /// Adds these upstreams to a region.
    pub fn pool(mut self, region: Region, upstreams: impl IntoIterator<Item = Upstream>) -> Self {
        self.pools.push((region, upstreams.into_iter().collect()));
        self
    }

    /// Opens a deployment's breaker after so many failures in a row, for `pause`. Then one call
    /// at a time finds out whether it is back. Default: 5 failures, 5 s. Zero counts as one.
    ///
    /// A breaker moves calls elsewhere. Where there is nowhere else, a call's first attempt is made
    /// in spite of it, by at most 16 calls at a time; the first that is answered closes it.
    pub fn breaker(mut self, failures: u32, pause: Duration) -> Self {
        self.breaker = Breaker {
            failures: failures.max(1),
            pause,
        };
        self
    }

    /// Leaves a deployment alone for at least so long after it has answered 429; its own
    /// `retry-after` counts if it is longer. Default: 5 s.
    pub const fn cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Bounds further attempts, over all callers of a region: to `percent` of the calls, or to
    /// `per_second` where calls are fewer. What is not used is saved up: what calls have earned, up
    /// to `burst`; of what comes by itself, which is there from the beginning, no more than ten.
    /// Default: 10 %, 1, 100.
    pub const fn retries(mut self, percent: u32, per_second: u32, burst: u32) -> Self {
        self.retries = (percent, per_second, burst);
        self
    }

    /// Makes the choices among upstreams repeatable, for tests. Default: random.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Goes on from a set that these upstreams replace, for instance when a configuration is read
    /// again: deployments whose region, upstream, model and address stay keep their breaker, their
    /// rest, their calls under way and their counts, and regions their counts and what is left of
    /// their retries.
    pub fn following(mut self, before: &Upstreams) -> Self {
        self.before = Some(before.clone());
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    ///
    /// The first upstream that is not sound by itself, stands in another region's pool, has a
    /// name that is taken, or shares its address with an upstream of another region.
    pub fn build(self) -> Result<Upstreams, ConfigError> {
        let before = self.before.as_ref();
        let clock = before.and_then(Upstreams::clock);
        let clock = clock.unwrap_or_else(Clock::start);
        let mut names = HashSet::new();
        let mut places: HashMap<String, Region> = HashMap::new();
        let mut targets: HashMap<Region, HashMap<Arc<str>, Vec<Arc<Target>>>> = HashMap::new();
        for (region, upstreams) in &self.pools {
            let by_model = targets.entry(region.clone()).or_default();
            for upstream in upstreams {
                if upstream.region() != region {
                    return Err(ConfigError::MixedRegions {
                        upstream: upstream.name().to_owned(),
                        region: upstream.region().clone(),
                        pool: region.clone(),
                    });
                }
                if !names.insert(upstream.name()) {
                    return Err(ConfigError::DuplicateName {
                        upstream: upstream.name().to_owned(),
                    });
                }
                for (model, mut target) in upstream.targets()? {
                    let same = before.and_then(|before| before.same(&target));
                    if let Some(same) = same {
                        target.health = Arc::clone(&same.health);
                    }
                    let pool = by_model.entry(model.into()).or_default();
                    pool.push(Arc::new(target));
                }
                let owner = upstream.place().map(|place| {
                    let owner = places.entry(place).or_insert_with(|| region.clone());
                    owner.clone()
                });
                if let Some(owner) = owner.filter(|owner| owner != region) {
                    return Err(ConfigError::SharedUrl {
                        upstream: upstream.name().to_owned(),
                        regions: [owner, region.clone()],
                    });
                }
            }
        }
        let regions = targets.into_iter().map(|(region, by_model)| {
            let (percent, per_second, burst) = self.retries;
            let same = before.and_then(|before| before.regions.get(&region));
            let tally = same.map(|same| Arc::clone(&same.shared.tally));
            let tally = tally.unwrap_or_default();
            let calls = tally.calls.load(Relaxed);
            let mut retries = RetryBudget::new(percent, per_second, burst, calls);
            if let Some(same) = same {
                retries = retries.following(&same.shared.retries);
            }
            let shared = Arc::new(RegionShared {
                region: region.clone(),
                clock,
                breaker: self.breaker,
                cooldown: self.cooldown,
                retries,
                random: Random::new(self.seed),
                tally,
            });
            let pools = by_model.into_iter().map(|(model, targets)| {
                let pool = Pool::new(targets, Arc::clone(&shared));
                (model, Arc::new(pool))
            });
            let pools = pools.collect();
            (region, RegionPools { shared, pools })
        });
        Ok(Upstreams {
            regions: Arc::new(regions.collect()),
        })
    }
}

const DEFAULT_COOLDOWN: Duration = Duration::from_secs(5);
