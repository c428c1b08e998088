//! Place of `admin`.
