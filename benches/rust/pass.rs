//! Passes: everything is measured in each of them, so that a slow minute of the machine spoils one and not the result.

/// How often everything is measured. Odd, so that there is a middle one.
const PASSES: u32 = 3;

/// One time through all benchmarks.
#[derive(Clone, Copy)]
pub struct Pass(u32);

impl Pass {
    /// All passes, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=PASSES).map(Self)
    }

    /// Name of the criterion group that holds what this pass measures of some work.
    pub fn group_of(self, work: &str) -> String {
        format!("{work}.{}", self.0)
    }
}
