//! Results, as text, JSON and Markdown.

use std::io::{self, Write};

use serde::Serialize;

use super::baseline::{AgainstBaseline, Sides};
use crate::harness::limit::{Limit, Verdict};
use crate::harness::report::{Finding, write_table, write_wrapped};
use crate::statistics::Spread;

/// Result of a case, and its comparisons.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// Row of the table.
    row: String,
    /// Name of the case.
    pub(crate) case: String,
    pub(crate) unit: &'static str,
    /// Value of snapgate.
    pub(crate) value: Spread,
    /// Maximum of `value`, if it does not depend on another measurement.
    pub(crate) limit: Option<f64>,
    pub(crate) comparisons: Vec<Comparison>,
    /// Comparison with an older build.
    baseline: Option<AgainstBaseline>,
    /// Remarks on the results.
    pub(crate) notes: Vec<String>,
}

/// Comparison with another measurement in the same rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    /// Name of the other measurement.
    pub(crate) with: &'static str,
    /// Value of the other measurement, in the same unit.
    pub(crate) value: Spread,
    /// snapgate divided by the other, per round.
    pub(crate) ratio: Spread,
    pub(crate) bound: Option<Limit>,
}

impl Measured {
    /// Creates the result of a case without comparisons. `values` has one value per round.
    pub(crate) fn new(
        row: impl Into<String>,
        case: impl Into<String>,
        unit: &'static str,
        values: &[f64],
    ) -> Self {
        Self {
            row: row.into(),
            case: case.into(),
            unit,
            value: spread(values),
            limit: None,
            comparisons: Vec::new(),
            baseline: None,
            notes: Vec::new(),
        }
    }

    /// Adds a comparison of `ours` with `theirs`, measured in the same rounds, unless `theirs` is empty.
    pub(crate) fn compare(
        &mut self,
        with: &'static str,
        ours: &[f64],
        theirs: &[f64],
        bound: Option<Limit>,
    ) {
        if theirs.is_empty() {
            return;
        }
        self.comparisons.push(Comparison {
            with,
            value: spread(theirs),
            ratio: Spread::of_ratios(ours, theirs).unwrap_or(NOTHING),
            bound,
        });
    }

    /// Adds a comparison of the new build with the baseline, if there is one. Less is better.
    pub(crate) fn compare_with_baseline(&mut self, sides: &Sides<f64>) {
        let Some(against) = AgainstBaseline::of(sides) else {
            return;
        };
        self.notes.push(against.note());
        self.baseline = Some(against);
    }

    /// Returns the lines of the table: case, value, compared with, its value, ratio, bound, verdict.
    fn lines(&self) -> Vec<[String; 7]> {
        let verdict = |holds| if holds { "yes" } else { "NO" }.to_owned();
        let mut first = [self.case.clone(), with_unit(self.value, self.unit)];
        let mut lines = Vec::new();
        if let Some(limit) = self.limit {
            let [case, value] = std::mem::take(&mut first);
            let none = String::new;
            lines.push([
                case,
                value,
                none(),
                none(),
                none(),
                format!("≤ {}", number(limit)),
                verdict(self.value.median <= limit),
            ]);
        }
        for comparison in &self.comparisons {
            let [case, value] = std::mem::take(&mut first);
            let Spread { median, min, max } = comparison.ratio;
            lines.push([
                case,
                value,
                comparison.with.to_owned(),
                number(comparison.value.median),
                format!("{median:.2} ({min:.2}–{max:.2})"),
                comparison
                    .bound
                    .map_or_else(String::new, |bound| format!("{bound:.2}")),
                comparison
                    .bound
                    .map_or_else(String::new, |bound| verdict(bound.holds(median))),
            ]);
        }
        if let Some(against) = &self.baseline {
            let [case, value] = std::mem::take(&mut first);
            lines.push([
                case,
                value,
                "baseline".to_owned(),
                number(against.value.median),
                against.ratio_text(),
                against.bound_text(),
                against.verdict.text().to_owned(),
            ]);
        }
        if lines.is_empty() {
            let [case, value] = first;
            let none = String::new;
            lines.push([case, value, none(), none(), none(), none(), none()]);
        }
        lines
    }
}

