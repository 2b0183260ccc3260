//! The scripts, how they are asked and what they answer.

use std::{sync::LazyLock, time::Duration};

use redis::{Arg, Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tollgate_budget::{Decision, Denial, Dimension, Limit, Standing, Standings, Units};

use crate::target::Target;

/// A script that the server runs as one step.
pub(crate) struct Script {
    text: &'static str,
    digest: LazyLock<String>,
}

/// Charges all windows or none.
pub(crate) static RESERVE: Script = Script {
    text: concat!(
        include_str!("lua/window.lua"),
        include_str!("lua/reserve.lua")
    ),
    digest: LazyLock::new(|| RESERVE.sha1()),
};

/// Replaces a reservation by what was really used.
pub(crate) static SETTLE: Script = Script {
    text: concat!(
        include_str!("lua/window.lua"),
        include_str!("lua/settle.lua")
    ),
    digest: LazyLock::new(|| SETTLE.sha1()),
};

impl Script {
    fn sha1(&self) -> String {
        redis::Script::new(self.text).get_hash().to_owned()
    }

    /// A call by the script's digest, which the server knows if it ran it before.
    fn call(&self, target: &Target) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&*self.digest).arg(target.keys().count());
        for key in target.keys() {
            command.arg(key);
        }
        command
    }

    /// The same call for a server that does not know the script.
    pub(crate) fn with_text(&self, call: &Cmd) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.text);
        for arg in call.args_iter().skip(2) {
            if let Arg::Simple(arg) = arg {
                command.arg(arg);
            }
        }
        command
    }
}

/// The call that charges a target under these limits, one for each of its windows or none at all.
pub(crate) fn reserve(target: &Target, limits: &[Limit], now: Option<u64>) -> Cmd {
    let mut command = RESERVE.call(target);
    command.arg(&*time(now));
    push(&mut command, target.cost);
    for (at, place) in target.places.iter().enumerate() {
        command.arg(place.shape.slot).arg(place.shape.slots);
        let limit = limits.get(at).copied().unwrap_or(Limit::NONE);
        for limit in [limit.requests, limit.tokens] {
            match limit {
                // More than fits is more than is ever used.
                Some(limit) => command.arg(limit.get().min(Units::MAX_COST)),
                None => command.arg(""),
            };
        }
    }
    command
}

/// The call that settles a target. It is remembered for so long that it was.
pub(crate) fn settle(target: &Target, actual: Units, memory: Duration, now: Option<u64>) -> Cmd {
    let mut command = SETTLE.call(target);
    command.arg(&*time(now));
    command.arg(u64::try_from(memory.as_millis()).unwrap_or(u64::MAX));
    push(&mut command, target.cost);
    push(&mut command, actual.capped());
    for place in &target.places {
        command.arg(place.shape.slot).arg(place.shape.slots);
    }
    command
}

fn push(command: &mut Cmd, units: Units) {
    command.arg(units.requests).arg(units.tokens);
}

fn time(now: Option<u64>) -> String {
    now.map_or_else(String::new, |now| now.to_string())
}

/// What the server decided; `None` if it said what no script of ours does.
pub(crate) fn decision(answer: &Value, limits: &[Limit], spread: Duration) -> Option<Verdict> {
    let Value::Array(answer) = answer else {
        return None;
    };
    let numbers = answer.iter().map(|value| match value {
        Value::Int(number) => Some(*number),
        _ => None,
    });
    let numbers: Vec<i64> = numbers.collect::<Option<_>>()?;
    match numbers.split_first()? {
        (0, rest) => {
            let (denial, windows) = rest.split_first_chunk()?;
            let denial = denied(denial, limits, spread)?;
            let denial = denial.standings(standings(windows, limits)?);
            Some(Verdict::Decided(Decision::Denied(denial)))
        }
        (1, windows) => Some(Verdict::Decided(Decision::Granted {
            held: (),
            standings: standings(windows, limits)?,
        })),
        (2, _) => Some(Verdict::Cancelled),
        _ => None,
    }
}

/// An answer to a charge.
#[derive(Debug)]
pub(crate) enum Verdict {
    Decided(Decision<()>),
    /// It was given back before it was made.
    Cancelled,
}

fn denied(
    &[window, dimension, used, wait]: &[i64; 4],
    limits: &[Limit],
    spread: Duration,
) -> Option<Denial> {
    let window = usize::try_from(window).ok()?;
    let dimension = *Dimension::ALL.get(usize::try_from(dimension).ok()?)?;
    let limit = of(limits.get(window)?, dimension)?;
    let denial = Denial::new(window, dimension, u64::try_from(used).ok()?, limit);
    Some(match u64::try_from(wait) {
        Ok(wait) => denial.retry_after(Duration::from_micros(wait), spread),
        Err(_) => denial,
    })
}

fn standings(windows: &[i64], limits: &[Limit]) -> Option<Standings> {
    let mut standings = Standings::default();
    let mut windows = windows.chunks_exact(4);
    for limit in limits {
        let (used, resets) = windows.next()?.split_at(2);
        for (dimension, (used, reset)) in Dimension::ALL.into_iter().zip(used.iter().zip(resets)) {
            if let Some(limit) = of(limit, dimension) {
                let remaining = limit.saturating_sub(u64::try_from(*used).ok()?);
                let reset = Duration::from_micros(u64::try_from(*reset).ok()?);
                standings.note(dimension, Standing::new(limit, remaining, reset));
            }
        }
    }
    Some(standings)
}

fn of(limit: &Limit, dimension: Dimension) -> Option<u64> {
    let limit = match dimension {
        Dimension::Requests => limit.requests,
        _ => limit.tokens,
    };
    limit.map(std::num::NonZeroU64::get)
}

/// Whether the server does not know the script.
pub(crate) fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether another connection might do better: this one is gone, or leads to a server that does not
/// serve.
pub(crate) fn wants_another_connection(error: &RedisError) -> bool {
    let refuses = matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
        )
    );
    refuses || error.is_io_error() || error.is_unrecoverable_error()
}

/// What happened, without anything that somebody chose: no name, no credentials.
pub(crate) fn describe(error: &RedisError) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    match error.code() {
        Some(code) => format!("the server says {code}"),
        None if error.is_connection_refusal() => "connection refused".to_owned(),
        None if error.is_connection_dropped() => "connection lost".to_owned(),
        None => error.category().to_owned(),
    }
}
