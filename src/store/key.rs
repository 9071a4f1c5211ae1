//! Keys: how a customer, an event id and the store's own entries are spelled as bytes.
//!
//! In: ids. Out: bytes whose order is shard, then customer id, then event id; and back.

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::batch::Commit;
use super::notices::NoticeId;
use crate::domain::CustomerId;
use crate::domain::EventId;
use crate::domain::IdError;

/// Number of virtual shards: fixed from the first day, so that a store can be split later
/// without touching a key.
pub const N_SHARDS: u16 = 1024;

/// Bits of the 64-bit hash that are not the shard.
const SHARD_SHIFT: u32 = 54;

/// First byte of a state's key.
pub(super) const TAG_STATE: u8 = b's';
/// First byte of a remembered event id's key.
pub(super) const TAG_DEDUPE: u8 = b'd';
/// The store's own counters, each 8 bytes, little-endian; their keys begin with `c`.
pub(super) const COMMIT_COUNTER: &[u8] = b"ccommit";
/// How many states there are.
pub(super) const STATES_COUNTER: &[u8] = b"cstates";
/// There while an import has not finished.
pub(super) const IMPORT_MARK: &[u8] = b"cimport";
/// Everything up to this notice is gone: the key of a notice, without its tag.
pub(super) const NOTICES_FLOOR: &[u8] = b"cnotices";
/// First byte of a standing's key.
pub(super) const TAG_STANDING: u8 = b'n';
/// First byte of a notice's key.
pub(super) const TAG_NOTICE: u8 = b't';
/// First byte of a watermark's key.
pub(super) const TAG_WATERMARK: u8 = b'w';
/// First byte of a pinned fact's key.
pub(super) const TAG_PIN: u8 = b'p';

/// Ends the customer id inside a key. An id holds no control character, so no id is mistaken
/// for the beginning of a longer one.
const ID_END: u8 = 0;

const EVENT_BYTES: usize = 16;

/// Why stored bytes are no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Too few bytes.
    #[error("{found} bytes are too few for a key")]
    TooShort {
        /// Its length in bytes.
        found: usize,
    },
    /// The customer id is no text.
    #[error("the customer id is not UTF-8")]
    NotText,
    /// The customer id is none that the program accepts.
    #[error("the customer id is unusable: {0}")]
    BadId(#[from] IdError),
    /// The key stands in a shard that is not the customer's.
    #[error("it stands in shard {found}, the customer belongs to shard {expected}")]
    WrongShard {
        /// The shard of the customer.
        expected: u16,
        /// The shard in the key.
        found: u16,
    },
}

/// The virtual shard of a customer, 0 to 1,023: the top ten bits of xxh3-64 of the id's bytes.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "64 - 54 bits fit into 16")]
pub fn shard_of(customer: &CustomerId) -> u16 {
    (xxh3_64(customer.as_str().as_bytes()) >> SHARD_SHIFT) as u16
}

/// The place of a customer: shard (big-endian), then the id's bytes.
pub(super) fn place(customer: &CustomerId) -> Vec<u8> {
    let id = customer.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(2 + id.len());
    bytes.extend_from_slice(&shard_of(customer).to_be_bytes());
    bytes.extend_from_slice(id);
    bytes
}

pub(super) fn state_key(customer: &CustomerId) -> Vec<u8> {
    tagged(TAG_STATE, &place(customer))
}

/// What all remembered event ids of a customer begin with.
pub(super) fn dedupe_prefix(customer: &CustomerId) -> Vec<u8> {
    let mut bytes = tagged(TAG_DEDUPE, &place(customer));
    bytes.push(ID_END);
    bytes
}

pub(super) fn dedupe_key(customer: &CustomerId, event: EventId) -> Vec<u8> {
    let mut bytes = dedupe_prefix(customer);
    bytes.extend_from_slice(&event.bits().to_be_bytes());
    bytes
}

pub(super) fn standing_key(customer: &CustomerId) -> Vec<u8> {
    tagged(TAG_STANDING, &place(customer))
}

/// The order of these keys is that of the notices.
pub(super) fn notice_key(id: NoticeId) -> Vec<u8> {
    let mut bytes = tagged(TAG_NOTICE, &id.commit.0.to_be_bytes());
    bytes.extend_from_slice(&id.idx.to_be_bytes());
    bytes
}

/// Reads the key of a notice back, without its tag.
pub(super) fn parse_notice(bytes: &[u8]) -> Option<NoticeId> {
    let (commit, idx) = bytes.split_first_chunk::<8>()?;
    let idx = u32::from_be_bytes(idx.try_into().ok()?);
    Some(NoticeId { commit: Commit(u64::from_be_bytes(*commit)), idx })
}

pub(super) fn tagged(tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + rest.len());
    bytes.push(tag);
    bytes.extend_from_slice(rest);
    bytes
}

/// Reads a place (shard and id) back.
pub(super) fn parse_place(bytes: &[u8]) -> Result<CustomerId, KeyError> {
    let Some((shard, id)) = bytes.split_first_chunk::<2>() else {
        return Err(KeyError::TooShort { found: bytes.len() });
    };
    let text = std::str::from_utf8(id).map_err(|_| KeyError::NotText)?;
    let customer = CustomerId::try_new(text)?;
    let (expected, found) = (shard_of(&customer), u16::from_be_bytes(*shard));
    if expected != found {
        return Err(KeyError::WrongShard { expected, found });
    }
    Ok(customer)
}

/// Reads the key of a remembered event id back, without its tag.
pub(super) fn parse_dedupe(bytes: &[u8]) -> Result<(CustomerId, EventId), KeyError> {
    let short = KeyError::TooShort { found: bytes.len() };
    let Some((head, event)) = bytes.split_last_chunk::<EVENT_BYTES>() else {
        return Err(short);
    };
    let Some((&ID_END, place)) = head.split_last() else {
        return Err(short);
    };
    Ok((parse_place(place)?, EventId::from_bits(u128::from_be_bytes(*event))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(text: &str) -> CustomerId {
        CustomerId::try_new(text).unwrap()
    }

    #[test]
    fn keys_come_back() {
        for text in ["1", "Zoë", " padded ", "customers/7"] {
            let (id, event) = (customer(text), EventId::from_bits(u128::MAX - 7));
            assert_eq!(parse_place(&state_key(&id)[1..]).unwrap(), id);
            assert_eq!(parse_dedupe(&dedupe_key(&id, event)[1..]).unwrap(), (id, event));
        }
    }

    #[test]
    fn every_shard_is_within_range_and_used() {
        let shards: std::collections::BTreeSet<u16> =
            (0..20_000).map(|i| shard_of(&customer(&format!("c{i}")))).collect();
        assert_eq!(shards.len(), usize::from(N_SHARDS));
        assert!(shards.iter().all(|&shard| shard < N_SHARDS));
    }

    #[test]
    fn one_id_is_never_the_prefix_of_another() {
        let short = dedupe_prefix(&customer("a"));
        for longer in ["ab", "a b", "aa"] {
            assert!(
                !dedupe_key(&customer(longer), EventId::from_bits(0))[3..].starts_with(&short[3..])
            );
        }
    }

    #[test]
    fn a_key_in_the_wrong_shard_is_refused() {
        let mut place = place(&customer("a"));
        place[0] ^= 1;
        assert!(matches!(parse_place(&place), Err(KeyError::WrongShard { .. })));
        assert!(matches!(parse_place(&[0]), Err(KeyError::TooShort { found: 1 })));
        assert!(matches!(parse_dedupe(&[0; 16]), Err(KeyError::TooShort { .. })));
    }
}