impl Finding for Measured {
    fn verdict(&self) -> Verdict {
        let limit = self.limit.map(|limit| self.value.median <= limit);
        let ratios = self
            .comparisons
            .iter()
            .filter_map(|other| Some(other.bound?.holds(other.ratio.median)));
        let baseline = self.baseline.iter().map(|against| against.verdict);
        let verdicts = limit.into_iter().chain(ratios).map(Verdict::of);
        verdicts.chain(baseline).max().unwrap_or(Verdict::Holds)
    }

    /// Writes a line for the gateway, and one for each comparison.
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for [case, value, with, other, ratio, bound, verdict] in self.lines() {
            if !case.is_empty() {
                write_wrapped(out, "", &case)?;
                writeln!(out, "{}", columns("  snapgate", &value, "", "", ""))?;
            }
            if with.is_empty() && bound.is_empty() {
                continue;
            }
            let with = format!("  {}", if with.is_empty() { "limit" } else { &with });
            writeln!(out, "{}", columns(&with, &other, &ratio, &bound, &verdict))?;
        }
        for note in &self.notes {
            write_wrapped(out, "  ", note)?;
        }
        writeln!(out)
    }

    fn write_markdown(results: &[Self], out: &mut dyn Write) -> io::Result<()> {
        write_table(out, &HEADING, results.iter().flat_map(Self::lines))?;
        let notes = results
            .iter()
            .flat_map(|result| result.notes.iter().map(|note| (&result.case, note)));
        for (index, (case, note)) in notes.enumerate() {
            let separation = if index == 0 { "\n" } else { "" };
            writeln!(out, "{separation}- {case}: {note}.")?;
        }
        Ok(())
    }
}

const HEADING: [&str; 7] = [
    "case",
    "snapgate",
    "against",
    "its value",
    "ratio",
    "bound",
    "holds",
];

/// Returns a line for a terminal. The longest verdict fits into 80 columns.
fn columns(with: &str, value: &str, ratio: &str, bound: &str, verdict: &str) -> String {
    let line = if ratio.is_empty() && bound.is_empty() {
        format!("{with:<16}  {value}")
    } else {
        format!("{with:<16}  {value:>8}  {ratio:<20}  {bound:<8}  {verdict}")
    };
    line.trim_end().to_owned()
}

const NOTHING: Spread = Spread {
    median: f64::NAN,
    min: f64::NAN,
    max: f64::NAN,
};

fn spread(values: &[f64]) -> Spread {
    Spread::of(values.iter().copied()).unwrap_or(NOTHING)
}

fn with_unit(spread: Spread, unit: &str) -> String {
    if spread.min == spread.max {
        return format!("{} {unit}", number(spread.median));
    }
    format!(
        "{} ({}–{}) {unit}",
        number(spread.median),
        number(spread.min),
        number(spread.max)
    )
}

