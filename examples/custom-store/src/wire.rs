//! What gateways and the counter say to each other: lines of JSON over one connection, with one
//! answer to each charge, in order.

use std::{num::NonZeroU64, time::Duration};

use serde::{Deserialize, Serialize};
use tollgate::budget::{
    Charge, Decision, Denial, Dimension, Limit, Span, Standing, Standings, Units, WindowSpec,
};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The gateway's name for the reservation, which is settled by that name.
    pub(crate) id: u64,
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    /// What to charge. Nothing: the reservation is to be settled, and there is no answer.
    pub(crate) charge: Option<Target>,
}

/// The windows of one workspace.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) workspace: String,
    windows: Vec<Window>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Window {
    name: String,
    is_second: bool,
    requests: Option<NonZeroU64>,
    tokens: Option<NonZeroU64>,
}

impl Target {
    pub(crate) fn of(charge: &Charge<'_>) -> Self {
        let window = |window: &WindowSpec<'_>| Window {
            // No scope holds a NUL, so no two windows get one name.
            name: format!("{}\0{}", window.scope, window.name),
            is_second: window.span == Span::Second,
            requests: window.limit.requests,
            tokens: window.limit.tokens,
        };
        Self {
            workspace: charge.workspace.to_owned(),
            windows: charge.windows.iter().map(window).collect(),
        }
    }

    pub(crate) fn windows(&self) -> Vec<WindowSpec<'_>> {
        let windows = self.windows.iter().map(|window| {
            let span = [Span::Minute, Span::Second][usize::from(window.is_second)];
            let (requests, tokens) = (window.requests, window.tokens);
            WindowSpec::new("", &window.name, span, Limit { requests, tokens })
        });
        windows.collect()
    }
}

impl Ask {
    pub(crate) fn units(&self) -> Units {
        Units::new(self.requests, self.tokens)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Limit, remaining and reset, of requests and of tokens.
    standings: [Option<(u64, u64, Duration)>; 2],
    /// Nothing if the charge was granted.
    denied: Option<Denied>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Denied {
    window: usize,
    is_tokens: bool,
    used: u64,
    limit: u64,
    retry: Option<Duration>,
    spread: Duration,
}

impl Answer {
    pub(crate) fn of<H>(decision: &Decision<H>) -> Self {
        let (standings, denial) = match decision {
            Decision::Granted { standings, .. } => (standings, None),
            Decision::Denied(denial) => (&denial.standings, Some(denial)),
        };
        let standing = |standing: Standing| (standing.limit, standing.remaining, standing.reset);
        Self {
            standings: Dimension::ALL.map(|dimension| standings.of(dimension).map(standing)),
            denied: denial.map(|denial| Denied {
                window: denial.window,
                is_tokens: denial.dimension == Dimension::Tokens,
                used: denial.used,
                limit: denial.limit,
                retry: denial.retry,
                spread: denial.spread,
            }),
        }
    }

    pub(crate) fn decision<H>(self, held: impl FnOnce() -> H) -> Decision<H> {
        let mut standings = Standings::default();
        for (dimension, standing) in Dimension::ALL.into_iter().zip(self.standings) {
            if let Some((limit, remaining, reset)) = standing {
                standings.note(dimension, Standing::new(limit, remaining, reset));
            }
        }
        let Some(denied) = self.denied else {
            let held = held();
            return Decision::Granted { held, standings };
        };
        let dimension = Dimension::ALL[usize::from(denied.is_tokens)];
        let denial = Denial::new(denied.window, dimension, denied.used, denied.limit);
        let denial = denial.standings(standings);
        Decision::Denied(match denied.retry {
            Some(wait) => denial.retry_after(wait, denied.spread),
            None => denial,
        })
    }
}
