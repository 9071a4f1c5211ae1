//! Where the bytes stand that the library writes.
//!
//! In: bytes as they were written. Out: whether a frame of our own may stand between theirs, and
//! what the library has said of settings. It keeps nothing of the content.

use super::frames::{ACK, CONTINUATION, END_HEADERS, HEAD_BYTES, HEADERS, Head, SETTINGS};

/// The state between two writes.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    head: [u8; HEAD_BYTES],
    n_head: usize,
    /// Bytes of the frame's content that are still to come.
    n_left: usize,
    /// A header block has begun and not ended: nothing may stand within it.
    is_in_block: bool,
    /// Settings that the library sent since this was last taken.
    pub(super) n_settings: usize,
    /// Whether the library has sent a header block since it last took over the client's
    /// settings. The first block after them may have to say how large its table is (RFC 7541,
    /// 4.2), which an answer of ours does not.
    pub(super) has_answered: bool,
}

impl Outbound {
    /// Whether a frame may begin here that is not the library's.
    pub(super) const fn is_between(&self) -> bool {
        self.n_head == 0 && self.n_left == 0 && !self.is_in_block
    }

    /// Goes along with bytes that were written.
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.n_left > 0 {
                let n = self.n_left.min(rest.len());
                self.n_left -= n;
                rest = &rest[n..];
                continue;
            }
            let n = (HEAD_BYTES - self.n_head).min(rest.len());
            self.head[self.n_head..self.n_head + n].copy_from_slice(&rest[..n]);
            self.n_head += n;
            rest = &rest[n..];
            if self.n_head == HEAD_BYTES {
                self.n_head = 0;
                self.begin(Head::of(self.head));
            }
        }
    }

    const fn begin(&mut self, head: Head) {
        self.n_left = head.n_bytes;
        match head.kind {
            HEADERS | CONTINUATION => {
                self.is_in_block = !head.has(END_HEADERS);
                self.has_answered |= !self.is_in_block;
            }
            SETTINGS if head.has(ACK) => self.has_answered = false,
            SETTINGS => self.n_settings += 1,
            _ => {}
        }
    }
}
