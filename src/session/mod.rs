//! Place of `seal`.
