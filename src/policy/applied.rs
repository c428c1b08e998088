//! What is told of a policy that took the place of another.

/// What came of a reload that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which policy this is, counted from the 1 of the start.
    pub generation: u64,
    /// The keys that were changed and stay as they were until the next start.
    pub kept: Vec<&'static str>,
}
