//! Medians and ratios of interleaved rounds.

use std::{fmt, time::Duration};

use crate::load::{Round, median};

pub(crate) struct Report {
    name: &'static str,
    rounds: Vec<(Round, Round)>,
}

impl Report {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            rounds: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, bare: Round, full: Round) {
        self.rounds.push((bare, full));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: medians of {} interleaved rounds\n{:24}{:>12}{:>12}{:>8}   (least..most)",
            self.name,
            self.rounds.len(),
            "",
            "bare proxy",
            "gateway",
            "ratio",
        )?;
        let figures: [(&str, Figure); 3] = [
            ("whole call, p50", |round| round.latency),
            ("head of the answer, p50", |round| round.head),
            ("processor time", |round| round.cpu),
        ];
        for (figure, of) in figures {
            let mut bare: Vec<_> = self.rounds.iter().map(|(bare, _)| of(bare)).collect();
            let mut full: Vec<_> = self.rounds.iter().map(|(_, full)| of(full)).collect();
            let mut ratios: Vec<_> = bare
                .iter()
                .zip(&full)
                .map(|(bare, full)| full.as_secs_f64() / bare.as_secs_f64())
                .collect();
            ratios.sort_by(f64::total_cmp);
            writeln!(
                f,
                "{figure:24}{:>9.1} us{:>9.1} us{:>8.2}   ({:.2}..{:.2})",
                micros(median(&mut bare)),
                micros(median(&mut full)),
                ratios[ratios.len() / 2],
                ratios[0],
                ratios[ratios.len() - 1],
            )?;
        }
        Ok(())
    }
}

type Figure = fn(&Round) -> Duration;

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
