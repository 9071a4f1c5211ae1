//! Frames of HTTP/2 (RFC 9113, 4.1): their heads, and how one is written.
//!
//! In: bytes. Out: heads, the header block within a frame's content, frames as bytes. It
//! deliberately judges nothing: what is malformed is for the library to refuse.

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const HAS_PRIORITY: u8 = 0x20;

/// The setting that bounds the table of the other side's header blocks.
pub(super) const HEADER_TABLE_SIZE: u16 = 1;
/// Bytes of a head.
pub(super) const HEAD_BYTES: usize = 9;
/// Most bytes of a frame's content as long as nobody allows more; the server does not.
pub(super) const CONTENT_BYTES_MAX: usize = 1 << 14;

/// What stands before a frame's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the content.
    pub(super) n_bytes: usize,
    /// What the frame is.
    pub(super) kind: u8,
    /// As the kind wants them.
    pub(super) flags: u8,
    /// The stream, or 0 for the connection.
    pub(super) stream: u32,
}

impl Head {
    /// Reads one.
    pub(super) const fn of(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, d, e, f, g] = bytes;
        Self {
            n_bytes: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([d & 0x7f, e, f, g]),
        }
    }

    /// The head at the beginning of some bytes, if it is there.
    pub(super) fn at(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|head| Self::of(*head))
    }

    /// Whether a flag is set.
    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Bytes of the whole frame.
    pub(super) const fn frame_bytes(self) -> usize {
        HEAD_BYTES + self.n_bytes
    }
}

/// The part of a header block that a HEADERS frame holds: its content without padding and
/// priority; none if these are longer than the content.
pub(super) fn block_of(head: Head, content: &[u8]) -> Option<&[u8]> {
    let mut rest = content;
    let mut n_padding = 0;
    if head.has(PADDED) {
        let (first, after) = rest.split_first()?;
        (n_padding, rest) = (usize::from(*first), after);
    }
    if head.has(HAS_PRIORITY) {
        rest = rest.get(5..)?;
    }
    rest.get(..rest.len().checked_sub(n_padding)?)
}

/// Appends a frame. Its content is shorter than [`CONTENT_BYTES_MAX`].
pub(super) fn put(out: &mut Vec<u8>, (kind, flags): (u8, u8), stream: u32, content: &[u8]) {
    debug_assert!(content.len() <= CONTENT_BYTES_MAX, "a frame of {} bytes", content.len());
    let [_, _, _, _, _, a, b, c] = (content.len() as u64).to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(content);
}
