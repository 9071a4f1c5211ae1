//! Splits Rust text into what is code, what is comment and what is text literal, line by line.
//!
//! It knows just enough of the language for that: nested block comments, raw and byte literals,
//! and a quote that begins a lifetime and no character.

/// One line, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Code; the inside of literals and all comments are left out.
    pub(super) code: String,
    /// Comments, with their marks.
    pub(super) comment: String,
    /// Characters outside of literals: what a formatter or an author could have broken.
    pub(super) width: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Code,
    LineComment,
    BlockComment { depth: u32 },
    Literal { end: char },
    RawLiteral { n_hashes: usize },
}

/// Takes a whole file apart.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Line::default()];
    let mut mode = Mode::Code;
    let mut at = 0;
    while at < chars.len() {
        if chars[at] == '\n' {
            lines.push(Line::default());
            if mode == Mode::LineComment {
                mode = Mode::Code;
            }
            at += 1;
            continue;
        }
        let (next, n_taken, kind) = step(mode, &chars[at..], at.checked_sub(1).map(|i| chars[i]));
        let taken = &chars[at..at + n_taken];
        let line = lines.last_mut().unwrap();
        match kind {
            Kind::Code => line.code.extend(taken),
            Kind::Comment => line.comment.extend(taken),
            Kind::Literal => {}
        }
        if kind != Kind::Literal {
            line.width += n_taken;
        }
        mode = next;
        at += n_taken;
    }
    lines
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// What the next characters are: the mode after them, how many, and their kind. `rest` begins
/// with no line break, and nothing that is taken at once holds one.
fn step(mode: Mode, rest: &[char], before: Option<char>) -> (Mode, usize, Kind) {
    let second = rest.get(1).copied();
    match mode {
        Mode::Code => step_code(rest, before),
        Mode::LineComment => (mode, 1, Kind::Comment),
        Mode::BlockComment { depth } => match (rest[0], second) {
            ('*', Some('/')) if depth == 1 => (Mode::Code, 2, Kind::Comment),
            ('*', Some('/')) => (Mode::BlockComment { depth: depth - 1 }, 2, Kind::Comment),
            ('/', Some('*')) => (Mode::BlockComment { depth: depth + 1 }, 2, Kind::Comment),
            _ => (mode, 1, Kind::Comment),
        },
        Mode::Literal { end } => match (rest[0], second) {
            ('\\', Some(escaped)) if escaped != '\n' => (mode, 2, Kind::Literal),
            (c, _) if c == end => (Mode::Code, 1, Kind::Code),
            _ => (mode, 1, Kind::Literal),
        },
        Mode::RawLiteral { n_hashes } => {
            let closes = rest[0] == '"'
                && rest.len() > n_hashes
                && rest[1..=n_hashes].iter().all(|&c| c == '#');
            if closes { (Mode::Code, 1 + n_hashes, Kind::Code) } else { (mode, 1, Kind::Literal) }
        }
    }
}

fn step_code(rest: &[char], before: Option<char>) -> (Mode, usize, Kind) {
    let second = rest.get(1).copied();
    match (rest[0], second) {
        ('/', Some('/')) => (Mode::LineComment, 2, Kind::Comment),
        ('/', Some('*')) => (Mode::BlockComment { depth: 1 }, 2, Kind::Comment),
        ('"', _) => (Mode::Literal { end: '"' }, 1, Kind::Code),
        ('\'', _) if is_character(rest) => (Mode::Literal { end: '\'' }, 1, Kind::Code),
        ('r', _) if !before.is_some_and(|c| is_word(c) && c != 'b') => {
            let n_hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
            if rest.get(1 + n_hashes) == Some(&'"') {
                (Mode::RawLiteral { n_hashes }, 2 + n_hashes, Kind::Code)
            } else {
                (Mode::Code, 1, Kind::Code)
            }
        }
        _ => (Mode::Code, 1, Kind::Code),
    }
}

/// Whether a quote begins a character and no lifetime.
fn is_character(rest: &[char]) -> bool {
    rest.get(1) == Some(&'\\') || rest.get(2) == Some(&'\'')
}

/// Whether a character can be part of a name.
pub(super) const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
