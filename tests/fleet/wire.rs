//! What went over the wire, looked at by somebody who has no keys.
