//! Small integers as bytes: LEB128 varints, zigzag for signed ones, length-prefixed text.
//!
//! The writer cannot fail; the reader never reads past the end and never trusts a length.

use super::codec_v1::CodecError;

/// Appends to a buffer.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) out: Vec<u8>,
}

impl Writer {
    pub(super) fn unsigned(&mut self, mut number: u64) {
        loop {
            let low = u8::try_from(number & 0x7f).unwrap_or(0x7f);
            number >>= 7;
            if number == 0 {
                self.out.push(low);
                return;
            }
            self.out.push(low | 0x80);
        }
    }

    pub(super) fn signed(&mut self, number: i64) {
        self.unsigned((number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned());
    }

    pub(super) fn fixed(&mut self, number: u64) {
        self.out.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn count(&mut self, number: usize) {
        self.unsigned(number as u64);
    }

    pub(super) fn flag(&mut self, yes: bool) {
        self.out.push(u8::from(yes));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.count(text.len());
        self.out.extend_from_slice(text.as_bytes());
    }
}

/// Reads from a slice.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub(super) const fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], CodecError> {
        let (head, tail) = self.left.split_at_checked(n).ok_or(CodecError::Truncated)?;
        self.left = tail;
        Ok(head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, CodecError> {
        // Most numbers are a byte.
        match self.left.split_first() {
            Some((&low, tail)) if low < 0x80 => {
                self.left = tail;
                Ok(u64::from(low))
            }
            _ => self.unsigned_wide(),
        }
    }

    /// A number of up to eight bytes, all at once where so many are left.
    fn unsigned_wide(&mut self) -> Result<u64, CodecError> {
        const GOES_ON: u64 = 0x8080_8080_8080_8080;
        let Some(word) = self.left.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
            return self.unsigned_long();
        };
        let ends = !word & GOES_ON;
        if ends == 0 {
            return self.unsigned_long();
        }
        // Bits from the lowest to that of the last byte, without those that say whether it goes on.
        let number = word & (ends ^ (ends - 1)) & !GOES_ON;
        let number = number & 0x007f_007f_007f_007f | (number & 0x7f00_7f00_7f00_7f00) >> 1;
        let number = number & 0x0000_3fff_0000_3fff | (number & 0x3fff_0000_3fff_0000) >> 2;
        let number = number & 0x0fff_ffff | (number & 0x0fff_ffff_0000_0000) >> 4;
        let n_bytes = ends.trailing_zeros() as usize / 8 + 1;
        self.left = self.left.get(n_bytes..).unwrap_or_default();
        Ok(number)
    }

    #[cold]
    fn unsigned_long(&mut self) -> Result<u64, CodecError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return Err(CodecError::Invalid { what: "integer" });
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(CodecError::Invalid { what: "integer" })
    }

    pub(super) fn signed(&mut self) -> Result<i64, CodecError> {
        let zigzag = self.unsigned()?;
        Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()))
    }

    pub(super) fn small<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, CodecError> {
        T::try_from(self.unsigned()?).map_err(|_| CodecError::Invalid { what })
    }

    pub(super) fn fixed(&mut self) -> Result<u64, CodecError> {
        let bytes = self.take(8)?;
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| CodecError::Truncated)
    }

    /// A number of items, at most `max`.
    pub(super) fn count(&mut self, max: usize, what: &'static str) -> Result<usize, CodecError> {
        let n: usize = self.small(what)?;
        if n <= max { Ok(n) } else { Err(CodecError::Invalid { what }) }
    }

    pub(super) fn flag(&mut self) -> Result<bool, CodecError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Invalid { what: "flag" }),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, CodecError> {
        let n = self.count(256, "text")?;
        std::str::from_utf8(self.take(n)?).map_err(|_| CodecError::Invalid { what: "text" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read_alike_wherever_they_end() {
        let mut numbers = vec![0, u64::MAX];
        for bits in 1..64 {
            numbers.extend([(1 << bits) - 1, 1 << bits, (1 << bits) + 1, 0x5555 << bits | 1]);
        }
        for number in numbers {
            let mut w = Writer::default();
            w.unsigned(number);
            let n_bytes = w.out.len();
            for n_behind in 0..10 {
                w.out.resize(n_bytes + n_behind, 0xff);
                let (mut r, mut slow) = (Reader::new(&w.out), Reader::new(&w.out));
                assert_eq!(r.unsigned(), Ok(number));
                assert_eq!(slow.unsigned_long(), Ok(number));
                assert_eq!(r.left.len(), n_behind, "{number} and what follows");
            }
            for end in 0..n_bytes {
                let mut r = Reader::new(&w.out[..end]);
                assert_eq!(r.unsigned(), Err(CodecError::Truncated), "{number} cut at {end}");
            }
        }
        // More bits than a number has, and more bytes.
        for bad in [&[0xff; 9][..], &[0xff; 12], &[0x80; 12]] {
            let bad = [bad, &[2]].concat();
            assert_eq!(Reader::new(&bad).unsigned(), Err(CodecError::Invalid { what: "integer" }));
        }
    }
}
