//! Searching trees of files, as grep does: what `memgroup gather` runs. No Python, and no output but through a [`Format`].
//!
//! Every thread takes the next file of the one [`Walk`], reads it block by block into its window, a block of the group that all
//! of them share, searches there, and hands on what it has found when it is the file's turn: so the order is that of the walk,
//! whatever the number of threads.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`matcher`] | what is searched for |
//! | [`walk`], [`rules`] | the files below some paths, less what `.gitignore` names |
//! | [`window`] | memory for what is read |
//! | [`scan`] | one file: its lines that match, and whether it is binary |
//! | [`turns`] | results in the order of the files |
//! | [`text`], [`json`] | results for people and for programs |
//! | [`rows`] | results as columns |

mod json;
pub(crate) mod matcher;
pub(crate) mod rows;
mod rules;
mod scan;
pub(crate) mod text;
mod turns;
pub(crate) mod walk;
mod window;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::Error;
use crate::group::{MemGroup, Options};
use crate::os::locale;
use crate::os::tree::{self, FileType, Identity};
use matcher::Matcher;
pub(crate) use scan::{Line, Summary, Wanted};
use scan::{Scan, Scanner};
use turns::{Chunk, Turn, Turns};
use walk::{File, Found, Walk};
pub(crate) use walk::{Listed, Start};
use window::Window;

/// The least memory that a thread can search with.
pub(crate) const MIN_MEMORY: usize = 256 << 10;

/// More threads than this seldom find more work.
const MAX_THREADS: usize = 12;

/// Whether text is UTF-8 in the locale of the process.
pub(crate) fn is_text_utf8() -> bool {
    locale::is_utf8()
}

/// Why a file was not searched to its end, or not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The code of the kernel's error.
    Os(i32),
    /// It has a line that no window holds: so many bytes are known of it.
    LongLine(usize),
    /// What it holds is what is being written.
    IsOutput,
}

/// What becomes of what is found.
pub(crate) trait Format: Sync {
    /// Results that are written at once.
    type Chunk: Chunk;

    /// Adds a line that matches.
    fn line(&self, chunk: &mut Self::Chunk, path: &[u8], line: &Line<'_>);

    /// Begins a line that is longer than the memory for it, the bytes of which follow as `more`; whether that is possible.
    fn begin_long_line(&self, chunk: &mut Self::Chunk, path: &[u8], line: &Line<'_>) -> bool;

    /// Adds to a long line; nothing ends it.
    fn more(&self, chunk: &mut Self::Chunk, bytes: &[u8]);

    /// Adds what is said of a file when it has been searched.
    fn file(&self, chunk: &mut Self::Chunk, path: &[u8], summary: &Summary);

    /// Says that something is wrong with a file.
    fn complain(&self, path: &[u8], problem: &Problem);

    /// Writes what is there, in turn.
    ///
    /// # Errors
    /// The code of the error; the search ends then.
    fn write(&self, chunk: Self::Chunk) -> Result<(), i32>;
}

/// What is to be searched, and how.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) start: Start,
    /// Whether what the files `.gitignore` name is left out.
    pub(crate) ignores: bool,
    pub(crate) wanted: Wanted,
    /// Whether the first match ends the search.
    pub(crate) stops_early: bool,
    /// Whether every file is text, whatever it holds.
    pub(crate) as_text: bool,
    /// Whether text is UTF-8.
    pub(crate) is_utf8: bool,
    /// The file that the results are written to, which is not searched.
    pub(crate) output: Option<Identity>,
    pub(crate) threads: usize,
    /// The most bytes that all threads together hold of the files.
    pub(crate) memory: usize,
}

impl Job {
    /// As many threads as were asked for (0: as the machine has), and as there is memory for.
    fn threads(&self) -> usize {
        let most = match self.threads {
            0 => thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
            asked => asked,
        };
        most.min(self.memory / MIN_MEMORY).max(1)
    }
}

/// What came of a search.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) files: AtomicU64,
    pub(crate) nbytes: AtomicU64,
    /// Lines that match: the first of a file only, where no more was wanted.
    pub(crate) matches: AtomicU64,
    pub(crate) matching_files: AtomicU64,
    /// Files and directories that could not be read, or not to the end.
    pub(crate) problems: AtomicU64,
}

impl Totals {
    fn add(&self, summary: &Summary) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.nbytes.fetch_add(summary.nbytes, Ordering::Relaxed);
        self.matches.fetch_add(summary.matches, Ordering::Relaxed);
        self.matching_files.fetch_add(u64::from(summary.matches > 0), Ordering::Relaxed);
    }
}

/// Why a search ended before its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was allowed less than [`MIN_MEMORY`].
    TooLittle(usize),
    /// There is no memory for it.
    Memory(Error),
    /// What was found cannot be written: the code of the error.
    Write(i32),
}

