//! A client that sends calls when they are due, for next to nothing.
//!
//! In: calls that are encoded already. Out: how each ended, and when. It speaks as much HTTP/2 as
//! it takes to send one method's calls over a few connections and to read the status of each
//! answer: a client of the usual kind needs more time a call than the server that is measured,
//! and cannot send three times what that answers. Windows and limits of the server are kept, and
//! what it says of the table of header blocks. Calls that are due together go out together.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const FRAME_HEAD: usize = 9;
/// Bytes read at once: no frame of an answer is longer.
const INPUT: usize = 1 << 16;
/// What we let the server send before we say more, on a connection.
const WINDOW: u32 = 1 << 30;
/// Calls in a row that use the same connection.
const RUN: usize = 8;
/// Sent so long after it was due, a call counts as sent late.
const LATE: Duration = Duration::from_millis(5);
/// `grpc-status` in plain text, its length before it.
const STATUS_PLAIN: &[u8] = b"\x0bgrpc-status";
/// `grpc-status` as a header's name in Huffman's code, its length before it.
const STATUS_NAME: [u8; 9] = [0x88, 0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this status of gRPC.
    Status(u8),
    /// Its time was over: it was cancelled.
    Cancelled,
    /// The server cut it off.
    Reset,
}

/// One call, encoded.
pub(crate) struct Ask {
    message: Vec<u8>,
    deadline: Duration,
    /// To be kept, kept, and never kept.
    headers: [Vec<u8>; 3],
}

/// Under way since it was due.
struct Open {
    due: Instant,
    status: Option<u8>,
}

/// One connection.
struct Link {
    stream: TcpStream,
    out: Vec<u8>,
    n_out: usize,
    input: Vec<u8>,
    n_input: usize,
    /// The stream of the first entry of `open`; entries follow in steps of two.
    first: u32,
    open: VecDeque<Option<Open>>,
    n_open: usize,
    /// Due and not sent yet, for want of room at the server.
    waiting: VecDeque<Instant>,
    room: i64,
    streams_max: usize,
    n_read: u32,
    /// What the next header block says first.
    first_words: &'static [u8],
    table: Table,
    /// A last block of an answer, and the status in it: most are the same.
    known: (Vec<u8>, Option<u8>),
    n_late: usize,
}

/// What the server lets our header blocks keep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    /// The headers of a call, of which nothing is kept yet.
    Fresh,
    /// They are kept.
    Filled,
    /// Nothing.
    None,
}

/// A few connections, used in turn.
pub(crate) struct Wire<'a> {
    links: Vec<Link>,
    ask: &'a Ask,
    next: usize,
    address: String,
    /// How often the server closed a connection, which was then made anew.
    pub(crate) n_closed: usize,
}

impl<'a> Wire<'a> {
    pub(crate) fn connect(address: &str, n_links: usize, ask: &'a Ask) -> Result<Self> {
        let links = (0..n_links).map(|_| Link::connect(address)).collect::<Result<_>>()?;
        Ok(Self { links, ask, next: 0, address: address.to_owned(), n_closed: 0 })
    }

    /// Calls that have not ended.
    pub(crate) fn n_open(&self) -> usize {
        self.links.iter().map(|link| link.n_open + link.waiting.len()).sum()
    }

    /// Sends a call as soon as the server's limits allow.
    pub(crate) fn send(&mut self, due: Instant) {
        let idx = self.next / RUN % self.links.len();
        self.next += 1;
        self.links[idx].waiting.push_back(due);
    }

    /// Calls that were sent late so far.
    pub(crate) fn n_late(&self) -> usize {
        self.links.iter().map(|link| link.n_late).sum()
    }

    /// Moves bytes and tells of every call that ended, with the time since it was due.
    pub(crate) fn turn(&mut self, tell: &mut dyn FnMut(End, Duration)) -> Result<()> {
        let now = Instant::now();
        for link in &mut self.links {
            link.expire((now, self.ask.deadline), tell);
            link.start(now, self.ask);
            if link.flush().and_then(|()| link.read(now, tell)).is_err() {
                // As every client does it.
                let fresh = Link { n_late: link.n_late, ..Link::connect(&self.address)? };
                let lost = std::mem::replace(link, fresh);
                link.waiting = lost.waiting;
                lost.open
                    .into_iter()
                    .flatten()
                    .for_each(|open| tell(End::Reset, open.due.elapsed()));
                self.n_closed += 1;
            }
        }
        Ok(())
    }
}

