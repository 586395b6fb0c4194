//! A search whose results become columns.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::command::{Figures, Given, figures, is_utf8, matcher, raise, start};
use crate::search::rows::{Rows, Table};
use crate::search::{Job, Problem, Wanted, search};

/// How often signals are heard.
const PATIENCE: Duration = Duration::from_millis(50);

/// A path, and what was wrong with it.
type Complaint<'py> = (Bound<'py, PyBytes>, String);

/// Search files as `search_files` does, and pass the lines on as columns.
///
/// Args:
///     paths: As for `search_files`.
///     patterns: As for `search_files`.
///     syntax: As for `search_files`.
///     options: "text" and "ignore", if they apply.
///     memory: As for `search_files`.
///     threads: As for `search_files`.
///     receive: Called with the columns of some lines: a list of paths; then, as bytes, for each line the index of its
///         path ("I"), its offset in the file ("Q"), its number ("Q"; 0 for a binary file that matches, without its
///         line) and the end of its bytes ("Q"); and the bytes of all lines.
///     listed: As for `search_files`.
///
/// Returns:
///     The numbers that `search_files` returns, and the path of each file that could not be read, with the reason.
///
/// Raises:
///     ValueError: As for `search_files`.
///     MemoryError: As for `search_files`.
#[pyfunction]
#[pyo3(signature = (paths, patterns, syntax, options, memory, threads, receive, listed=None))]
#[expect(clippy::too_many_arguments, reason = "the command's options, each of which stands for itself")]
pub(crate) fn search_rows<'py>(
    py: Python<'py>,
    paths: Vec<Vec<u8>>,
    patterns: Vec<Vec<u8>>,
    syntax: Vec<String>,
    options: Vec<String>,
    memory: usize,
    threads: usize,
    receive: &Bound<'py, PyAny>,
    listed: Option<Given>,
) -> PyResult<(Figures, Vec<Complaint<'py>>)> {
    let is_utf8 = is_utf8(&syntax);
    let matcher = matcher(&patterns, &syntax, is_utf8)?;
    let job = Job {
        start: start(paths, listed)?,
        ignores: options.iter().any(|option| option == "ignore"),
        wanted: Wanted::Lines,
        stops_early: false,
        as_text: options.iter().any(|option| option == "text"),
        is_utf8,
        output: None,
        threads,
        memory,
    };
    let is_stopped = AtomicBool::new(false);
    let (sender, receiver) = sync_channel(1);
    let (outcome, received) = thread::scope(|scope| {
        let (job, matcher, is_stopped) = (&job, &matcher, &is_stopped);
        let searching = scope.spawn(move || {
            let table = Table::new(sender);
            let totals = search(job, matcher, &table, is_stopped);
            totals.map(|totals| (totals, table.finish()))
        });
        let received = receive_all(py, receiver, receive);
        if received.is_err() {
            is_stopped.store(true, Ordering::Relaxed);
        }
        (py.detach(|| searching.join()), received)
    });
    received?;
    let (totals, problems) = outcome.unwrap_or_else(|panic| resume_unwind(panic)).map_err(raise)?;
    let complaint = |(path, problem): &(Box<[u8]>, Problem)| (PyBytes::new(py, path), problem.to_string());
    Ok((figures(&totals), problems.iter().map(complaint).collect()))
}

/// Hands on what comes, until nothing more will.
fn receive_all(py: Python<'_>, receiver: Receiver<Rows>, receive: &Bound<'_, PyAny>) -> PyResult<()> {
    let receiver = std::sync::Mutex::new(receiver);
    loop {
        let next = py.detach(|| {
            let receiver = receiver.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            receiver.recv_timeout(PATIENCE)
        });
        match next {
            Ok(rows) => hand_on(py, &rows, receive)?,
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn hand_on(py: Python<'_>, rows: &Rows, receive: &Bound<'_, PyAny>) -> PyResult<()> {
    let paths: Vec<_> = rows.paths.iter().map(|path| PyBytes::new(py, path)).collect();
    let numbers = |column: &[u64]| bytes_of(py, column.iter().map(|number| number.to_ne_bytes()));
    let files = bytes_of(py, rows.files.iter().map(|number| number.to_ne_bytes()));
    let bytes = PyBytes::new(py, &rows.bytes);
    let columns = (paths, files, numbers(&rows.offsets), numbers(&rows.numbers), numbers(&rows.ends), bytes);
    receive.call1(columns).map(drop)
}

fn bytes_of<const N: usize>(py: Python<'_>, numbers: impl Iterator<Item = [u8; N]>) -> Bound<'_, PyBytes> {
    PyBytes::new(py, &numbers.flatten().collect::<Vec<_>>())
}
