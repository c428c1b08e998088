//! Place of `net`.
