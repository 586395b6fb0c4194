//! Numbers and objects as messages, reprs and displays show them.

use pyo3::prelude::*;

use crate::fallible;

/// The ending of a noun that there are so many of.
pub(crate) fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// A number with commas and its noun: `1 block`, `100,001 blocks`.
pub(crate) fn show_number(number: usize, noun: &str) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    format!("{shown} {noun}{}", plural(number))
}

/// Bytes as a repr for people shows them: all of them where they are few, else three digits and a unit.
pub(crate) fn show_size(bytes: usize) -> String {
    if bytes < 1024 {
        return format!("{bytes} byte{}", plural(bytes));
    }
    let mut scaled = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] {
        // What rounds to a whole step is said in the next unit: no 1024 KiB.
        if scaled < 1023.5 {
            let digits = if scaled.fract() == 0.0 || scaled >= 99.95 { 0 } else { 1 + usize::from(scaled < 9.995) };
            return format!("{scaled:.digits$} {unit}");
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.0} EiB")
}

/// Figures as a repr shows them.
pub(crate) fn listed<const N: usize>(numbers: [(&'static str, usize); N]) -> String {
    numbers.map(|(name, number)| format!("{name}={number}")).join(", ")
}

/// Whether there is code that draws displays, or memory to load it. A program that has just been refused memory asks for the
/// group's figures, and must not be killed for it.
pub(crate) fn can_display(py: Python<'_>) -> PyResult<bool> {
    // With the modules of the standard library that it needs, it takes half as much.
    const CODE_BYTES: usize = 8 << 20;
    let is_loaded = py.import("sys")?.getattr("modules")?.contains("memgroup.display.slots")?;
    Ok(is_loaded || fallible::check(CODE_BYTES).is_ok())
}

/// Calls `memgroup.display`, which decides how a group or its figures look, by the name of the function.
pub(crate) fn display<'py>(object: &Bound<'py, PyAny>, function: &str) -> PyResult<Bound<'py, PyAny>> {
    object.py().import("memgroup.display")?.call_method1(function, (object,))
}

#[cfg(test)]
mod tests {
    use super::{show_number, show_size};

    #[test]
    fn numbers_have_commas() {
        let shown = [0, 1, 999, 1000, 100_001, 12_345_678].map(|number| show_number(number, "block"));
        let wanted = ["0 blocks", "1 block", "999 blocks", "1,000 blocks", "100,001 blocks", "12,345,678 blocks"];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn sizes_have_three_digits_and_are_exact_where_they_are_few() {
        let shown =
            [0, 1, 1023, 1024, 1536, 10_300, 99_000_000, 1 << 30, (1 << 30) - 1, 5 << 50, usize::MAX].map(show_size);
        let wanted = [
            "0 bytes",
            "1 byte",
            "1023 bytes",
            "1 KiB",
            "1.50 KiB",
            "10.1 KiB",
            "94.4 MiB",
            "1 GiB",
            "1.00 GiB",
            "5 PiB",
            "16 EiB",
        ];
        assert_eq!(shown, wanted);
    }
}
