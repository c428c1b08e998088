//! How the program ends.

use std::process::ExitCode;

/// Exit statuses, numbered as in BSD's sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or drained.
    Done,
    /// Ended before every exchange in progress was finished.
    Forced,
    /// The command line, or a file that it names, is not what the verb needs.
    Usage,
    /// The session store, or the gateway that is asked, is out of reach or not ready.
    Unavailable,
    /// A fault of this program, or of the system.
    Internal,
    /// An address cannot be bound.
    Bind,
    /// The policy, or a file that it names, is wrong.
    Configuration,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Forced => 1,
            Exit::Usage => 64,
            Exit::Unavailable => 69,
            Exit::Internal => 70,
            Exit::Bind => 71,
            Exit::Configuration => 78,
        })
    }
}
