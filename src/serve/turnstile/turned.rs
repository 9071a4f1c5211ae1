//! Which streams of a connection were turned away, the newest of them.
//!
//! In: streams as they are opened, in order. Out: whether a frame belongs to one that the library
//! never saw. It keeps two bits each of the newest streams, so it never grows; of older ones it
//! knows only whether they are newer than the last that was passed on.

/// So many of the newest streams are told apart: a second of a connection that is flooded.
const STREAMS: u32 = 1 << 14;
const WORDS: usize = STREAMS as usize / 64;

/// Two bits of a stream.
#[derive(Debug)]
struct Bits {
    turned: [u64; WORDS],
    unfinished: [u64; WORDS],
}

/// The newest streams. Numbers are those of HTTP/2: odd ones, going up.
#[derive(Debug, Default)]
pub(super) struct Turned {
    last: u32,
    turned_last: u32,
    /// Only once a call was turned away.
    bits: Option<Box<Bits>>,
    n_unfinished: usize,
}

const fn place(stream: u32) -> (usize, u64) {
    let nth = (stream / 2) % STREAMS;
    ((nth / 64) as usize, 1 << (nth % 64))
}

impl Turned {
    /// The newest stream of all.
    pub(super) const fn last(&self) -> u32 {
        self.last
    }

    /// The newest that was turned away.
    pub(super) const fn turned_last(&self) -> u32 {
        self.turned_last
    }

    /// Those turned away whose client has not said its last word.
    pub(super) const fn n_unfinished(&self) -> usize {
        self.n_unfinished
    }

    /// A stream is opened, newer than all before; those left out are closed by that.
    pub(super) fn open(&mut self, stream: u32) {
        if let Some(bits) = &mut self.bits {
            let n_new = (stream / 2).saturating_sub(self.last / 2);
            if n_new >= STREAMS {
                (bits.turned, bits.unfinished) = ([0; WORDS], [0; WORDS]);
                self.n_unfinished = 0;
            } else {
                for back in 0..n_new {
                    let (word, bit) = place(stream - 2 * back);
                    bits.turned[word] &= !bit;
                    if bits.unfinished[word] & bit != 0 {
                        bits.unfinished[word] &= !bit;
                        self.n_unfinished -= 1;
                    }
                }
            }
        }
        self.last = stream;
    }

    /// A stream is opened and turned away.
    pub(super) fn turn(&mut self, stream: u32, goes_on: bool) {
        self.open(stream);
        self.turned_last = stream;
        let (word, bit) = place(stream);
        let bits = self
            .bits
            .get_or_insert_with(|| Box::new(Bits { turned: [0; WORDS], unfinished: [0; WORDS] }));
        bits.turned[word] |= bit;
        if goes_on {
            bits.unfinished[word] |= bit;
            self.n_unfinished += 1;
        }
    }

    /// Nothing more is expected of a stream that was turned away.
    pub(super) fn finish(&mut self, stream: u32) {
        let (word, bit) = place(stream);
        if self.is_kept(stream)
            && let Some(bits) = &mut self.bits
            && bits.unfinished[word] & bit != 0
        {
            bits.unfinished[word] &= !bit;
            self.n_unfinished -= 1;
        }
    }

    /// Whether a stream was turned away. Of one too old to be told, it was if it is newer than
    /// any that was passed on; else the library knows that it is over, and does no harm.
    pub(super) fn is_turned(&self, stream: u32, passed_last: u32) -> bool {
        if stream.is_multiple_of(2) || stream > self.last {
            return false;
        }
        let Some(bits) = &self.bits else { return false };
        if !self.is_kept(stream) {
            return stream > passed_last;
        }
        let (word, bit) = place(stream);
        bits.turned[word] & bit != 0
    }

    const fn is_kept(&self, stream: u32) -> bool {
        stream <= self.last && self.last / 2 - stream / 2 < STREAMS
    }

    /// Forgets all but the newest number.
    pub(super) fn forget(&mut self) {
        (self.bits, self.n_unfinished) = (None, 0);
    }
}
