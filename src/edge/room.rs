//! How many connections the process has descriptors for (fault O09).
//!
//! # Why a cap and not only a pause
//! Without one, clients take the last descriptor, and then a request that was let in has none for its
//! provider, and nobody can look at `/metrics` to see why. A client that is turned away at the door costs
//! nobody else anything.

/// Connections each side may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub clients: u32,
    pub admin: u32,
}

/// Standard streams, sockets that listen, the runtimes' own, the journal's files, lookups, probes.
const OWN: u64 = 32;

impl Room {
    /// Every client may have one request under way, and each of those needs a connection to a provider.
    /// `limit` is what the process may open; `None` when there is no limit.
    pub fn within(limit: Option<u64>, wanted: u32) -> Self {
        let Some(limit) = limit else {
            return Self {
                clients: wanted,
                admin: MOST_ADMIN,
            };
        };
        let admin = u32::try_from(limit / 16)
            .unwrap_or(MOST_ADMIN)
            .clamp(LEAST_ADMIN, MOST_ADMIN);
        let both_sides = limit.saturating_sub(OWN).saturating_sub(u64::from(admin));
        let clients = u32::try_from(both_sides / 2).unwrap_or(u32::MAX).max(1);
        Self {
            clients: clients.min(wanted),
            admin,
        }
    }
}

const LEAST_ADMIN: u32 = 8;
const MOST_ADMIN: u32 = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn o09_without_a_limit_there_is_room_for_all_that_are_wanted() {
        assert_eq!(Room::within(None, 16_384).clients, 16_384);
        assert_eq!(Room::within(Some(1 << 20), 16_384).clients, 16_384);
        assert_eq!(Room::within(Some(u64::MAX), u32::MAX).clients, u32::MAX);
    }

    #[test]
    fn o09_the_usual_limit_of_a_shell_leaves_room_for_both_sides() {
        let room = Room::within(Some(1_024), 16_384);
        assert_eq!((room.clients, room.admin), (464, 64));
    }

    proptest! {
        #[test]
        fn o09_all_that_is_let_in_fits_together_with_its_upstream_connections(
            limit in 64_u64..2_000_000, wanted in 1_u32..100_000,
        ) {
            let room = Room::within(Some(limit), wanted);
            let most = OWN + u64::from(room.admin) + 2 * u64::from(room.clients);
            prop_assert!(most <= limit, "{most} > {limit}");
            prop_assert!((1..=wanted).contains(&room.clients));
            prop_assert!(room.admin >= LEAST_ADMIN);
        }

        #[test]
        fn o09_somebody_is_let_in_however_small_the_limit(limit: u64, wanted in 1_u32..) {
            prop_assert!(Room::within(Some(limit), wanted).clients >= 1);
        }
    }
}
