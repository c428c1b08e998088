//! Place of `agent`.
