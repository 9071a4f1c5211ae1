//! Standings and notices in the engine.
//!
//! Both are followed by a CRC-32 (IEEE 802.3), little-endian, of their key and what stands before
//! it. A notice holds the length of the customer id (2 bytes, little-endian), the id and the
//! caller's bytes.

use std::collections::BTreeSet;

use super::super::error::hex;
use super::super::key;
use super::super::notices::{Notice, NoticeId, Turn};
use super::super::{Commit, CorruptPart, Put, StoreError};
use super::{PRUNE_CHUNK, SledStore};
use crate::domain::CustomerId;

const CRC_BYTES: usize = 4;

impl SledStore {
    /// Adds the turns of customers with a state, and answers whether there was any.
    pub(super) fn put_turns(
        &self,
        batch: &mut ::sled::Batch,
        turns: &[Turn],
        (puts, commit): (&[Put], u64),
    ) -> Result<bool, StoreError> {
        if turns.is_empty() {
            return Ok(false);
        }
        let new: BTreeSet<&CustomerId> = puts.iter().map(|put| &put.customer).collect();
        let (mut is_change, mut idx) = (false, 0);
        for Turn { customer, standing, notice } in turns {
            let has_state = new.contains(customer) || self.has_state(customer)?;
            if !has_state {
                continue;
            }
            is_change = true;
            let key = key::standing_key(customer);
            batch.insert(&*key, sealed(&key, standing.clone()));
            if let Some(notice) = notice {
                let key = key::notice_key(NoticeId { commit: Commit(commit), idx });
                batch.insert(&*key, sealed(&key, notice_bytes(customer, notice)));
                idx += 1;
            }
        }
        Ok(is_change)
    }

    fn has_state(&self, customer: &CustomerId) -> Result<bool, StoreError> {
        Ok(self.read(&key::state_key(customer))?.is_some())
    }

    /// Where a customer stands.
    pub(super) fn read_standing(
        &self,
        customer: &CustomerId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let key = key::standing_key(customer);
        self.read(&key)?.map(|value| self.opened(&key, &value).map(<[u8]>::to_vec)).transpose()
    }

    /// The acknowledged notices after a place.
    pub(super) fn read_notices(
        &self,
        after: NoticeId,
        most: usize,
    ) -> Result<Vec<Notice>, StoreError> {
        let last = NoticeId::end_of(super::StateStore::last_commit(self));
        if after >= last {
            return Ok(Vec::new());
        }
        let from = std::ops::Bound::Excluded(key::notice_key(after));
        let to = std::ops::Bound::Included(key::notice_key(last));
        let entries = self.engine.range::<Vec<u8>, _>((from, to)).take(most);
        entries
            .map(|entry| {
                let (key, value) = entry.map_err(|source| self.engine_error("scan", source))?;
                self.notice(&key, &value)
            })
            .collect()
    }

    fn notice(&self, key: &[u8], value: &[u8]) -> Result<Notice, StoreError> {
        let damaged = || self.damaged(key);
        let id = key::parse_notice(&key[1..]).ok_or_else(damaged)?;
        let value = self.opened(key, value)?;
        let (length, rest) = value.split_first_chunk::<2>().ok_or_else(damaged)?;
        let length = usize::from(u16::from_le_bytes(*length));
        let (customer, bytes) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let customer = std::str::from_utf8(customer).map_err(|_| damaged())?;
        let customer = CustomerId::try_new(customer).map_err(|_| damaged())?;
        Ok(Notice { id, customer, bytes: bytes.to_vec() })
    }

    /// Everything up to this place is gone.
    pub(super) fn read_floor(&self) -> Result<NoticeId, StoreError> {
        match self.read(key::NOTICES_FLOOR)? {
            None => Ok(NoticeId::default()),
            Some(value) => {
                key::parse_notice(&value).ok_or_else(|| self.damaged(key::NOTICES_FLOOR))
            }
        }
    }

    /// Removes all but the newest notices.
    pub(super) fn remove_notices(&self, keep: usize) -> Result<u64, StoreError> {
        let mut keys = Vec::new();
        for entry in self.entries(vec![key::TAG_NOTICE]) {
            keys.push(entry?.0);
        }
        keys.truncate(keys.len().saturating_sub(keep));
        let mut n_removed = 0;
        for keys in keys.chunks(PRUNE_CHUNK) {
            let turn = self.turn()?;
            let next = super::Counters { commit: turn.commit + 1, ..*turn };
            let mut changes = ::sled::Batch::default();
            for key in keys {
                changes.remove(key);
            }
            if let Some(last) = keys.last() {
                changes.insert(key::NOTICES_FLOOR, &last[1..]);
            }
            self.write(turn, changes, next)?;
            n_removed += super::length(keys);
        }
        Ok(n_removed)
    }

    /// Removes what is noted of a customer.
    pub(super) fn forget_notices(
        &self,
        batch: &mut ::sled::Batch,
        customer: &CustomerId,
    ) -> Result<(), StoreError> {
        batch.remove(key::standing_key(customer));
        for entry in self.entries(vec![key::TAG_NOTICE]) {
            let (key, value) = entry?;
            if self.notice(&key, &value)?.customer == *customer {
                batch.remove(key);
            }
        }
        Ok(())
    }

    /// Reads every standing and notice; tells of each that cannot be read.
    pub(super) fn verify_notices(
        &self,
        tell: &mut dyn FnMut(&[u8], &StoreError),
    ) -> Result<(), StoreError> {
        for entry in self.entries(vec![key::TAG_STANDING]) {
            let (key, value) = entry?;
            if let Err(error) = self.opened(&key, &value) {
                tell(&key, &error);
            }
        }
        for entry in self.entries(vec![key::TAG_NOTICE]) {
            let (key, value) = entry?;
            if let Err(error) = self.notice(&key, &value) {
                tell(&key, &error);
            }
        }
        Ok(())
    }

    fn opened<'v>(&self, key: &[u8], value: &'v [u8]) -> Result<&'v [u8], StoreError> {
        let parts = value.split_last_chunk::<CRC_BYTES>();
        let (content, crc) = parts.ok_or_else(|| self.damaged(key))?;
        if checksum(key, content) != u32::from_le_bytes(*crc) {
            return Err(self.damaged(key));
        }
        Ok(content)
    }

    fn damaged(&self, key: &[u8]) -> StoreError {
        StoreError::Corrupt {
            dir: self.home.dir().to_owned(),
            part: CorruptPart::Engine,
            detail: format!("the entry {} is damaged", hex(key)),
        }
    }
}

fn notice_bytes(customer: &CustomerId, notice: &[u8]) -> Vec<u8> {
    let id = customer.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(2 + id.len() + notice.len() + CRC_BYTES);
    // An id has at most 256 bytes.
    let length = u16::try_from(id.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(id);
    bytes.extend_from_slice(notice);
    bytes
}

fn sealed(key: &[u8], mut content: Vec<u8>) -> Vec<u8> {
    let crc = checksum(key, &content);
    content.extend_from_slice(&crc.to_le_bytes());
    content
}

fn checksum(key: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(content);
    hasher.finalize()
}