impl Link {
    fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // No table for the headers of answers, no pushes, wide windows.
        let settings = [(1_u16, 0_u32), (2, 0), (4, WINDOW)];
        let settings = settings.iter().flat_map(|(name, value)| {
            name.to_be_bytes().into_iter().chain(value.to_be_bytes()).collect::<Vec<u8>>()
        });
        frame(&mut out, (SETTINGS, 0), 0, &settings.collect::<Vec<u8>>());
        frame(&mut out, (WINDOW_UPDATE, 0), 0, &WINDOW.to_be_bytes());
        Ok(Self {
            stream,
            out,
            n_out: 0,
            input: Vec::new(),
            n_input: 0,
            first: 1,
            open: VecDeque::new(),
            n_open: 0,
            waiting: VecDeque::new(),
            room: 65_535,
            streams_max: usize::MAX,
            n_read: 0,
            first_words: &[],
            table: Table::Fresh,
            known: (Vec::new(), None),
            n_late: 0,
        })
    }

    fn expire(
        &mut self,
        (now, deadline): (Instant, Duration),
        tell: &mut dyn FnMut(End, Duration),
    ) {
        while self.waiting.front().is_some_and(|due| now - *due > deadline) {
            if let Some(due) = self.waiting.pop_front() {
                self.n_late += 1;
                tell(End::Cancelled, now - due);
            }
        }
        while let Some(front) = self.open.front() {
            if let Some(open) = front {
                let time = now - open.due;
                if time <= deadline {
                    return;
                }
                self.n_open -= 1;
                tell(End::Cancelled, time);
                frame(&mut self.out, (RST_STREAM, 0), self.first, &8_u32.to_be_bytes());
            }
            self.open.pop_front();
            self.first += 2;
        }
    }

    fn start(&mut self, now: Instant, ask: &Ask) {
        let length = ask.message.len() + 5;
        while self.n_open < self.streams_max && self.room >= length as i64 {
            let Some(due) = self.waiting.pop_front() else { return };
            self.n_late += usize::from(now - due > LATE);
            let id = self.first + 2 * self.open.len() as u32;
            let headers = headers(ask, self.table);
            let words = std::mem::take(&mut self.first_words);
            head(&mut self.out, (HEADERS, 4), id, words.len() + headers.len());
            self.out.extend_from_slice(words);
            self.out.extend_from_slice(headers);
            if self.table == Table::Fresh {
                self.table = Table::Filled;
            }
            head(&mut self.out, (DATA, END_STREAM), id, length);
            self.out.push(0);
            self.out.extend_from_slice(&(ask.message.len() as u32).to_be_bytes());
            self.out.extend_from_slice(&ask.message);
            self.room -= length as i64;
            self.open.push_back(Some(Open { due, status: None }));
            self.n_open += 1;
        }
    }

    fn flush(&mut self) -> Result<()> {
        while self.n_out < self.out.len() {
            match self.stream.write(&self.out[self.n_out..]) {
                Ok(n) => self.n_out += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.n_out = 0;
        Ok(())
    }

    fn read(&mut self, now: Instant, tell: &mut dyn FnMut(End, Duration)) -> Result<()> {
        let mut input = std::mem::take(&mut self.input);
        input.resize(INPUT.max(input.len()), 0);
        match self.stream.read(&mut input[self.n_input..]) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(n) => self.n_input += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.input = input;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let mut rest = &input[..self.n_input];
        while let Some((head, after)) = rest.split_at_checked(FRAME_HEAD) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((content, after)) = after.split_at_checked(length) else { break };
            let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            self.take(((head[3], head[4]), id, now), content, tell)?;
            rest = after;
        }
        let left = self.n_input - rest.len()..self.n_input;
        self.n_input = left.len();
        input.copy_within(left, 0);
        self.input = input;
        Ok(())
    }

    fn take(
        &mut self,
        ((kind, flags), id, now): ((u8, u8), u32, Instant),
        content: &[u8],
        tell: &mut dyn FnMut(End, Duration),
    ) -> Result<()> {
        match kind {
            HEADERS if flags & END_STREAM != 0 => {
                if self.known.0 != content {
                    self.known = (content.to_vec(), status(content));
                }
                let status = self.known.1;
                if let Some(Some(open)) = self.slot(id) {
                    open.status = status.or(open.status);
                }
            }
            DATA => {
                self.n_read += content.len() as u32;
                if self.n_read > WINDOW / 2 {
                    let more = self.n_read.to_be_bytes();
                    frame(&mut self.out, (WINDOW_UPDATE, 0), 0, &more);
                    self.n_read = 0;
                }
            }
            SETTINGS if flags & ACK == 0 => {
                for entry in content.as_chunks::<6>().0 {
                    let [_, name, value @ ..] = *entry;
                    if name == 3 {
                        self.streams_max = u32::from_be_bytes(value) as usize;
                    }
                    if name == 1 {
                        let is_none = u32::from_be_bytes(value) == 0;
                        self.table = if is_none { Table::None } else { Table::Fresh };
                        // No room, or the room that there is at first.
                        self.first_words =
                            if is_none { &[0x20] } else { &[0x20, 0x3f, 0xe1, 0x1f] };
                    }
                }
                frame(&mut self.out, (SETTINGS, ACK), 0, &[]);
            }
            PING if flags & ACK == 0 => frame(&mut self.out, (PING, ACK), 0, content),
            WINDOW_UPDATE if id == 0 => {
                self.room += content.first_chunk().map_or(0, |n| i64::from(u32::from_be_bytes(*n)));
            }
            GO_AWAY => bail!("the server sends us away: {content:?}"),
            _ => {}
        }
        let is_end = matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0;
        if is_end || kind == RST_STREAM {
            let ended = self.slot(id).and_then(Option::take);
            if let Some(open) = ended {
                self.n_open -= 1;
                let end = if is_end { open.status.map(End::Status) } else { None };
                tell(end.unwrap_or(End::Reset), now.max(open.due) - open.due);
            }
        }
        Ok(())
    }

    fn slot(&mut self, id: u32) -> Option<&mut Option<Open>> {
        self.open.get_mut((id.checked_sub(self.first)? / 2) as usize)
    }
}

