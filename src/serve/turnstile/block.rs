//! Header blocks (HPACK, RFC 7541), as far as it takes to see which path a call asks for.
//!
//! In: a whole block. Out: the path as it is written, and what the block says of its table. A
//! block that names an entry of the table, or is not understood to its last byte, gives nothing.
//! Texts are compared as they are written, plain or in Huffman's code, so nothing is decoded.

/// Entries of the table that everybody knows; higher numbers are those of the connection.
const STATIC_ENTRIES: u32 = 61;
/// `:path` in it, with "/" and with "/index.html".
const PATHS: [u32; 2] = [4, 5];
const PATH_NAME: &[u8] = b":path";
/// Beyond this no number of a block makes sense.
const NUMBER_MAX: u32 = 1 << 24;

/// A text as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// Whether it is in Huffman's code.
    pub(super) is_coded: bool,
    /// Its bytes.
    pub(super) bytes: &'a [u8],
}

/// The size that a block gives its table before its first field (4.2), the last if there are
/// several.
pub(super) fn table_bytes(block: &[u8]) -> Option<u32> {
    let (mut rest, mut found) = (block, None);
    while let Some((size, after)) = size_update(rest) {
        (rest, found) = (after, Some(size));
    }
    found
}

/// The path of a block that means the same whatever the table holds; none if there is none, or if
/// the block says anything of the table.
pub(super) fn path(block: &[u8]) -> Option<Text<'_>> {
    let (mut rest, mut found) = (block, None);
    while let Some(first) = rest.first() {
        let prefix = match first {
            0x80.. => {
                let (entry, after) = number(rest, 7)?;
                // Whole fields: a path among them is none of a method.
                if entry == 0 || entry > STATIC_ENTRIES || PATHS.contains(&entry) {
                    return None;
                }
                rest = after;
                continue;
            }
            0x40.. => 6,
            0x20.. => return None,
            _ => 4,
        };
        let (entry, mut after) = number(rest, prefix)?;
        let mut is_path = PATHS.contains(&entry);
        if entry > STATIC_ENTRIES {
            return None;
        }
        if entry == 0 {
            let (name, next) = text(after)?;
            is_path = !name.is_coded && name.bytes == PATH_NAME;
            after = next;
        }
        let (value, next) = text(after)?;
        if is_path && found.replace(value).is_some() {
            return None;
        }
        rest = next;
    }
    found
}

fn size_update(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let is_one = bytes.first().is_some_and(|first| first >> 5 == 1);
    if is_one { number(bytes, 5) } else { None }
}

/// A number that begins in the last bits of the first byte (5.1).
fn number(bytes: &[u8], prefix: u8) -> Option<(u32, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let most = (1_u32 << prefix) - 1;
    let mut n = u32::from(*first) & most;
    if n < most {
        return Some((n, rest));
    }
    for shift in [0, 7, 14, 21] {
        let (next, after) = rest.split_first()?;
        n += (u32::from(*next) & 0x7f) << shift;
        rest = after;
        if *next < 0x80 {
            return (n <= NUMBER_MAX).then_some((n, rest));
        }
    }
    None
}

fn text(bytes: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let is_coded = *bytes.first()? >= 0x80;
    let (length, rest) = number(bytes, 7)?;
    let (bytes, rest) = rest.split_at_checked(length as usize)?;
    Some((Text { is_coded, bytes }, rest))
}

/// Appends a field that no table keeps, in plain text.
pub(super) fn put_field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        put_length(block, text.len());
        block.extend_from_slice(text);
    }
}

fn put_length(block: &mut Vec<u8>, length: usize) {
    let mut rest = match length.checked_sub(0x7f) {
        None => {
            block.push(length.to_le_bytes()[0]);
            return;
        }
        Some(rest) => rest,
    };
    block.push(0x7f);
    while rest >= 0x80 {
        block.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    block.push(rest.to_le_bytes()[0]);
}

/// A text in Huffman's code; none if it has other characters than paths of methods have.
pub(super) fn coded(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut waiting, mut n_bits) = (Vec::new(), 0_u64, 0_u32);
    for char in text.bytes() {
        let (code, length) = code(char)?;
        waiting = waiting << length | u64::from(code);
        n_bits += length;
        while n_bits >= 8 {
            n_bits -= 8;
            bytes.push((waiting >> n_bits).to_le_bytes()[0]);
        }
    }
    if n_bits > 0 {
        // The rest of the last byte is ones (5.2).
        let free = 8 - n_bits;
        bytes.push((waiting << free | ((1 << free) - 1)).to_le_bytes()[0]);
    }
    Some(bytes)
}

/// Code and number of bits (appendix B): within one length codes go up with the characters.
fn code(char: u8) -> Option<(u32, u32)> {
    /// First code of a length, and the characters that have it.
    const CODES: [(u32, u32, &[u8]); 4] = [
        (0x00, 5, b"012aceiost"),
        (0x14, 6, b" %-./3456789=A_bdfghlmnpru"),
        (0x5c, 7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
        (0xf8, 8, b"&*,;XZ"),
    ];
    CODES.iter().find_map(|(first, length, chars)| {
        let nth = chars.iter().position(|held| *held == char)?;
        Some((first + u32::try_from(nth).ok()?, *length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |digit: u8| u8::try_from((digit as char).to_digit(16).unwrap()).unwrap();
        let digits: Vec<u8> = hex.bytes().map(digit).collect();
        digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
    }

    #[test]
    fn huffmans_code_is_that_of_the_rfc() {
        // RFC 7541, appendix C.4 and C.6.
        for (text, hex) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-key", "25a849e95ba97d7f"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("private", "aec3771a4b"),
            ("https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
        ] {
            assert_eq!(coded(text).unwrap(), bytes(hex), "{text}");
        }
        assert_eq!(coded("a\u{7f}"), None);
    }

    #[test]
    fn the_path_is_found_where_no_table_is_needed() {
        // RFC 7541, C.2.2: a path as a literal that no table keeps.
        let block = bytes("040c2f73616d706c652f70617468");
        let plain = |bytes| Some(Text { is_coded: false, bytes });
        assert_eq!(path(&block), plain(b"/sample/path"));
        // The same kept (0x44), never kept (0x14), among others, and with its name in full.
        for first in [0x44, 0x14] {
            let kept = [&[0x83, 0x86, first][..], &block[1..], &bytes("0f100161")].concat();
            assert_eq!(path(&kept), plain(b"/sample/path"));
        }
        let mut named = vec![0x83];
        put_field(&mut named, b":path", b"/sample/path");
        put_field(&mut named, b"x", &[b'y'; 300]);
        assert_eq!(path(&named), plain(b"/sample/path"));
        assert_eq!(path(&named[..named.len() - 1]), None, "cut off");
        // An entry of the connection's table, whole or for its name; sizes; two paths; none.
        for hex in ["be", "7e0161", "0f2f0161", "20", "84", "3fe11f", "80"] {
            assert_eq!(path(&[&block[..], &bytes(hex)].concat()), None, "{hex}");
        }
        assert_eq!(path(&[&block[..], &block[..]].concat()), None);
        assert_eq!(path(&[0x83]), None);
        assert_eq!(path(&[]), None);
    }

    #[test]
    fn sizes_are_read_before_the_first_field_only() {
        assert_eq!(table_bytes(&bytes("2083")), Some(0));
        assert_eq!(table_bytes(&bytes("203fe11f83")), Some(4_096));
        assert_eq!(table_bytes(&bytes("8320")), None);
        assert_eq!(table_bytes(&bytes("3fffffffffff")), None);
        assert_eq!(table_bytes(&[]), None);
    }
}
