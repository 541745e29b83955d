//! The tables: what is stored under which key.

/// Tables with keys and values of the caller's own making (postcard values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// How far a log was applied here.
    Cursor,
    /// Small documents of this node alone.
    Local,
    /// Who is a member.
    Member,
    /// Facts about the cluster.
    Meta,
    /// Writes that wait for their acknowledgements.
    Pending,
    /// Changes that could not be applied.
    Quarantine,
    /// Acceptor state of registers.
    Register,
}
