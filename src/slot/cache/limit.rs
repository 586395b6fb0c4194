//! How many bytes are kept warm at most: what the program or its environment says.

use std::ffi::OsStr;

use crate::os;
use crate::sync::{AtomicUsize, Ordering, shared};

/// The bound where nobody sets one: this, or a share of the memory that the machine and its cgroups allow if that is
/// less.
const DEFAULT_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// The share.
const DEFAULT_SHARE: usize = 16;

/// The environment variable that sets the bound, in bytes, for programs that cannot be changed.
pub(crate) const VARIABLE: &str = "MEMGROUP_WARM_LIMIT";

/// No limit was set, and the environment was not looked at.
const UNSET: usize = usize::MAX;

shared! {
    /// Not in the store: a child has its parent's limit.
    static LIMIT: AtomicUsize = AtomicUsize::new(UNSET);
}

pub(super) fn limit() -> usize {
    match LIMIT.load(Ordering::Relaxed) {
        UNSET => {
            let first = first_limit();
            // Whoever was quicker has set what counts.
            LIMIT.compare_exchange(UNSET, first, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|set| set, |_| first)
        }
        limit => limit,
    }
}

/// Says how many instead of the environment.
pub(super) fn set_limit(bytes: usize) {
    LIMIT.store(bytes.min(UNSET - 1), Ordering::Relaxed);
}

/// Whether a layer above shows users what is wrong with the environment; else standard error hears of it.
static IS_SHOWN_ELSEWHERE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Leaves it to the caller to show what [`limit_in_environment`] complains of.
pub(crate) fn leave_complaints_to_caller() {
    IS_SHOWN_ELSEWHERE.store(true, Ordering::Relaxed);
}

fn first_limit() -> usize {
    let default = DEFAULT_LIMIT_BYTES.min(os::headroom::most_memory() / DEFAULT_SHARE);
    match limit_in_environment() {
        Ok(limit) => limit.unwrap_or(default).min(UNSET - 1),
        Err(complaint) => {
            if !IS_SHOWN_ELSEWHERE.load(Ordering::Relaxed) {
                let _nobody_listens = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{complaint}\n"));
            }
            default
        }
    }
}

/// The limit that the environment sets, if it does; where it says something else, a complaint. A program that cannot be
/// changed must not fail for that.
pub(crate) fn limit_in_environment() -> Result<Option<usize>, String> {
    std::env::var_os(VARIABLE).map_or(Ok(None), |value| parse(&value))
}

/// Nothing means nothing was set, as an empty variable does elsewhere.
fn parse(value: &OsStr) -> Result<Option<usize>, String> {
    let text = value.to_str().map_or("?", str::trim);
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        format!("memgroup: {VARIABLE} must be a number of bytes (0 keeps nothing warm), not {value:?}: it is ignored")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_bytes_or_nothing() {
        let parsed = |value: &str| parse(OsStr::new(value));
        assert_eq!(parsed("0"), Ok(Some(0)));
        assert_eq!(parsed(" 1048576\n"), Ok(Some(1 << 20)));
        assert_eq!(parsed(""), Ok(None));
        for nonsense in ["64M", "-1", "1e9", "99999999999999999999999", "\u{fffd}"] {
            assert!(parsed(nonsense).unwrap_err().contains(VARIABLE), "{nonsense}");
        }
    }
}
