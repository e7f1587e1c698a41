//! Facts of the moment as text that Prometheus reads, beside the registry's.

use std::fmt::{Display, Write};

use super::list::Family;

/// Text of facts, family after family.
#[derive(Debug, Default)]
pub struct Facts {
    text: String,
    last: Option<&'static str>,
}

impl Facts {
    /// One value; those of one family follow each other. A value that is not known is not written.
    pub fn value(&mut self, family: &'static Family, labels: &[&str], value: Option<impl Display>) {
        let Some(value) = value else { return };
        if self.last != Some(family.name) {
            self.last = Some(family.name);
            self.line(format_args!("# HELP {} {}", family.name, family.help));
            self.line(format_args!("# TYPE {} {}", family.name, family.kind.word()));
        }
        let pairs = family.labels.iter().zip(labels).map(|(label, value)| format!("{}=\"{value}\"", label.name));
        let pairs = pairs.collect::<Vec<_>>().join(",");
        if pairs.is_empty() {
            self.line(format_args!("{} {value}", family.name));
        } else {
            self.line(format_args!("{}{{{pairs}}} {value}", family.name));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _: std::fmt::Result = writeln!(self.text, "{line}");
    }

    /// All of it.
    #[must_use]
    pub fn text(self) -> String {
        self.text
    }
}

/// Thousandths, as a decimal number.
pub fn thousandths(count: u64) -> String {
    format!("{}.{:03}", count / 1_000, count % 1_000)
}

#[cfg(test)]
mod tests {
    use super::super::list;
    use super::*;

    #[test]
    fn a_family_has_its_help_once_and_unknown_values_are_left_out() {
        let mut facts = Facts::default();
        facts.value(&list::STRIPE_EVENTS, &["parked"], Some(3));
        facts.value(&list::STRIPE_EVENTS, &["dead"], Some(0));
        facts.value(&list::DATABASE_UP, &[], Some(1));
        facts.value(&list::PROCESS_FILES, &[], None::<u64>);
        let text = facts.text();
        assert_eq!(text.matches("# HELP creditd_stripe_events ").count(), 1);
        assert!(
            text.contains("# TYPE creditd_stripe_events gauge\ncreditd_stripe_events{state=\"parked\"} 3\n"),
            "{text}"
        );
        assert!(text.ends_with("# TYPE creditd_database_up gauge\ncreditd_database_up 1\n"), "{text}");
    }

    #[test]
    fn thousandths_are_decimals() {
        assert_eq!([thousandths(0), thousandths(7), thousandths(12_345)], ["0.000", "0.007", "12.345"]);
    }
}