fn head(out: &mut Vec<u8>, (kind, flags): (u8, u8), id: u32, length: usize) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
}

fn frame(out: &mut Vec<u8>, kind: (u8, u8), id: u32, content: &[u8]) {
    head(out, kind, id, content.len());
    out.extend_from_slice(content);
}

/// The headers of a call: those of the first are kept in the connection's table, as every client
/// does it, and named by their place in it afterwards.
fn headers(ask: &Ask, table: Table) -> &[u8] {
    match table {
        Table::Fresh => &ask.headers[0],
        Table::Filled => &ask.headers[1],
        Table::None => &ask.headers[2],
    }
}

impl Ask {
    pub(crate) fn new(path: &str, message: Vec<u8>, deadline: Duration) -> Self {
        // POST and http are in the table that all know.
        let mut filled = vec![0x83, 0x86];
        // The newest has the first place; :path and :authority come before the others.
        filled.extend((0x80 | 62..=0x80 | 66).rev());
        let headers = [block(path, deadline, true), filled, block(path, deadline, false)];
        Self { message, deadline, headers }
    }
}

/// The headers in full, to be kept or not.
fn block(path: &str, deadline: Duration, is_kept: bool) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let timeout = format!("{}m", deadline.as_millis());
    let text = |block: &mut Vec<u8>, text: &str| {
        block.push(text.len() as u8);
        block.extend_from_slice(text.as_bytes());
    };
    // Names by their place in the table that all know: :path, :authority, content-type.
    for (name, value) in [(4_u8, path), (1, "localhost"), (31, "application/grpc")] {
        match (is_kept, name) {
            (true, _) => block.push(0x40 | name),
            (false, ..15) => block.push(name),
            (false, _) => block.extend([0x0f, name - 15]),
        }
        text(&mut block, value);
    }
    for (name, value) in [("te", "trailers"), ("grpc-timeout", &timeout)] {
        block.push(if is_kept { 0x40 } else { 0 });
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// The status in the headers of an answer.
fn status(block: &[u8]) -> Option<u8> {
    let plain = block.windows(STATUS_PLAIN.len()).position(|part| part == STATUS_PLAIN);
    if let Some(at) = plain {
        let (length, value) = block[at + STATUS_PLAIN.len()..].split_first()?;
        return std::str::from_utf8(value.get(..usize::from(*length))?).ok()?.parse().ok();
    }
    let at = block.windows(STATUS_NAME.len()).position(|part| part == STATUS_NAME)?;
    let value = &block[at + STATUS_NAME.len()..];
    // Digits in Huffman's code: 0 to 2 take five bits, the others six.
    let (length, value) = value.split_first()?;
    let value = value.get(..usize::from(length & 0x7f))?;
    let bits = value.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut n_left = 8 * value.len();
    let mut number = 0;
    while n_left >= 5 {
        let five = bits >> (n_left - 5) & 0x1f;
        let digit = if five <= 2 {
            n_left -= 5;
            five
        } else if n_left >= 6 && bits >> (n_left - 6) & 0x3f >= 0x19 {
            let six = bits >> (n_left - 6) & 0x3f;
            n_left -= 6;
            if six > 0x1f {
                break;
            }
            six - 0x19 + 3
        } else {
            break;
        };
        number = 10 * number + digit;
    }
    u8::try_from(number).ok()
}
