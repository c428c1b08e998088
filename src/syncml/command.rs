//! The commands of a SyncBody.

/// The names of the commands of a SyncBody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Command {
    Add,
    Alert,
    Atomic,
    Copy,
    Delete,
    Exec,
    Get,
    Map,
    Move,
    Put,
    Replace,
    Results,
    Search,
    Sequence,
    Status,
    Sync,
    /// An element of SyncBody, or of a container in it, that is none of the others.
    Unknown,
}

impl Command {
    /// Every command, in the order of their names.
    const ALL: [Self; 17] = [
        Self::Add,
        Self::Alert,
        Self::Atomic,
        Self::Copy,
        Self::Delete,
        Self::Exec,
        Self::Get,
        Self::Map,
        Self::Move,
        Self::Put,
        Self::Replace,
        Self::Results,
        Self::Search,
        Self::Sequence,
        Self::Status,
        Self::Sync,
        Self::Unknown,
    ];

    /// The command of an element's local name.
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b"Add" => Self::Add,
            b"Alert" => Self::Alert,
            b"Atomic" => Self::Atomic,
            b"Copy" => Self::Copy,
            b"Delete" => Self::Delete,
            b"Exec" => Self::Exec,
            b"Get" => Self::Get,
            b"Map" => Self::Map,
            b"Move" => Self::Move,
            b"Put" => Self::Put,
            b"Replace" => Self::Replace,
            b"Results" => Self::Results,
            b"Search" => Self::Search,
            b"Sequence" => Self::Sequence,
            b"Status" => Self::Status,
            b"Sync" => Self::Sync,
            _ => Self::Unknown,
        }
    }

    /// Whether it holds other commands.
    pub fn is_container(self) -> bool {
        matches!(self, Self::Atomic | Self::Sequence | Self::Sync)
    }
}

/// A set of commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commands(u32);

impl Commands {
    /// Adds a command.
    pub fn insert(&mut self, command: Command) {
        self.0 |= 1 << command as u8;
    }

    /// Whether it is in the set.
    pub fn contains(self, command: Command) -> bool {
        self.0 & 1 << command as u8 != 0
    }

    /// Whether the set holds none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in the set, in the order of their names.
    pub fn iter(self) -> impl Iterator<Item = Command> {
        Command::ALL.into_iter().filter(move |&command| self.contains(command))
    }
}

impl FromIterator<Command> for Commands {
    fn from_iter<I: IntoIterator<Item = Command>>(commands: I) -> Self {
        let mut set = Self::default();
        commands.into_iter().for_each(|command| set.insert(command));
        set
    }
}
