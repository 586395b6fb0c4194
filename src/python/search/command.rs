//! The command's search, which prints.

use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::os::tree::{self, FileType};
use crate::python::stream::source::os_error;
use crate::search::matcher::{Matcher, Syntax};
use crate::search::text::{Printer, Style};
use crate::search::{Failure, Job, Listed, MIN_MEMORY, Start, Totals, Wanted, search};

/// Files, bytes, matching lines, files with such, and problems.
pub(super) type Figures = (u64, u64, u64, u64, u64);

/// Search files as `memgroup gather --find` does, and print to a descriptor, without signal handlers.
///
/// Args:
///     paths: Files and directories, as bytes; the current directory if there are none.
///     patterns: The texts or expressions to search for, as bytes.
///     syntax: "regex" and "ignore-case" if they apply; "utf-8" or "bytes" instead of the locale's encoding.
///     style: The output: "lines", "counts", "files" or "quiet", followed by those of "json", "colour", "numbers",
///         "text", "ignore" and "paths" (before each line, even for one file) that apply.
///     memory: The most bytes of files that are in memory at a time.
///     threads: The number of threads; 0 for as many as the machine has.
///     output: A descriptor.
///     errors: The descriptor for errors.
///     listed: If `paths` are files that another walk has found, the descriptor of the directory that they are relative
///         to, and for each whether it was an argument itself.
///
/// Returns:
///     The numbers of files, of bytes read, of lines that match, of files with such a line, and of files and
///     directories that could not be read.
///
/// Raises:
///     ValueError: A pattern is no regular expression, or there is too little memory.
///     MemoryError: There is no memory for the search.
///     OSError: The output cannot be written.
#[pyfunction]
#[pyo3(signature = (paths, patterns, syntax, style, memory, threads, output, errors=2, listed=None))]
#[expect(clippy::too_many_arguments, reason = "the command's options, each of which stands for itself")]
pub(crate) fn search_files(
    py: Python<'_>,
    paths: Vec<Vec<u8>>,
    patterns: Vec<Vec<u8>>,
    syntax: Vec<String>,
    style: Vec<String>,
    memory: usize,
    threads: usize,
    output: RawFd,
    errors: RawFd,
    listed: Option<Given>,
) -> PyResult<Figures> {
    let has = |word: &str| style.iter().any(|given| given == word);
    let is_utf8 = is_utf8(&syntax);
    let matcher = matcher(&patterns, &syntax, is_utf8)?;
    let style = chosen_style(&has);
    // SAFETY: the caller keeps it open; a write to one that is not says so.
    let output = unsafe { BorrowedFd::borrow_raw(output) };
    // SAFETY: the caller keeps it open; a write to one that is not is not heard.
    let errors = unsafe { BorrowedFd::borrow_raw(errors) };
    let facts = tree::facts(output).map_err(|code| os_error(code, None))?;
    let mut printer = Printer::new(output, errors, style, &matcher);
    (printer.has_paths, printer.has_numbers) = (has("paths") || has_paths(&paths), has("numbers"));
    let job = Job {
        start: start(paths, listed)?,
        ignores: has("ignore"),
        wanted: style.wanted(),
        stops_early: style == Style::Quiet,
        as_text: has("text"),
        is_utf8,
        output: (facts.kind == FileType::Regular).then_some(facts.identity),
        threads,
        memory,
    };
    let (outcome, rest) = py.detach(|| {
        let outcome = search(&job, &matcher, &printer, &AtomicBool::new(false));
        (outcome, printer.finish())
    });
    let totals = outcome.map_err(raise)?;
    rest.map_err(Failure::Write).map_err(raise)?;
    Ok(figures(&totals))
}

/// A descriptor of a directory, and of each path whether it was given itself.
pub(super) type Given = (RawFd, Vec<bool>);

/// The paths as those that a walk begins with, or as files that another walk has found.
pub(super) fn start(paths: Vec<Vec<u8>>, listed: Option<Given>) -> PyResult<Start> {
    let Some((directory, are_given)) = listed else { return Ok(Start::Roots(paths)) };
    // SAFETY: the caller keeps it open; a duplicate of one that is not says so.
    let directory = unsafe { BorrowedFd::borrow_raw(directory) }.try_clone_to_owned()?;
    let files = paths.into_iter().zip(are_given).collect();
    Ok(Start::Listed(Listed { directory: Arc::new(directory), files }))
}

/// Return whether text is UTF-8 in the locale that this process began with.
#[pyfunction]
pub(crate) fn is_text_utf8() -> bool {
    crate::search::is_text_utf8()
}

/// Whether text is UTF-8: as in another process, or as in this one.
pub(super) fn is_utf8(syntax: &[String]) -> bool {
    let has = |word: &str| syntax.iter().any(|given| given == word);
    has("utf-8") || !has("bytes") && is_text_utf8()
}

/// The exception for a search that ended before its end.
pub(super) fn raise(failure: Failure) -> PyErr {
    match failure {
        Failure::TooLittle(memory) => {
            PyValueError::new_err(format!("memory must be {MIN_MEMORY} bytes or more, not {memory}"))
        }
        Failure::Memory(error) => error.into(),
        Failure::Write(code) => os_error(code, None),
    }
}

/// The patterns, compiled.
pub(super) fn matcher(patterns: &[Vec<u8>], syntax: &[String], is_utf8: bool) -> PyResult<Matcher> {
    let has = |word: &str| syntax.iter().any(|given| given == word);
    let syntax = Syntax { regex: has("regex"), ignore_case: has("ignore-case"), unicode: is_utf8 };
    Matcher::new(patterns, syntax).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn chosen_style(has: &impl Fn(&str) -> bool) -> Style {
    let colour = has("colour");
    match (has("json"), has("counts"), has("files"), has("quiet")) {
        (_, _, _, true) => Style::Quiet,
        (true, counts, files, _) => Style::Json(match (counts, files) {
            (true, _) => Wanted::Count,
            (_, true) => Wanted::First,
            _ => Wanted::Lines,
        }),
        (_, true, ..) => Style::Counts { colour },
        (_, _, true, _) => Style::Files { colour },
        _ => Style::Lines { colour },
    }
}

/// As grep -r: not where one file is searched.
fn has_paths(paths: &[Vec<u8>]) -> bool {
    let [only] = paths else { return true };
    std::ffi::CString::new(only.clone()).is_ok_and(|only| tree::kind_of_name(None, &only) == Ok(FileType::Directory))
}

pub(super) fn figures(totals: &Totals) -> Figures {
    let Totals { files, nbytes, matches, matching_files, problems } = totals;
    let of = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    (of(files), of(nbytes), of(matches), of(matching_files), of(problems))
}
