//! A client that sends calls when they are due, for next to nothing.
//!
//! In: calls that are encoded already. Out: how each ended, and when. It speaks as much HTTP/2 as
//! it takes to send one method's calls over a few connections and to read the status of each
//! answer: a client of the usual kind needs more time a call than the server that is measured,
//! and cannot send three times what that answers. Windows and limits of the server are kept.

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
/// What we let the server send before we say more, on a connection.
const WINDOW: u32 = 1 << 30;
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
    pub(crate) path: &'static str,
    pub(crate) message: Vec<u8>,
    pub(crate) deadline: Duration,
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
    /// The stream of the first entry of `open`; entries follow in steps of two.
    first: u32,
    open: VecDeque<Option<Open>>,
    n_open: usize,
    /// Due and not sent yet, for want of room at the server.
    waiting: VecDeque<Instant>,
    room: i64,
    streams_max: usize,
    n_read: u32,
}

/// A few connections, used in turn.
pub(crate) struct Wire<'a> {
    links: Vec<Link>,
    ask: &'a Ask,
    next: usize,
}

impl<'a> Wire<'a> {
    pub(crate) fn connect(address: &str, n_links: usize, ask: &'a Ask) -> Result<Self> {
        let links = (0..n_links).map(|_| Link::connect(address)).collect::<Result<_>>()?;
        Ok(Self { links, ask, next: 0 })
    }

    /// Calls that have not ended.
    pub(crate) fn n_open(&self) -> usize {
        self.links.iter().map(|link| link.n_open + link.waiting.len()).sum()
    }

    /// Sends a call as soon as the server's limits allow.
    pub(crate) fn send(&mut self, due: Instant) {
        let idx = self.next % self.links.len();
        self.next += 1;
        self.links[idx].waiting.push_back(due);
    }

    /// Moves bytes and tells of every call that ended, with the time since it was due.
    pub(crate) fn turn(&mut self, tell: &mut dyn FnMut(End, Duration)) -> Result<()> {
        for link in &mut self.links {
            link.expire(self.ask.deadline, tell);
            link.start(self.ask);
            link.flush()?;
            link.read(tell)?;
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
            first: 1,
            open: VecDeque::new(),
            n_open: 0,
            waiting: VecDeque::new(),
            room: 65_535,
            streams_max: usize::MAX,
            n_read: 0,
        })
    }

    fn expire(&mut self, deadline: Duration, tell: &mut dyn FnMut(End, Duration)) {
        while self.waiting.front().is_some_and(|due| due.elapsed() > deadline) {
            if let Some(due) = self.waiting.pop_front() {
                tell(End::Cancelled, due.elapsed());
            }
        }
        while let Some(front) = self.open.front() {
            if let Some(open) = front {
                let time = open.due.elapsed();
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

    fn start(&mut self, ask: &Ask) {
        let length = ask.message.len() + 5;
        while self.n_open < self.streams_max && self.room >= length as i64 {
            let Some(due) = self.waiting.pop_front() else { return };
            let id = self.first + 2 * self.open.len() as u32;
            frame(&mut self.out, (HEADERS, 4), id, &headers(ask, id == 1));
            let mut body = vec![0];
            body.extend_from_slice(&(ask.message.len() as u32).to_be_bytes());
            body.extend_from_slice(&ask.message);
            frame(&mut self.out, (DATA, END_STREAM), id, &body);
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

    fn read(&mut self, tell: &mut dyn FnMut(End, Duration)) -> Result<()> {
        let mut chunk = [0; 1 << 16];
        match self.stream.read(&mut chunk) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(n) => self.input.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some((head, after)) = rest.split_at_checked(FRAME_HEAD) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((content, after)) = after.split_at_checked(length) else { break };
            let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            self.take((head[3], head[4]), id, content, tell)?;
            rest = after;
        }
        self.input = rest.to_vec();
        Ok(())
    }

    fn take(
        &mut self,
        (kind, flags): (u8, u8),
        id: u32,
        content: &[u8],
        tell: &mut dyn FnMut(End, Duration),
    ) -> Result<()> {
        match kind {
            HEADERS => {
                let status = status(content);
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
                tell(end.unwrap_or(End::Reset), open.due.elapsed());
            }
        }
        Ok(())
    }

    fn slot(&mut self, id: u32) -> Option<&mut Option<Open>> {
        self.open.get_mut((id.checked_sub(self.first)? / 2) as usize)
    }
}

fn frame(out: &mut Vec<u8>, (kind, flags): (u8, u8), id: u32, content: &[u8]) {
    out.extend_from_slice(&(content.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(content);
}

/// The headers of a call. Those of the first are kept in the connection's table, as every client
/// does it, and named by their place in it afterwards.
fn headers(ask: &Ask, is_first: bool) -> Vec<u8> {
    // POST and http are in the table that all know.
    let mut block = vec![0x83, 0x86];
    if !is_first {
        // The newest has the first place; :path and :authority come before the others.
        block.extend((0x80 | 62..=0x80 | 66).rev());
        return block;
    }
    let timeout = format!("{}m", ask.deadline.as_millis());
    let text = |block: &mut Vec<u8>, text: &str| {
        block.push(text.len() as u8);
        block.extend_from_slice(text.as_bytes());
    };
    // Names by their place in the table that all know: :path, :authority, content-type.
    for (name, value) in [(4, ask.path), (1, "localhost"), (31, "application/grpc")] {
        block.push(0x40 | name);
        text(&mut block, value);
    }
    for (name, value) in [("te", "trailers"), ("grpc-timeout", &timeout)] {
        block.push(0x40);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// The status in the headers of an answer.
fn status(block: &[u8]) -> Option<u8> {
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
