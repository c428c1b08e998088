//! Place of `sample`.
