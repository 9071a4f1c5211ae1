//! The bytes of one stored state, format 1.
//!
//! ```text
//! offset  bytes  content
//! 0       1      format, 1
//! 1       1      flags, 0 (none is defined; others are refused)
//! 2       8      version, unsigned, little-endian, from 1
//! 10      n      the caller's bytes
//! 10 + n  4      CRC-32 (IEEE 802.3), little-endian, of the place, then of everything before it
//! ```
//! The place (shard and customer id) is under the checksum, so a value that an engine returns
//! for the wrong customer does not pass. Old readers stay when a format is added.

use thiserror::Error;

use super::batch::StoredState;

/// The format that is written.
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 10;
const CRC_BYTES: usize = 4;

/// Why stored bytes are no state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Too few bytes.
    #[error("{found} bytes are too few for a state, the shortest has 14")]
    TooShort {
        /// Its length in bytes.
        found: usize,
    },
    /// A newer program wrote it.
    #[error(
        "format {found} is unknown, this program reads format {FORMAT}: \
         use the program that wrote it or a newer one"
    )]
    UnknownFormat {
        /// The format byte.
        found: u8,
    },
    /// It has flags that this program does not know.
    #[error("flags {found:#04x} are unknown: use the program that wrote it or a newer one")]
    UnknownFlags {
        /// The flag byte.
        found: u8,
    },
    /// The checksum does not fit: the bytes were damaged, or belong to another customer.
    #[error("the checksum is {found:08x}, the content gives {expected:08x}")]
    Checksum {
        /// What the content gives.
        expected: u32,
        /// What is stored.
        found: u32,
    },
}

/// The bytes to store for a state at a place.
pub(super) fn encode(place: &[u8], version: u64, state: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + state.len() + CRC_BYTES);
    bytes.push(FORMAT);
    bytes.push(0);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(state);
    let crc = checksum(place, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads them back.
pub(super) fn decode(place: &[u8], bytes: &[u8]) -> Result<StoredState, CodecError> {
    let (version, state) = parts(place, bytes)?;
    Ok(StoredState { version, bytes: state.to_vec() })
}

/// Reads the version alone, with every check.
pub(super) fn version(place: &[u8], bytes: &[u8]) -> Result<u64, CodecError> {
    Ok(parts(place, bytes)?.0)
}

/// Version and the caller's bytes where they lie, with every check.
pub(super) fn parts<'a>(place: &[u8], bytes: &'a [u8]) -> Result<(u64, &'a [u8]), CodecError> {
    // The format first: a newer one may have another length or checksum.
    if let Some(&format) = bytes.first()
        && format != FORMAT
    {
        return Err(CodecError::UnknownFormat { found: format });
    }
    let short = CodecError::TooShort { found: bytes.len() };
    let Some((content, crc)) = bytes.split_last_chunk::<CRC_BYTES>() else {
        return Err(short);
    };
    let Some((header, state)) = content.split_first_chunk::<HEADER_BYTES>() else {
        return Err(short);
    };
    let (expected, found) = (checksum(place, content), u32::from_le_bytes(*crc));
    if expected != found {
        return Err(CodecError::Checksum { expected, found });
    }
    let [_, flags, version @ ..] = *header;
    if flags != 0 {
        return Err(CodecError::UnknownFlags { found: flags });
    }
    Ok((u64::from_le_bytes(version), state))
}

fn checksum(place: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(place);
    hasher.update(content);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CustomerId;
    use crate::store::key;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/store/state_v1.bin");

    fn golden_place() -> Vec<u8> {
        key::place(&CustomerId::try_new("golden-Zoë").unwrap())
    }

    #[test]
    fn golden_bytes_are_read_and_written() {
        let state =
            StoredState { version: 0x0102_0304_0506, bytes: b"opaque \x00\xff state".to_vec() };
        assert_eq!(decode(&golden_place(), GOLDEN).unwrap(), state);
        assert_eq!(encode(&golden_place(), state.version, &state.bytes), GOLDEN);
    }

    #[test]
    fn the_checksum_is_crc_32_of_ieee() {
        // The check value that the catalogue of CRC algorithms lists for CRC-32/ISO-HDLC.
        assert_eq!(checksum(b"1234", b"56789"), 0xcbf4_3926);
    }

    #[test]
    fn round_trips() {
        for (version, state) in [(1, vec![]), (u64::MAX, vec![0; 6000]), (7, b"x".to_vec())] {
            let bytes = encode(b"place", version, &state);
            let read = decode(b"place", &bytes).unwrap();
            assert_eq!(read, StoredState { version, bytes: state });
            assert_eq!(super::version(b"place", &bytes).unwrap(), version);
        }
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        for idx in 0..GOLDEN.len() * 8 {
            let mut bytes = GOLDEN.to_vec();
            bytes[idx / 8] ^= 1 << (idx % 8);
            assert!(decode(&golden_place(), &bytes).is_err(), "bit {idx}");
        }
        for len in 0..GOLDEN.len() {
            assert!(decode(&golden_place(), &GOLDEN[..len]).is_err(), "length {len}");
        }
        assert!(matches!(decode(b"elsewhere", GOLDEN), Err(CodecError::Checksum { .. })));
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let mut bytes = GOLDEN.to_vec();
        bytes[0] = 2;
        let refused = decode(&golden_place(), &bytes);
        assert_eq!(refused, Err(CodecError::UnknownFormat { found: 2 }));
    }

    #[test]
    fn an_unknown_flag_is_refused_by_name() {
        let mut bytes = encode(b"place", 1, b"x");
        bytes[1] = 0x80;
        let content_len = bytes.len() - CRC_BYTES;
        let crc = checksum(b"place", &bytes[..content_len]).to_le_bytes();
        bytes[content_len..].copy_from_slice(&crc);
        assert_eq!(decode(b"place", &bytes), Err(CodecError::UnknownFlags { found: 0x80 }));
    }
}
