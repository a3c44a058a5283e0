//! What a bench found: a table for people, `docs/benchmarks.md` for readers and JSON for scripts. Ratios are taken within a
//! round and then the median over rounds, so that a slow minute of the machine touches both sides.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::instructions;
use super::load::Sample;
use crate::project::Project;

/// One variant over all rounds.
pub(crate) struct Series {
    /// Its name, in tables.
    pub(crate) name: &'static str,
    /// A sample a round.
    pub(crate) samples: Vec<Sample>,
}

/// A ratio with the goal it is held to.
pub(crate) struct Ratio {
    /// Its name, in JSON.
    pub(crate) name: &'static str,
    /// The variant that is measured.
    pub(crate) of: &'static str,
    /// The variant that it is divided by.
    pub(crate) to: &'static str,
    /// At least this is wanted.
    pub(crate) goal: f64,
}

/// One number that is no ratio of series.
pub(crate) struct Measure {
    /// Its name, in JSON.
    pub(crate) name: &'static str,
    /// What it is, in a table.
    pub(crate) text: &'static str,
    /// The number.
    pub(crate) value: f64,
    /// What it counts.
    pub(crate) unit: &'static str,
    /// At most this is wanted.
    pub(crate) at_most: Option<f64>,
}

/// A finished run.
pub(crate) struct Report {
    /// What was run.
    pub(crate) title: &'static str,
    /// How it was run.
    pub(crate) method: String,
    /// The variants.
    pub(crate) series: Vec<Series>,
    /// The ratios.
    pub(crate) ratios: Vec<Ratio>,
    /// What else was measured.
    pub(crate) measures: Vec<Measure>,
}

impl Report {
    /// The tables: median rate, p50, p99 and CPU time a variant, the ratios, and what else was measured.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        if !self.series.is_empty() {
            text.push_str(
                "| worker | requests/s (median) | p50 ms | p99 ms | CPU µs |\n|---|---:|---:|---:|---:|\n",
            );
        }
        for series in &self.series {
            let rate = median(series.samples.iter().map(|sample| sample.rate));
            let cpu = median(series.samples.iter().map(|sample| sample.cpu_micros));
            let at = |share| median(series.samples.iter().map(|sample| millis(sample.percentile(share))));
            let _ = writeln!(
                text,
                "| {} | {rate:.0} | {:.2} | {:.2} | {cpu:.0} |",
                series.name,
                at(0.5),
                at(0.99)
            );
        }
        if !self.ratios.is_empty() {
            text.push_str(
                "\n| ratio | of requests/s | of CPU time, inverted | goal |\n|---|---:|---:|---:|\n",
            );
        }
        for ratio in &self.ratios {
            let (value, by_cpu) = (self.value(ratio), self.value_by_cpu(ratio));
            let mark = if value >= ratio.goal { "" } else { " (short)" };
            let _ = writeln!(
                text,
                "| {} / {} | {value:.2}{mark} | {by_cpu:.2} | ≥ {:.2} |",
                ratio.of, ratio.to, ratio.goal
            );
        }
        if !self.measures.is_empty() {
            text.push_str("\n| measure | value | goal |\n|---|---:|---:|\n");
        }
        for measure in &self.measures {
            let shown = |value: f64| match measure.unit {
                "" => format!("{value:.0}"),
                unit => format!("{value:.1} {unit}"),
            };
            let bound = measure.at_most.map_or_else(|| "–".to_owned(), |bound| format!("≤ {}", shown(bound)));
            let mark =
                if measure.at_most.is_none_or(|bound| measure.value <= bound) { "" } else { " (over)" };
            let _ = writeln!(text, "| {} | {}{mark} | {bound} |", measure.text, shown(measure.value));
        }
        text
    }

    /// Writes `target/gateward/bench/{name}.json` and, of a whole run, the section `name` of `docs/benchmarks.md` and what later
    /// runs are held to.
    pub(crate) fn write(&self, project: &Project, name: &str, is_whole: bool) -> Result<()> {
        let folder = project.state().join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let path = folder.join(format!("{name}.json"));
        let text = format!("{:#}\n", self.json());
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        if !is_whole {
            return Ok(());
        }
        instructions::store(project, &self.measures)?;
        write_section(project, name, &self.section())
    }

    /// The result for scripts.
    pub(crate) fn json(&self) -> Value {
        let ratios: Map<String, Value> = self
            .ratios
            .iter()
            .map(|ratio| {
                (
                    ratio.name.to_owned(),
                    json!({"value": self.value(ratio), "by_cpu": self.value_by_cpu(ratio), "goal": ratio.goal, "direction": ">="}),
                )
            })
            .collect();
        let series: Map<String, Value> = self
            .series
            .iter()
            .map(|series| {
                let rounds: Vec<Value> = series
                    .samples
                    .iter()
                    .map(|sample| json!({"rate": sample.rate, "p50_us": sample.percentile(0.5), "p99_us": sample.percentile(0.99), "cpu_us": sample.cpu_micros}))
                    .collect();
                (series.name.to_owned(), rounds.into())
            })
            .collect();
        let measures: Map<String, Value> = self
            .measures
            .iter()
            .map(|measure| {
                let Measure { value, unit, at_most, .. } = measure;
                let entry = json!({"value": value, "unit": unit, "goal": at_most, "direction": "<="});
                (measure.name.to_owned(), entry)
            })
            .collect();
        json!({"ratios": ratios, "rounds": self.rounds(), "series": series, "measures": measures})
    }

    fn section(&self) -> String {
        let mut text = format!(
            "## {}\n\n{}\n\n{}\n### Raw rounds, requests/s\n\n| worker |",
            self.title,
            self.method,
            self.table()
        );
        for round in 1..=self.rounds() {
            let _ = write!(text, " {round} |");
        }
        text.push_str("\n|---|");
        text.push_str(&"---:|".repeat(self.rounds()));
        for series in &self.series {
            let _ = write!(text, "\n| {} |", series.name);
            for sample in &series.samples {
                let _ = write!(text, " {:.0} |", sample.rate);
            }
        }
        text.push('\n');
        text
    }

    fn rounds(&self) -> usize {
        self.series.iter().map(|series| series.samples.len()).min().unwrap_or_default()
    }

    fn value(&self, ratio: &Ratio) -> f64 {
        self.of_rounds(ratio, |of, to| of.rate / to.rate)
    }

    /// How much less CPU time the one takes: comparable to the ratio of rates.
    fn value_by_cpu(&self, ratio: &Ratio) -> f64 {
        self.of_rounds(ratio, |of, to| to.cpu_micros / of.cpu_micros)
    }

    fn of_rounds(&self, ratio: &Ratio, divide: impl Fn(&Sample, &Sample) -> f64) -> f64 {
        let samples = |name: &str| {
            let series = self.series.iter().find(|series| series.name == name);
            series.into_iter().flat_map(|series| &series.samples)
        };
        median(samples(ratio.of).zip(samples(ratio.to)).map(|(of, to)| divide(of, to)))
    }
}

