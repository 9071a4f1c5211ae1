//! Which frames of a client go on to the library, and which calls are turned away.
//!
//! In: bytes as they come, in pieces of any size, and the share of each class that may pass. Out:
//! what the library shall read, and the frames that are sent in its place: answers, settings, and
//! the window that bodies of calls turned away have used.
//!
//! A header block may change the table that later blocks refer to, so none may be taken out as
//! long as there is one. Before the first call is turned away the client is told that the table
//! has no room; from the block on that says so, blocks stand alone. The library never learns that
//! it was asked; its own table is emptied by that block.
//!
//! Only a whole, well-formed opening of a known method is taken out, and then what still comes
//! for its stream. Everything else passes as it is, for the library to judge. It deliberately
//! knows no socket and no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use super::block;
use super::desk::{Desk, Known};
use super::frames;
use super::frames::{
    ACK, CONTENT_BYTES_MAX, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEAD_BYTES,
    HEADER_TABLE_SIZE, HEADERS, Head, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use super::turned::Turned;
use crate::serve::methods::Class;
use crate::serve::throttle::OPEN;

/// What a client says before its first frame.
const PREFACE_BYTES: usize = 24;
/// The size that the table has where nothing else is said.
const TABLE_BYTES: u32 = 4_096;

/// The share of each class that may pass, of [`OPEN`].
pub(super) type Shares = [u32; Class::ALL.len()];

/// Takes bytes that the library shall read, as many as there is room for; gives how many.
pub(super) type Pass<'a> = &'a mut dyn FnMut(&[u8]) -> usize;

/// Where the next byte of the client stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Within a frame's head, of which so many bytes have passed.
    Head(usize),
    /// Within something of which so much is still to come.
    Within { n_left: usize, passes: bool },
}

/// What is known of the table of the client's header blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    /// Blocks may refer to it.
    Shared,
    /// The client was told to empty it.
    Emptying,
    /// It has.
    Empty,
    /// The client was told that it may use it again.
    Restoring,
}

/// Who sent settings that the client has not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Library,
    Us,
}

enum Verdict {
    Pass,
    Drop,
    /// More of it must be there first.
    Wait,
}

/// The state of one connection between two reads.
#[derive(Debug)]
pub(super) struct Sieve {
    desk: Arc<Desk>,
    place: Place,
    head: [u8; HEAD_BYTES],
    table: Table,
    /// The library's own settings come first on a connection.
    has_begun: bool,
    settings: VecDeque<Sender>,
    turned: Turned,
    /// The newest stream that was passed on.
    passed_last: u32,
    /// A block of a call turned away goes on in the next frame.
    is_dropping_block: bool,
    /// What each class has in hand: it passes when that is [`OPEN`].
    in_hand: Shares,
    /// Bytes of bodies that were dropped, which the client's window misses.
    n_credit: u32,
    /// Calls turned away since this was last taken.
    pub(super) news: Vec<Known>,
}

impl Sieve {
    /// For a connection that begins; the seed differs from connection to connection.
    pub(super) fn new(desk: Arc<Desk>, seed: u32) -> Self {
        Self {
            desk,
            place: Place::Within { n_left: PREFACE_BYTES, passes: true },
            head: [0; HEAD_BYTES],
            table: Table::Shared,
            has_begun: false,
            settings: VecDeque::new(),
            turned: Turned::default(),
            passed_last: 0,
            is_dropping_block: false,
            // Many connections of one call each are let in one by one as well.
            in_hand: [seed.wrapping_mul(0x9e37_79b9) >> 16; Class::ALL.len()],
            n_credit: 0,
            news: Vec::new(),
        }
    }

    /// The library has sent settings so many times.
    pub(super) fn note_settings(&mut self, n: usize) {
        self.has_begun |= n > 0;
        self.settings.extend(std::iter::repeat_n(Sender::Library, n));
    }

