//! Place of `policy`.
