//! Place of `gateway`.
