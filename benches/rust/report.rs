//! The table at the end: times and ratios; and the same rows for programs, which hold them against goals.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use crate::estimates::Estimates;
use crate::pass::Pass;

/// The conditions of the measurements, and which peer they favour.
const FOOTNOTES: &str = include_str!("footnotes.md");

/// A row of the table: two benchmarks of one kind of work, the first as a ratio to the second.
pub struct Row {
    work: String,
    measured: String,
    against: String,
    operations: usize,
}

impl Row {
    /// Compares benchmark `measured` with benchmark `against`, both measured as part of `work`.
    pub fn new(work: &str, measured: &str, against: &str) -> Self {
        Self { work: work.into(), measured: measured.into(), against: against.into(), operations: 1 }
    }

    /// How many operations are in one iteration, so that the table can show the time of one.
    pub fn operations(self, operations: usize) -> Self {
        Self { operations, ..self }
    }

    /// The row in Markdown; `None` unless some pass of this run measured both its sides.
    fn line(&self, estimates: &Estimates) -> Option<String> {
        let (measured, against): (Vec<_>, Vec<_>) = self.passes(estimates).unzip();
        // Of the ratios of the passes, not of the shown times: a pass compares measurements made close together.
        let ratio = middle(measured.iter().zip(&against).map(|(measured, against)| measured / against))?;
        let (measured, against) = (middle(measured)?, middle(against)?);
        Some(format!(
            "| {} | {} | {} | {} | {} | {} |",
            self.work,
            self.measured,
            Time(measured),
            self.against,
            Time(against),
            Figures(ratio),
        ))
    }

    /// The row for programs, with what each pass measured; `None` unless some pass of this run measured both its sides.
    fn value(&self, estimates: &Estimates) -> Option<Value> {
        let (measured, against): (Vec<_>, Vec<_>) = self.passes(estimates).unzip();
        let row = json!({
            "work": self.work,
            "measured": self.measured,
            "against": self.against,
            "measured_ns": measured,
            "against_ns": against,
        });
        (!measured.is_empty()).then_some(row)
    }

    /// The measurements of both sides in each pass.
    fn passes(&self, estimates: &Estimates) -> impl Iterator<Item = (f64, f64)> {
        Pass::all().filter_map(|pass| self.times(&pass.group_of(&self.work), estimates))
    }

    /// Nanoseconds of an operation on either side, as one pass measured them.
    fn times(&self, group: &str, estimates: &Estimates) -> Option<(f64, f64)> {
        let time_of = |benchmark| Some(estimates.median(group, benchmark)? / self.operations as f64);
        Some((time_of(&self.measured)?, time_of(&self.against)?))
    }
}

/// The median; for an even number, the upper of the two.
fn middle(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Prints the rows that this run has measured, and names those that it has not.
pub fn print(rows: &[Row], estimates: &Estimates) {
    let lines: Vec<_> = rows.iter().filter_map(|row| row.line(estimates)).collect();
    if lines.is_empty() {
        eprintln!("No table of ratios: this run measured both sides of no row.");
        return;
    }
    println!("| work | measured | time | against | time | ratio |");
    println!("| --- | --- | ---: | --- | ---: | ---: |");
    lines.iter().for_each(|line| println!("{line}"));
    println!("\n{FOOTNOTES}");
    print_missing(rows, estimates);
}

/// Writes the rows that this run has measured, as JSON.
pub fn write(rows: &[Row], estimates: &Estimates, path: &Path) -> std::io::Result<()> {
    let rows: Vec<_> = rows.iter().filter_map(|row| row.value(estimates)).collect();
    std::fs::write(path, json!({ "rows": rows, "footnotes": FOOTNOTES }).to_string())
}

/// Names the rows without a line, those of one work together.
fn print_missing(rows: &[Row], estimates: &Estimates) {
    let missing: Vec<_> = rows.iter().filter(|row| row.line(estimates).is_none()).collect();
    for rows in missing.chunk_by(|one, next| one.work == next.work) {
        let sides: Vec<_> = rows.iter().map(|row| format!("{} against {}", row.measured, row.against)).collect();
        println!("Not measured in this run, {}: {}", rows[0].work, sides.join(", "));
    }
}

/// Nanoseconds in the unit that suits them.
struct Time(f64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            ns if ns < 1e3 => (ns, "ns"),
            ns if ns < 1e6 => (ns / 1e3, "µs"),
            ns => (ns / 1e6, "ms"),
        };
        write!(f, "{} {unit}", Figures(value))
    }
}

/// A number to three significant figures.
struct Figures(f64);

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digits before the point: 1 for 1 to 9.99, 0 or fewer below 1.
        let whole = self.0.abs().log10().floor() as i32 + 1;
        let decimals = (3 - whole).clamp(0, 9) as usize;
        write!(f, "{:.decimals$}", self.0)
    }
}