    /// Goes along with bytes that the library has read as they came.
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match &mut self.place {
                Place::Within { n_left, .. } => {
                    let n = (*n_left).min(rest.len());
                    *n_left -= n;
                    rest = &rest[n..];
                }
                Place::Head(n_head) => {
                    let n = (HEAD_BYTES - *n_head).min(rest.len());
                    self.head[*n_head..*n_head + n].copy_from_slice(&rest[..n]);
                    *n_head += n;
                    rest = &rest[n..];
                    if *n_head == HEAD_BYTES {
                        let head = Head::of(self.head);
                        self.see(head);
                        self.place = Place::Within { n_left: head.n_bytes, passes: true };
                    }
                }
            }
            self.settle();
        }
    }

    fn settle(&mut self) {
        if matches!(self.place, Place::Within { n_left: 0, .. }) {
            self.place = Place::Head(0);
        }
    }

    /// Notes what a frame that passes says.
    fn see(&mut self, head: Head) {
        match head.kind {
            HEADERS if head.stream > self.turned.last() && head.stream % 2 == 1 => {
                self.turned.open(head.stream);
                self.passed_last = head.stream;
            }
            SETTINGS if head.has(ACK) => {
                self.settings.pop_front();
            }
            _ => {}
        }
    }

    /// The client has ended within a frame: what is left passes as it is.
    pub(super) const fn give_up(&mut self) {
        self.place = Place::Within { n_left: usize::MAX, passes: true };
    }

    /// Whether sifting may begin: not in the middle of a head that the library has begun to read.
    pub(super) const fn can_begin(&self) -> bool {
        !matches!(self.place, Place::Head(1..))
    }

    /// Whether all that comes may pass again: nothing is expected that the library would take
    /// for a mistake.
    pub(super) fn can_end(&self) -> bool {
        self.table == Table::Shared
            && matches!(self.place, Place::Head(0))
            && self.turned.n_unfinished() == 0
            && self.turned.turned_last() <= self.passed_last
            && !self.is_dropping_block
    }

    /// Forgets the calls that were turned away.
    pub(super) fn end(&mut self) {
        self.turned.forget();
    }

    /// Tells the client what its header blocks may refer to, as that is needed.
    pub(super) fn tell(&mut self, (is_open, is_calm): (bool, bool), out: &mut Vec<u8>) {
        let (next, bytes) = match self.table {
            Table::Shared if !is_open && self.has_begun => (Table::Emptying, 0),
            Table::Empty | Table::Emptying if is_calm && !self.settings.contains(&Sender::Us) => {
                (Table::Restoring, TABLE_BYTES)
            }
            _ => return,
        };
        self.table = next;
        self.settings.push_back(Sender::Us);
        let [a, b] = HEADER_TABLE_SIZE.to_be_bytes();
        let [c, d, e, f] = bytes.to_be_bytes();
        frames::put(out, (SETTINGS, 0), 0, &[a, b, c, d, e, f]);
    }

    /// Gives back to the client what dropped bodies used of its window.
    pub(super) fn put_credit(&mut self, out: &mut Vec<u8>) {
        if self.n_credit > 0 {
            frames::put(out, (WINDOW_UPDATE, 0), 0, &self.n_credit.to_be_bytes());
            self.n_credit = 0;
        }
    }

    /// Moves bytes from `input` to what the library reads, `room` at most, and puts answers into
    /// `out`. Gives how many bytes of the input are done with; where that is none, more has to
    /// come first, or room.
    pub(super) fn sift(
        &mut self,
        input: &[u8],
        shares: &Shares,
        may_answer: bool,
        (pass, out): (Pass<'_>, &mut Vec<u8>),
    ) -> usize {
        let mut rest = input;
        while !rest.is_empty() {
            if let Place::Within { n_left, passes } = &mut self.place {
                let n = (*n_left).min(rest.len());
                let n = if *passes { pass(&rest[..n]) } else { n };
                if n == 0 {
                    break;
                }
                *n_left -= n;
                rest = &rest[n..];
                self.settle();
                continue;
            }
            let Some(head) = Head::at(rest) else { break };
            let passes = match self.judge(head, rest, (shares, may_answer), out) {
                Verdict::Wait => break,
                Verdict::Pass => true,
                Verdict::Drop => false,
            };
            self.place = Place::Within { n_left: head.frame_bytes(), passes };
        }
        input.len() - rest.len()
    }

    fn judge(
        &mut self,
        head: Head,
        rest: &[u8],
        (shares, may_answer): (&Shares, bool),
        out: &mut Vec<u8>,
    ) -> Verdict {
        match head.kind {
            HEADERS if head.stream > self.turned.last() && head.stream % 2 == 1 => {
                let verdict = self.judge_opening(head, rest, (shares, may_answer), out);
                if matches!(verdict, Verdict::Pass) {
                    self.see(head);
                }
                verdict
            }
            CONTINUATION if self.is_dropping_block => {
                self.is_dropping_block = !head.has(END_HEADERS);
                Verdict::Drop
            }
            SETTINGS if head.has(ACK) => match self.settings.pop_front() {
                Some(Sender::Us) => {
                    if self.table == Table::Restoring {
                        self.table = Table::Shared;
                    }
                    Verdict::Drop
                }
                Some(Sender::Library) | None => Verdict::Pass,
            },
            DATA | HEADERS | PRIORITY | RST_STREAM | WINDOW_UPDATE
                if self.turned.is_turned(head.stream, self.passed_last) =>
            {
                self.judge_rest(head, out)
            }
            _ => Verdict::Pass,
        }
    }

    /// A frame of a call that was turned away.
    fn judge_rest(&mut self, head: Head, out: &mut Vec<u8>) -> Verdict {
        match head.kind {
            DATA => {
                let n = u32::try_from(head.n_bytes).unwrap_or(u32::MAX);
                self.n_credit += n;
                // Some clients keep a call until all of its body has left, however it was
                // answered: its own window must not end before that.
                if n > 0 && !head.has(END_STREAM) {
                    frames::put(out, (WINDOW_UPDATE, 0), head.stream, &n.to_be_bytes());
                }
            }
            // Last headers, which calls of ours never have. While blocks refer to a table the
            // library must see them, and take them for the mistake that they are.
            HEADERS if self.table != Table::Empty => return Verdict::Pass,
            HEADERS => self.is_dropping_block = !head.has(END_HEADERS),
            _ => {}
        }
        let is_last = matches!(head.kind, DATA | HEADERS) && head.has(END_STREAM);
        if is_last || head.kind == RST_STREAM {
            self.turned.finish(head.stream);
        }
        Verdict::Drop
    }

    fn judge_opening(
        &mut self,
        head: Head,
        rest: &[u8],
        (shares, may_answer): (&Shares, bool),
        out: &mut Vec<u8>,
    ) -> Verdict {
        let is_open = shares.iter().all(|share| *share >= OPEN);
        let is_of_interest = match self.table {
            Table::Empty => !is_open,
            Table::Emptying => true,
            Table::Shared | Table::Restoring => false,
        };
        if !is_of_interest || head.n_bytes > CONTENT_BYTES_MAX {
            return Verdict::Pass;
        }
        let Some(content) = rest.get(HEAD_BYTES..head.frame_bytes()) else {
            return Verdict::Wait;
        };
        let Some(block) = frames::block_of(head, content) else { return Verdict::Pass };
        if let Some(bytes) = block::table_bytes(block) {
            self.table = if bytes == 0 { Table::Empty } else { Table::Emptying };
            return Verdict::Pass;
        }
        if self.table != Table::Empty || !may_answer || !head.has(END_HEADERS) {
            return Verdict::Pass;
        }
        let Some(known) = block::path(block).and_then(|path| self.desk.find(path)) else {
            return Verdict::Pass;
        };
        if self.may_pass(known.class, shares) {
            return Verdict::Pass;
        }
        self.turned.turn(head.stream, !head.has(END_STREAM));
        self.desk.put_answer(out, known.class, head.stream);
        self.news.push(known);
        Verdict::Drop
    }

    /// Lets the share of a class pass, evenly.
    const fn may_pass(&mut self, class: Class, shares: &Shares) -> bool {
        let (share, in_hand) = (shares[class.idx()], &mut self.in_hand[class.idx()]);
        if share >= OPEN {
            return true;
        }
        *in_hand += share;
        if *in_hand < OPEN {
            return false;
        }
        *in_hand -= OPEN;
        true
    }
}