/// Formats a number with at least three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::report::{TERMINAL_COLUMNS, json_line};
    use crate::harness::run::Build;

    fn measured() -> Measured {
        let mut measured = Measured::new("forward", "a case", "ns/packet", &[100.0, 120.0, 110.0]);
        measured.compare(
            "floor",
            &[100.0, 120.0, 110.0],
            &[100.0, 100.0, 100.0],
            Some(Limit::AtMost(1.25)),
        );
        measured
    }

    fn holds(measured: &Measured) -> bool {
        measured.verdict() == Verdict::Holds
    }

    #[test]
    fn bounds_apply_to_medians() {
        let mut measured = measured();
        assert!(holds(&measured));
        measured.compare("peer", &[100.0], &[200.0], Some(Limit::AtLeast(0.6)));
        assert!(!holds(&measured));
        measured.comparisons.pop();
        measured.limit = Some(109.0);
        assert!(!holds(&measured));
    }

    #[test]
    fn paragraph_has_value_ratio_and_verdict() {
        let mut out = Vec::new();
        measured().write_text(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a case\n  snapgate        110 (100–120) ns/packet\n  \
             floor                100  1.10 (1.00–1.20)      ≤ 1.25    yes\n\n"
        );
    }

    #[test]
    fn paragraph_fits_into_80_columns() {
        let mut measured = with_baseline(1.01, 5);
        measured.case = "1 tunnel, trains of 16, ".repeat(4);
        measured.limit = Some(10.0);
        let mut out = Vec::new();
        measured.write_text(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= TERMINAL_COLUMNS, "{line}");
        }
        assert!(text.contains("≤ 10.0"), "{text}");
    }

    /// Returns [`measured`] compared with a baseline in `rounds` rounds.
    fn with_baseline(ratio: f64, rounds: usize) -> Measured {
        let mut measured = measured();
        let mut sides = Sides::new(true);
        for _ in 0..rounds {
            sides
                .measure(|build| {
                    Ok(match build {
                        Build::New => 100.0 * ratio,
                        Build::Baseline => 100.0,
                    })
                })
                .unwrap();
        }
        measured.compare_with_baseline(&sides);
        measured
    }

    #[test]
    fn table_has_the_interval_of_the_baseline() {
        let lines = with_baseline(1.01, 6).lines();
        assert_eq!(
            lines[1],
            [
                "",
                "",
                "baseline",
                "100",
                "1.010 [1.010–1.010]",
                "≤ 1.03",
                "holds"
            ]
        );
        let lines = with_baseline(1.01, 5).lines();
        assert_eq!(
            lines[1][4..],
            ["1.010 (1.010–1.010)", "≤ 1.03", "not enough rounds"]
        );
    }

    #[test]
    fn verdict_of_a_run_includes_the_baseline() {
        let holds = with_baseline(1.0, 6);
        let does_not = with_baseline(1.1, 6);
        let unknown = with_baseline(1.1, 5);
        assert_eq!(does_not.verdict(), Verdict::DoesNotHold);
        let outcome = |results: &[&Measured]| {
            let verdicts = results.iter().map(|result| result.verdict());
            verdicts.max().unwrap()
        };
        assert_eq!(outcome(&[&measured(), &holds]), Verdict::Holds);
        assert_eq!(outcome(&[&holds, &unknown]), Verdict::NotEnoughRounds);
        assert_eq!(outcome(&[&unknown, &does_not]), Verdict::DoesNotHold);
        let mut too_much = holds;
        too_much.limit = Some(1.0);
        assert_eq!(outcome(&[&unknown, &too_much]), Verdict::DoesNotHold);
    }

    #[test]
    fn missing_measurements_are_not_compared() {
        let mut measured = Measured::new("forward", "a case", "ns/packet", &[100.0]);
        measured.compare("floor", &[100.0], &[], Some(Limit::AtMost(1.25)));
        assert!(measured.comparisons.is_empty() && holds(&measured));
    }

    #[test]
    fn json_has_ratios_interval_and_verdict_of_the_baseline() {
        let object = |measured: &Measured| -> serde_json::Value {
            serde_json::from_str(&json_line(measured).unwrap()).unwrap()
        };
        let with = object(&with_baseline(1.5, 6));
        assert_eq!(with["holds"], false);
        assert_eq!(
            with["baseline"]["ratios"],
            serde_json::json!([1.5, 1.5, 1.5, 1.5, 1.5, 1.5])
        );
        assert_eq!(with["baseline"]["interval"]["high"], 1.5);
        assert_eq!(with["baseline"]["interval"]["confidence"], 0.968_75);
        assert_eq!(with["baseline"]["verdict"], "does_not_hold");
        let without_interval = object(&with_baseline(1.0, 5));
        assert!(without_interval["baseline"]["interval"].is_null());
        assert_eq!(without_interval["baseline"]["verdict"], "not_enough_rounds");
        assert!(object(&measured())["baseline"].is_null());
    }

    #[test]
    fn json_has_one_object_per_line_with_the_verdict() {
        let text = json_line(&measured()).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["holds"], true);
        assert_eq!(object["comparisons"][0]["bound"]["at_most"], 1.25);
    }
}
