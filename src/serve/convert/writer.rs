//! Fields of protobuf messages, appended to a buffer.
//!
//! In: tags and values, in the order of the tags. Out: their bytes, the same as those of the
//! generated types: a plain field that holds its default is left out, an optional one is written
//! where it is there. The length of a message within a message is put down after its content, so
//! nothing is measured before it is written. It deliberately knows no message.

use std::fmt::Display;
use std::io::Write;

use prost::encoding::WireType;

/// What is below it takes one byte as a varint.
const ONE_BYTE: u64 = 0x80;

/// Appends fields of one message.
#[derive(Debug)]
pub(super) struct Writer<'b>(&'b mut Vec<u8>);

impl<'b> Writer<'b> {
    /// After what is there already.
    pub(super) const fn new(bytes: &'b mut Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Fields that were written before.
    pub(super) fn written(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    pub(super) fn text(&mut self, tag: u32, text: &str) {
        self.bytes(tag, text.as_bytes());
    }

    pub(super) fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.item(tag, bytes);
        }
    }

    /// One of several texts, which may be empty.
    pub(super) fn text_item(&mut self, tag: u32, text: &str) {
        self.item(tag, text.as_bytes());
    }

    fn item(&mut self, tag: u32, bytes: &[u8]) {
        self.key(tag, WireType::LengthDelimited);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A text that is never empty, as it prints itself.
    pub(super) fn printed(&mut self, tag: u32, what: impl Display) {
        self.delimited(tag, |to| {
            // Memory takes all that is written to it.
            let _ = write!(to.0, "{what}");
        });
    }

    pub(super) fn unsigned(&mut self, tag: u32, number: impl Into<u64>) {
        let number = number.into();
        if number > 0 {
            self.key(tag, WireType::Varint);
            self.varint(number);
        }
    }

    pub(super) fn unsigned_if_some(&mut self, tag: u32, number: Option<impl Into<u64>>) {
        if let Some(number) = number {
            self.key(tag, WireType::Varint);
            self.varint(number.into());
        }
    }

    /// An `int64`, or an `int32` and an enum, which look the same.
    pub(super) fn signed(&mut self, tag: u32, number: impl Into<i64>) {
        let number: i64 = number.into();
        self.unsigned(tag, number.cast_unsigned());
    }

    pub(super) fn flag(&mut self, tag: u32, yes: bool) {
        self.unsigned(tag, yes);
    }

    pub(super) fn double(&mut self, tag: u32, number: f64) {
        // As in the generated code: of both zeros neither is sent.
        self.double_if_some(tag, (number.abs() > 0.0 || number.is_nan()).then_some(number));
    }

    pub(super) fn double_if_some(&mut self, tag: u32, number: Option<f64>) {
        if let Some(number) = number {
            self.key(tag, WireType::SixtyFourBit);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Several enums.
    pub(super) fn packed(&mut self, tag: u32, numbers: impl ExactSizeIterator<Item = i32>) {
        if numbers.len() == 0 {
            return;
        }
        self.delimited(tag, |to| {
            for number in numbers {
                to.varint(i64::from(number).cast_unsigned());
            }
        });
    }

    /// A message within this one.
    pub(super) fn message(&mut self, tag: u32, fields: impl FnOnce(&mut Writer<'_>)) {
        self.delimited(tag, fields);
    }

    fn delimited(&mut self, tag: u32, content: impl FnOnce(&mut Writer<'_>)) {
        self.key(tag, WireType::LengthDelimited);
        let length_at = self.0.len();
        self.0.push(0);
        content(&mut Writer(self.0));
        let begin = length_at + 1;
        let length = (self.0.len() - begin) as u64;
        if length < ONE_BYTE {
            self.0[length_at] = low_byte(length);
            return;
        }
        // A longer length needs more room: the content moves up.
        let room = prost::encoding::encoded_len_varint(length);
        let end = self.0.len();
        self.0.resize(end + room - 1, 0);
        self.0.copy_within(begin..end, length_at + room);
        prost::encoding::encode_varint(length, &mut &mut self.0[length_at..]);
    }

    fn key(&mut self, tag: u32, wire_type: WireType) {
        self.varint(u64::from(tag << 3 | wire_type as u32));
    }

    fn varint(&mut self, mut number: u64) {
        while number >= ONE_BYTE {
            self.0.push(low_byte(number) | 0x80);
            number >>= 7;
        }
        self.0.push(low_byte(number));
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the low byte is wanted")]
const fn low_byte(number: u64) -> u8 {
    number as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Inner {
        #[prost(string, repeated, tag = "2")]
        texts: Vec<String>,
        #[prost(int32, repeated, tag = "3")]
        packed: Vec<i32>,
        #[prost(message, optional, boxed, tag = "16")]
        inner: Option<Box<Inner>>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Outer {
        #[prost(string, tag = "1")]
        text: String,
        #[prost(bytes = "vec", tag = "2")]
        bytes: Vec<u8>,
        #[prost(uint64, tag = "3")]
        unsigned: u64,
        #[prost(uint32, optional, tag = "4")]
        unsigned_if_some: Option<u32>,
        #[prost(int32, tag = "5")]
        signed: i32,
        #[prost(int64, tag = "6")]
        long: i64,
        #[prost(bool, tag = "15")]
        flag: bool,
        #[prost(double, tag = "16")]
        double: f64,
        #[prost(double, optional, tag = "17")]
        double_if_some: Option<f64>,
        #[prost(message, repeated, tag = "2047")]
        inner: Vec<Inner>,
        #[prost(string, tag = "2048")]
        printed: String,
    }

    fn write_inner(to: &mut Writer<'_>, inner: &Inner) {
        for text in &inner.texts {
            to.text_item(2, text);
        }
        to.packed(3, inner.packed.iter().copied());
        if let Some(inner) = &inner.inner {
            to.message(16, |to| write_inner(to, inner));
        }
    }

    fn write(outer: &Outer) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut to = Writer::new(&mut bytes);
        to.text(1, &outer.text);
        to.bytes(2, &outer.bytes);
        to.unsigned(3, outer.unsigned);
        to.unsigned_if_some(4, outer.unsigned_if_some);
        to.signed(5, outer.signed);
        to.signed(6, outer.long);
        to.flag(15, outer.flag);
        to.double(16, outer.double);
        to.double_if_some(17, outer.double_if_some);
        for inner in &outer.inner {
            to.message(2047, |to| write_inner(to, inner));
        }
        to.printed(2048, &outer.printed);
        bytes
    }

    /// Texts on both sides of where a length takes another byte.
    fn text() -> impl Strategy<Value = String> {
        let len = prop_oneof![0..4_usize, 120..135_usize, 16_370..16_400_usize];
        len.prop_map(|len| "x".repeat(len))
    }

    fn inner() -> impl Strategy<Value = Inner> {
        let leaf = (prop::collection::vec(text(), 0..3), prop::collection::vec(-2..300, 0..4))
            .prop_map(|(texts, packed)| Inner { texts, packed, inner: None });
        leaf.prop_recursive(3, 4, 1, |within| {
            (text(), within).prop_map(|(text, inner)| Inner {
                texts: vec![text],
                packed: Vec::new(),
                inner: Some(Box::new(inner)),
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_bytes_are_those_of_the_generated_types(
            texts in (text(), text(), text()),
            unsigned in (any::<u64>(), any::<Option<u32>>()),
            signed in (any::<i32>(), any::<i64>(), any::<bool>()),
            doubles in (prop_oneof![Just(0.0), Just(-0.0), any::<f64>()], any::<Option<f64>>()),
            inner in prop::collection::vec(inner(), 0..3),
        ) {
            let outer = Outer {
                text: texts.0,
                bytes: texts.1.into_bytes(),
                unsigned: unsigned.0,
                unsigned_if_some: unsigned.1,
                signed: signed.0,
                long: signed.1,
                flag: signed.2,
                double: doubles.0,
                double_if_some: doubles.1,
                inner,
                printed: format!("a{}", texts.2),
            };
            prop_assert_eq!(write(&outer), outer.encode_to_vec());
        }
    }
}
