//! How many clients each user and each database has, and may have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many clients one user and one database may have; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Of the same user.
    pub user: Option<usize>,
    /// Of the same database.
    pub database: Option<usize>,
}

/// Whose clients are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// A login name.
    User(String),
    /// A database, as clients call it.
    Database(String),
}

/// A user or database that has all the clients it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// Whose limit it is.
    pub party: Party,
    /// The limit.
    pub limit: usize,
}

/// Counts clients by user and by database.
#[derive(Debug, Default)]
pub struct Seating {
    taken: Mutex<HashMap<Party, usize>>,
}

/// A client's seats among those of its user and its database, from its login to its end.
#[derive(Debug)]
pub struct Seats {
    seating: Arc<Seating>,
    parties: [Party; 2],
}

impl Drop for Seats {
    fn drop(&mut self) {
        let mut taken = self.seating.lock();
        for party in &self.parties {
            if let Some(count) = taken.get_mut(party) {
                *count -= 1;
                if *count == 0 {
                    taken.remove(party);
                }
            }
        }
    }
}

impl Seating {
    /// Counts a client that has proven who it is.
    ///
    /// # Errors
    /// Whose limit is reached.
    pub fn sit(
        self: &Arc<Self>,
        user: &str,
        database: &str,
        limits: ClientLimits,
    ) -> Result<Seats, Crowded> {
        let parties = [
            Party::User(user.to_owned()),
            Party::Database(database.to_owned()),
        ];
        let mut taken = self.lock();
        for (party, limit) in parties.iter().zip([limits.user, limits.database]) {
            let count = taken.get(party).copied().unwrap_or(0);
            if let Some(limit) = limit.filter(|limit| count >= *limit) {
                let party = party.clone();
                return Err(Crowded { party, limit });
            }
        }
        for party in &parties {
            *taken.entry(party.clone()).or_insert(0) += 1;
        }
        Ok(Seats {
            seating: Arc::clone(self),
            parties,
        })
    }

    /// How many clients a user or a database has.
    #[must_use]
    pub fn of(&self, party: &Party) -> usize {
        self.lock().get(party).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Party, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_databases_have_as_many_clients_as_they_may_and_no_more() {
        let seating = Arc::new(Seating::default());
        let limits = ClientLimits {
            user: Some(2),
            database: Some(3),
        };
        let first = seating.sit("a", "d", limits).unwrap();
        let _second = seating.sit("a", "d", limits).unwrap();
        let crowded = seating.sit("a", "e", limits).unwrap_err();
        assert_eq!((crowded.party, crowded.limit), (Party::User("a".into()), 2));
        let _third = seating.sit("b", "d", limits).unwrap();
        let crowded = seating.sit("b", "d", limits).unwrap_err();
        assert_eq!(crowded.party, Party::Database("d".into()));
        // Who was refused is not counted anywhere.
        assert_eq!(seating.of(&Party::User("b".into())), 1);
        assert_eq!(seating.of(&Party::Database("e".into())), 0);
        drop(first);
        assert!(seating.sit("b", "d", limits).is_ok());
        assert!(seating.sit("a", "e", limits).is_ok());
    }
}
