//! Finds a replica in the primary's list of standbys. PURE.
//!
//! Neither side names the other by address: the primary knows the address that the replica's
//! connection comes *from*, and whatever name it gave itself. So the surest mark that both sides
//! show is taken first: the slot, then the name, then the address. When none is unique the answer
//! is still known if all standbys are in the same state.
//!
//! What is found here is shown to people; nothing is routed by it.

/// A standby's connection as its primary shows it (`pg_stat_replication`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    /// `application_name`: what the replica called itself.
    pub(super) name: String,
    /// Address that it comes from; none over a Unix socket.
    pub(super) address: Option<String>,
    /// `streaming`, `catchup`, `backup`, ...
    pub(super) state: String,
    /// `async`, `sync`, `quorum`, `potential`.
    pub(super) sync_state: String,
    /// The slot that it uses.
    pub(super) slot: Option<String>,
}

/// The same connection as the replica shows it (`pg_stat_wal_receiver`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Receiver {
    /// `streaming`, `starting`, `waiting`, ...
    pub(super) status: String,
    /// The slot that it uses.
    pub(super) slot: Option<String>,
    /// The name that it gives to the primary.
    pub(super) name: Option<String>,
}

/// The primary's entry for the replica that shows `receiver` and is reached at `host`; `None` when
/// it is not there, or cannot be told apart from entries that differ.
pub(super) fn find<'a>(
    senders: &'a [Sender],
    receiver: &Receiver,
    host: &str,
) -> Option<&'a Sender> {
    let by_slot = |sender: &&Sender| sender.slot.is_some() && sender.slot == receiver.slot;
    let by_name = |sender: &&Sender| receiver.name.as_ref() == Some(&sender.name);
    let by_address = |sender: &&Sender| sender.address.as_deref() == Some(host);
    only(senders.iter().filter(by_slot))
        .or_else(|| only(senders.iter().filter(by_name)))
        .or_else(|| only(senders.iter().filter(by_address)))
        .or_else(|| {
            let (first, rest) = senders.split_first()?;
            let alike =
                |other: &Sender| other.state == first.state && other.sync_state == first.sync_state;
            rest.iter().all(alike).then_some(first)
        })
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

/// The name that a WAL receiver gives to its primary, from its connection string: keys and values
/// in libpq's syntax (PostgreSQL docs, 34.1.1.1). PostgreSQL itself sets the fallback to
/// `cluster_name`, or else `walreceiver`.
pub(super) fn receiver_name(conninfo: &str) -> Option<String> {
    let mut fallback = None;
    let mut rest = conninfo.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = value(after.trim_start());
        match key.trim() {
            "application_name" if !value.is_empty() => return Some(value),
            "fallback_application_name" if !value.is_empty() => fallback = Some(value),
            _ => {}
        }
        rest = after.trim_start();
    }
    fallback
}

/// One value and what follows it: quoted or up to a space, a backslash escapes either way.
fn value(text: &str) -> (String, &str) {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return (value, text.get(at + 1..).unwrap_or_default()),
            c if !quoted && c.is_ascii_whitespace() => {
                return (value, text.get(at..).unwrap_or_default());
            }
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests;