/// The middle of the values; of an even number, the mean of the two in the middle.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) }
}

fn millis(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64() * 1000.0
}

/// Writes the section `name` of `docs/benchmarks.md`.
pub(crate) fn write_section(project: &Project, name: &str, section: &str) -> Result<()> {
    let docs = project.path("docs/benchmarks.md");
    let before = fs::read_to_string(&docs).unwrap_or_default();
    let after = replace_section(&before, name, section);
    fs::write(&docs, after).with_context(|| format!("cannot write {}", docs.display()))
}

/// Puts `section` between the marks of `name`, at the end when there are none.
fn replace_section(text: &str, name: &str, section: &str) -> String {
    let (begin, end) = (format!("<!-- bench {name} -->"), format!("<!-- /bench {name} -->"));
    let marked = format!("{begin}\n{section}{end}");
    match (text.split_once(&begin), text.split_once(&end)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{marked}{after}"),
        _ => format!("{}\n\n{marked}\n", text.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_medians_of_rounds() {
        let sample = |rate| Sample { rate, latencies: vec![1, 2, 3], cpu_micros: 1e3 / rate };
        let report = Report {
            title: "t",
            method: String::new(),
            series: vec![
                Series { name: "a", samples: vec![sample(1.0), sample(9.0), sample(4.0)] },
                Series { name: "b", samples: vec![sample(2.0), sample(9.0), sample(2.0)] },
            ],
            ratios: vec![Ratio { name: "a_to_b", of: "a", to: "b", goal: 1.5 }],
            measures: vec![Measure { name: "m", text: "size", value: 2.0, unit: "kB", at_most: Some(1.0) }],
        };
        assert_eq!(
            report.json()["ratios"]["a_to_b"],
            json!({"value": 1.0, "by_cpu": 1.0, "goal": 1.5, "direction": ">="})
        );
        assert_eq!(report.json()["rounds"], 3);
        assert!(report.table().contains("1.00 (short)"));
        assert!(report.table().contains("2.0 kB (over)"));
    }

    #[test]
    fn a_section_is_replaced_in_place() {
        let once = replace_section("# Head\n", "edge", "one\n");
        assert_eq!(once, "# Head\n\n<!-- bench edge -->\none\n<!-- /bench edge -->\n");
        assert_eq!(
            replace_section(&once, "edge", "two\n"),
            "# Head\n\n<!-- bench edge -->\ntwo\n<!-- /bench edge -->\n"
        );
    }
}
