//! SyncSeal makes SyncML servers safe that speak plaintext and cannot be changed.
//!
//! A [`gateway`] stands in front of such a server and takes sealed messages for it; an [`agent`] seals the messages of a
//! client that knows nothing of it. What goes between them is written in `docs/protocol.md`; what either may do says a
//! [`policy`]. The binary `syncseal` is a thin [`cli`] over this crate.
//!
//! It is no SyncML engine: it reads of a document what a proxy needs, edits nothing but an address, and passes every
//! other byte on as it came. It holds no cipher of its own.
//!
//! ```text
//! terminal or agent ── sealed SyncML ──► gateway ── original SyncML, byte for byte ──► legacy server
//!
//! one exchange in the gateway
//! net: read body ─► seal: what kind ─► session: which, is its number new ─► seal: open ─► syncml: scan
//!     ─► session: whose SyncML session ─► net: forward ─► syncml: RespURI, last message? ─► seal: seal ─► net: answer
//! ```
//!
//! # Floors
//!
//! A module uses the floors below its own, never one above; a test keeps this.
//!
//! | floor | modules | may use |
//! | --- | --- | --- |
//! | 5 | [`cli`] | all |
//! | 4 | [`gateway`], [`agent`] | [`admin`], [`intake`], [`policy`], [`session`], [`seal`], [`syncml`], [`net`], types of [`crypto`] |
//! | 4 | [`admin`] | [`net`] |
//! | 4 | [`intake`] | [`policy`], [`net`] |
//! | 4 | [`sample`] | [`syncml`], [`net`] |
//! | 3 | [`policy`] | [`session`], [`seal`], [`crypto`], [`syncml`], [`net`] |
//! | 3 | [`session`] | [`seal`], [`crypto`], [`syncml`] |
//! | 2 | [`seal`] | [`crypto`], [`syncml`] |
//! | 1 | [`syncml`], [`crypto`], [`net`] | nothing of ours; they do not know each other |
//!
//! `syncml`, `crypto` and `seal` are pure: bytes in, values out, no socket, no clock, no file, and randomness through an
//! argument. A device maker can build a terminal of their own on them; [`seal`] and [`session::terminal`] show how.
//!
//! # What never happens
//!
//! - Plaintext goes where policy asks for a seal: forwarding it takes a [`policy::PlaintextPermit`].
//! - A message is written anew: edits replace the bytes of a span that was found.
//! - Anything is released before it has been authenticated; a failed open changes no state.
//! - Anyone outside [`seal`] chooses a nonce, or a number is sealed under twice.
//! - A decoder trusts a length, a depth or a count before it has compared it with what is left.
//! - A peer learns why opening failed; a log or a message holds a key, a credential or a content.
#![forbid(unsafe_code)]

pub mod admin;
pub mod agent;
pub mod cli;
pub mod crypto;
pub mod gateway;
pub mod intake;
pub mod net;
pub mod policy;
pub mod sample;
pub mod seal;
pub mod session;
pub mod syncml;
