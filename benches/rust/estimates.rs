//! The results that criterion has written in this run.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

/// The files of criterion that are new.
pub struct Estimates {
    home: PathBuf,
    since: SystemTime,
}

impl Estimates {
    /// Reads only files written after `since`, because a ratio of two runs would compare two states of the machine.
    pub fn since(since: SystemTime) -> Self {
        Self { home: criterion_home(), since }
    }

    /// Median time of an iteration of `benchmark` in a criterion group, in nanoseconds; `None` unless this run measured
    /// it.
    pub fn median(&self, group: &str, benchmark: &str) -> Option<f64> {
        let path = self.home.join(group).join(benchmark).join("new/estimates.json");
        if path.metadata().ok()?.modified().ok()? < self.since {
            return None;
        }
        let estimates: Value = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
        estimates["median"]["point_estimate"].as_f64()
    }
}

/// Where criterion writes. It asks cargo for the target directory at run time; cargo told us when it built us.
fn criterion_home() -> PathBuf {
    let beside_tmp = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion");
    std::env::var_os("CRITERION_HOME").map_or_else(beside_tmp, PathBuf::from)
}
