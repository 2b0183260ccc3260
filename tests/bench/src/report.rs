//! Medians and ratios of interleaved rounds.

use std::{fmt, time::Duration};

use crate::load::{Round, median};

pub(crate) struct Report {
    name: &'static str,
    /// Of the bare proxy, the gateway, and the proxy once more.
    rounds: Vec<[Round; 3]>,
}

impl Report {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            rounds: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, round: [Round; 3]) {
        self.rounds.push(round);
    }

    fn median(&self, server: usize, of: Figure) -> f64 {
        let mut all: Vec<_> = self.rounds.iter().map(|round| of(&round[server])).collect();
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
            "{}: medians of {} interleaved rounds (and their middle half)\n\
             {:24}{:>12}{:>12}   {:24}{:24}",
            self.name,
            self.rounds.len(),
            "",
            "bare proxy",
            "gateway",
            "gateway / proxy",
            "proxy / itself",
        )?;
        let figures: [(&str, Figure); 3] = [
            ("whole call, p50", |round| round.latency),
            ("head of the answer, p50", |round| round.head),
            ("processor time", |round| round.cpu),
        ];
        for (name, of) in figures {
            let (bare, full) = (self.median(0, of), self.median(1, of));
            let (ratio, noise) = (self.ratio(1, of), self.ratio(2, of));
            writeln!(
                f,
                "{name:24}{bare:>9.1} us{full:>9.1} us   {ratio}   {noise}"
            )?;
        }
        Ok(())
    }
}

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
