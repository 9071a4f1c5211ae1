//! What the turnstile knows by heart: the paths of short calls, and the answers to those that are
//! turned away.
//!
//! In: the table of methods, and the headers of a refusal by class. Out: both as bytes of the
//! wire. The same answer goes to everybody, known or not: it says that the server is busy.

use std::collections::BTreeMap;

use tonic::body::Body;
use tonic::codegen::http::HeaderMap;

use super::block;
use super::block::Text;
use super::frames;
use super::frames::{END_HEADERS, END_STREAM, HEADERS};
use crate::serve::methods::{Class, METHODS, OURS};
use crate::serve::status::ServeError;

/// `:status` with 200, by its place in the table that everybody knows.
const STATUS_200: u8 = 0x88;

/// A method whose calls may be turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// Its class.
    pub(super) class: Class,
    /// Its place in [`METHODS`].
    pub(super) place: usize,
}

/// Paths and answers.
#[derive(Debug)]
pub(in crate::serve) struct Desk {
    /// By how they are written: plain, and in Huffman's code.
    paths: [BTreeMap<Vec<u8>, Known>; 2],
    answers: [Vec<u8>; Class::ALL.len()],
}

impl Desk {
    /// For all methods of short calls. Streams bound themselves, and whoever mends a server must
    /// reach it.
    pub(in crate::serve) fn new() -> Self {
        let mut paths = [BTreeMap::new(), BTreeMap::new()];
        for (place, method) in METHODS.iter().enumerate() {
            if matches!(method.class, Class::Admin | Class::Stream) {
                continue;
            }
            let (path, known) =
                (format!("{OURS}{}", method.name), Known { class: method.class, place });
            if let Some(coded) = block::coded(&path) {
                paths[1].insert(coded, known);
            }
            paths[0].insert(path.into_bytes(), known);
        }
        let answers = Class::ALL.map(|class| {
            let error = ServeError::Overloaded { what: class.as_str() };
            answer(error.to_status().into_http::<Body>().headers())
        });
        Self { paths, answers }
    }

    /// The method of a path.
    pub(super) fn find(&self, path: Text<'_>) -> Option<Known> {
        self.paths[usize::from(path.is_coded)].get(path.bytes).copied()
    }

    /// Appends the answer to a call that is turned away, in one frame.
    pub(super) fn put_answer(&self, out: &mut Vec<u8>, class: Class, stream: u32) {
        let (kind, answer) = ((HEADERS, END_HEADERS | END_STREAM), &self.answers[class.idx()]);
        frames::put(out, kind, stream, answer);
    }
}

fn answer(headers: &HeaderMap) -> Vec<u8> {
    let mut block = vec![STATUS_200];
    for (name, value) in headers {
        block::put_field(&mut block, name.as_str().as_bytes(), value.as_bytes());
    }
    block
}