/// Searches all files, and writes what is found. `is_stopped` ends it early, which whoever sets it knows.
///
/// # Errors
/// [`Failure`].
pub(crate) fn search<F: Format>(
    job: &Job,
    matcher: &Matcher,
    format: &F,
    is_stopped: &AtomicBool,
) -> Result<Totals, Failure> {
    if job.memory < MIN_MEMORY {
        return Err(Failure::TooLittle(job.memory));
    }
    let threads = job.threads();
    let group = Options::new().limit(job.memory).name("gather").open().map_err(Failure::Memory)?;
    let shared = Shared {
        job,
        matcher,
        format,
        group: &group,
        walk: Mutex::new((0, Walk::new(job.start.clone(), job.ignores))),
        turns: Turns::default(),
        totals: Totals::default(),
        is_stopped,
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| shared.work())).collect();
        let own = shared.work();
        let joined = others.into_iter().map(|other| other.join().unwrap_or(Ok(())));
        std::iter::once(own).chain(joined.collect::<Vec<_>>()).collect()
    });
    outcomes.into_iter().collect::<Result<(), _>>()?;
    Ok(shared.totals)
}

/// What the threads of a search share.
struct Shared<'a, F: Format> {
    job: &'a Job,
    matcher: &'a Matcher,
    format: &'a F,
    group: &'a MemGroup,
    /// How many things the walk has come upon, and the walk.
    walk: Mutex<(u64, Walk)>,
    turns: Turns<F::Chunk>,
    totals: Totals,
    is_stopped: &'a AtomicBool,
}

impl<F: Format> Shared<'_, F> {
    /// What every thread does until there are no more files.
    fn work(&self) -> Result<(), Failure> {
        let done = self.search_files();
        if done.is_err() {
            self.stop();
        }
        done
    }

    fn search_files(&self) -> Result<(), Failure> {
        let window = Window::new(self.group).map_err(Failure::Memory)?;
        let mut scanner = Scanner::new(window, self.matcher, self.job, self.is_stopped);
        while let Some((number, found)) = self.next() {
            let mut turn = Turn::new(&self.turns, self.format, number, self.is_stopped);
            match found {
                Found::File(file) => self.search_file(&file, &mut scanner, &mut turn),
                Found::Unreadable(path, code) => self.complain(&path, &Problem::Os(code)),
                Found::Skipped(_) => {}
            }
            turn.finish().map_err(Failure::Write)?;
        }
        Ok(())
    }

    /// What the walk comes upon next, and its number.
    fn next(&self) -> Option<(u64, Found)> {
        let mut walk = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped.load(Ordering::Relaxed) {
            return None;
        }
        let (number, walk) = &mut *walk;
        let found = walk.find(|found| !matches!(found, Found::Skipped(_)))?;
        *number += 1;
        Some((*number - 1, found))
    }

    fn search_file(&self, file: &File, scanner: &mut Scanner<'_>, turn: &mut Turn<'_, F>) {
        let opened = match file.open() {
            Ok(Some(opened)) => opened,
            Ok(None) => return,
            Err(code) => return self.complain(&file.path, &Problem::Os(code)),
        };
        let facts = match tree::facts(&opened) {
            Ok(facts) => facts,
            Err(code) => return self.complain(&file.path, &Problem::Os(code)),
        };
        // What took the place of a file since the directory was listed.
        if !file.is_given && facts.kind != FileType::Regular {
            return;
        }
        if self.job.wanted == Wanted::Lines && self.job.output == Some(facts.identity) {
            return self.complain(&file.path, &Problem::IsOutput);
        }
        let mut scan = Scan::new(&opened, &facts, file.shown(), file.is_input());
        if let Err(problem) = scanner.scan(&mut scan, turn) {
            self.complain(file.shown(), &problem);
        }
        let summary = scan.into_summary();
        turn.file(file.shown(), &summary);
        self.totals.add(&summary);
        if self.job.stops_early && summary.matches > 0 {
            self.stop();
        }
    }

    fn complain(&self, path: &[u8], problem: &Problem) {
        self.totals.problems.fetch_add(1, Ordering::Relaxed);
        self.format.complain(path, problem);
    }

    /// Has the others end, those that wait for their turn, too.
    fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.turns.wake();
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Os(code) => {
                let error = std::io::Error::from_raw_os_error(*code).to_string();
                f.write_str(error.rsplit_once(" (os error").map_or(error.as_str(), |(words, _)| words))
            }
            Self::LongLine(bytes) => write!(f, "a line of {bytes} bytes or more does not fit: raise --memory"),
            Self::IsOutput => f.write_str("input file is also the output"),
        }
    }
}
