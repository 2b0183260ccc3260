//! Medians and ratios of interleaved rounds.

use std::{fmt, time::Duration};

use crate::load::{Round, median};

pub(crate) struct Report {
    name: &'static str,
    /// Of the bare proxy, the gateway, the proxy that re-frames, and the bare proxy once more.
    rounds: Vec<[Round; SERVERS]>,
}

impl Report {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            rounds: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, round: [Round; SERVERS]) {
        self.rounds.push(round);
    }

    fn bare(&self, of: Figure) -> f64 {
        let mut all: Vec<_> = self.rounds.iter().map(|[bare, ..]| of(bare)).collect();
        median(&mut all).as_secs_f64() * 1e6
    }

    /// Of a server to the bare proxy.
    fn ratio(&self, server: usize, of: Figure) -> Ratio {
        let of = |round: &Round| of(round).as_secs_f64();
        let ratios = self.rounds.iter();
        let ratios = ratios.map(|round| of(&round[server]) / of(&round[0]));
        let mut ratios: Vec<_> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        let at = |quarters: usize| ratios[ratios.len() * quarters / 4];
        Ratio {
            median: at(2),
            quartiles: (at(1), at(3)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: medians of {} interleaved rounds (and the middle half of the ratios)\n\
             {:24}{:>10}   {:22}{:22}{:22}",
            self.name,
            self.rounds.len(),
            "",
            "bare proxy",
            "gateway",
            "re-framer alone",
            "bare proxy again",
        )?;
        let figures: [(&str, Figure); 3] = [
            ("whole call, p50", |round| round.latency),
            ("head of the answer, p50", |round| round.head),
            ("processor time", |round| round.cpu),
        ];
        for (name, of) in figures {
            let bare = self.bare(of);
            let [gateway, reframing, again] = [1, 2, 3].map(|server| self.ratio(server, of));
            writeln!(
                f,
                "{name:24}{bare:>7.1} us   {gateway}  {reframing}  {again}"
            )?;
        }
        Ok(())
    }
}

pub(crate) const SERVERS: usize = 4;

type Figure = fn(&Round) -> Duration;

struct Ratio {
    median: f64,
    quartiles: (f64, f64),
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lower, upper) = self.quartiles;
        write!(f, "{:.3} ({lower:.3}..{upper:.3})", self.median)
    }
}
