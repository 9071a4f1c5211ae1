//! Where each customer stands, and the notices of every change: opaque bytes that move in the same
//! commit as states, event ids and watermarks.
//!
//! A turn writes a customer's standing and, where there is something to tell, a notice. Notices
//! are numbered and kept in order until they are pruned; whoever has read up to one asks for those
//! after it, also after a restart. A turn of a customer without a state is left out, so that an
//! erased customer does not come back. It deliberately does not know what the bytes mean.

use std::fmt;

use super::batch::Commit;
use super::error::StoreError;
use crate::domain::CustomerId;

/// Longest standing, in bytes.
pub const STANDING_BYTES_MAX: usize = 64;
/// Longest notice, in bytes.
pub const NOTICE_BYTES_MAX: usize = 2_048;

/// The place of a notice in the order of all: the commit that wrote it, then its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NoticeId {
    /// The commit; 0 is before everything.
    pub commit: Commit,
    /// Its number in the commit, from 0.
    pub idx: u32,
}

impl NoticeId {
    /// After every notice of a commit.
    #[must_use]
    pub const fn end_of(commit: Commit) -> Self {
        Self { commit, idx: u32::MAX }
    }

    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (commit, idx) = text.strip_prefix('t')?.split_once('.')?;
        Some(Self { commit: Commit(commit.parse().ok()?), idx: idx.parse().ok()? })
    }
}

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}.{}", self.commit.0, self.idx)
    }
}

/// Where a customer stands from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Whose.
    pub customer: CustomerId,
    /// The new standing, at most [`STANDING_BYTES_MAX`] bytes.
    pub standing: Vec<u8>,
    /// What is told of it, at most [`NOTICE_BYTES_MAX`] bytes; nothing where there is no news.
    pub notice: Option<Vec<u8>>,
}

impl Turn {
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let notice = self.notice.as_ref().map_or(0, Vec::len);
        for (what, found, limit) in [
            ("a standing", self.standing.len(), STANDING_BYTES_MAX),
            ("a notice", notice, NOTICE_BYTES_MAX),
        ] {
            if found > limit {
                return Err(StoreError::BadLength { what, found, limit });
            }
        }
        Ok(())
    }
}

/// A notice as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its place.
    pub id: NoticeId,
    /// Whom it is of.
    pub customer: CustomerId,
    /// The caller's bytes.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notices_place_comes_back_from_its_text() {
        for id in [
            NoticeId::default(),
            NoticeId { commit: Commit(7), idx: 3 },
            NoticeId::end_of(Commit(u64::MAX)),
        ] {
            assert_eq!(NoticeId::parse(&id.to_string()), Some(id));
        }
        for text in ["", "t", "t1", "1.2", "t1.", "t1.-2", "t1.4294967296", "tx.1"] {
            assert_eq!(NoticeId::parse(text), None, "{text:?}");
        }
    }
}
