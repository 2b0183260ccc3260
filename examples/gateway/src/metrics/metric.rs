//! What is counted elsewhere, and read when somebody asks.

use std::fmt::Write;

pub(super) struct Metric<T: 'static> {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&T) -> u64,
}

impl<T> Metric<T> {
    /// Appends a line for each of these, in Prometheus' text format.
    pub(super) fn render(&self, text: &mut String, of: &[T], labels: fn(&T) -> String) {
        let Self {
            name,
            kind,
            help,
            value,
        } = self;
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for of in of {
            let _ = match &*labels(of) {
                "" => writeln!(text, "{name} {}", value(of)),
                labels => writeln!(text, "{name}{{{labels}}} {}", value(of)),
            };
        }
        text.push('\n');
    }
}

pub(super) const fn counter<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> u64,
) -> Metric<T> {
    Metric {
        name,
        kind: "counter",
        help,
        value,
    }
}

pub(super) const fn gauge<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> u64,
) -> Metric<T> {
    Metric {
        kind: "gauge",
        ..counter(name, help, value)
    }
}
