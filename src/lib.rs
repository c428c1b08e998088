//! SyncSeal: a transparent encrypting proxy for SyncML.
#![forbid(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod crypto;
pub mod gateway;
pub mod net;
pub mod policy;
pub mod sample;
pub mod seal;
pub mod session;
pub mod syncml;
