//! What the compiler cannot see: which way modules depend on each other, how long files and
//! lines are, where `async`, the clock and certain crates may appear, and that documents exist.
//!
//! The rules are data and the check is a function of a file's name and text, so that it is itself
//! tested: `rules_bite` below holds a small offence against every rule.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

mod rules_bite;
mod scan;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use scan::Line;
use scan::is_word;

/// Rooms of the library, lowest first. A room uses only rooms of the rows above its own.
const LAYERS: &[&[&str]] = &[
    &["domain"],
    &["events"],
    &["history"],
    &["features", "labels"],
    &["dataset"],
    &["model"],
    &["evaluate"],
    &["bundle"],
    &["decision"],
    &["scoring"],
    &["store"],
    &["config", "telemetry"],
    &["train", "batch", "serve"],
];

const FILE_LINES_MAX: usize = 600;
const BINARY_LINES_MAX: usize = 60;
const LINE_WIDTH_MAX: usize = 100;

/// Names that say nothing of what is inside, for files and folders.
const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "manager", "misc", "shared", "util", "utils"];

/// Code that may appear in some rooms or files of `src` only; the reason is part of the message.
const PLACES: &[(Pattern, &[&str], &str)] = &[
    (Pattern::Word("async"), &["serve", "bin"], "the core computes and waits for nothing"),
    (Pattern::Text("SystemTime::now"), CLOCK, "take the time as an argument"),
    (Pattern::Text("Instant::now"), CLOCK, "take the time as an argument"),
    (Pattern::Text("Timestamp::now"), CLOCK, "take the time as an argument"),
    (Pattern::Text("Zoned::now"), CLOCK, "take the time as an argument"),
    (Pattern::Crate("pb"), &["serve"], "generated types stay at the wire"),
    (Pattern::Crate("tonic"), &["serve"], "the protocol stays at the wire"),
    (Pattern::Crate("prost"), &["serve"], "the protocol stays at the wire"),
    (Pattern::Crate("tokio"), &["serve", "bin"], "the core computes and waits for nothing"),
    (Pattern::Crate("parquet"), &["events", "batch"], "only where files are read and written"),
    (Pattern::Crate("sled"), &["store"], "the engine can be exchanged"),
    (Pattern::Crate("hessboost"), &["model"], "trees are stored in a neutral form"),
    (Pattern::Crate("linfa"), &["model"], "nobody else knows how a model is fitted"),
    (Pattern::Crate("anyhow"), &["bin"], "the library's errors have types"),
];
/// The edges. In training and batch scoring it tells what of a log lies in the future and how
/// long a run took; no number of a result may depend on it.
const CLOCK: &[&str] = &["bin", "config", "serve", "train/program.rs", "batch/clock.rs"];

/// Code that may appear nowhere, but for the files named.
const NOWHERE: &[(Pattern, &[&str], &str)] = &[
    (Pattern::Word("unsafe"), &["src/model/forest/wide.rs"], "there is no need for it"),
    (Pattern::Text(".partial_cmp("), &[], "NaN has no order there: use total_cmp"),
    (Pattern::Text("#[ignore"), &[], "a test that is not run is no test"),
];

/// Marks of unfinished work, in comments.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX:", "HACK"];

/// How a piece of code is looked for.
#[derive(Debug, Clone, Copy)]
enum Pattern {
    /// As it stands.
    Text(&'static str),
    /// As a whole word.
    Word(&'static str),
    /// As the beginning of a path.
    Crate(&'static str),
}

impl Pattern {
    const fn name(self) -> &'static str {
        let (Self::Text(name) | Self::Word(name) | Self::Crate(name)) = self;
        name
    }

    fn is_in(self, code: &str) -> bool {
        match self {
            Self::Text(text) => code.contains(text),
            Self::Word(word) => words(code, word).next().is_some(),
            Self::Crate(name) => words(code, name).any(|at| {
                let (before, after) = (code[..at].trim_end(), code[at + name.len()..].trim_start());
                let of_a_path = before.strip_suffix("::").is_some_and(|b| b.ends_with(is_word));
                // `use sled;` names the crate, too.
                let imported = before.ends_with("use") && after.starts_with(';');
                !of_a_path && (after.starts_with("::") || imported)
            }),
        }
    }
}

/// Positions of a whole word in code.
fn words<'c>(code: &'c str, word: &'static str) -> impl Iterator<Item = usize> + 'c {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
    })
}

/// Holds one file against the rules; `name` is its path from the project's root.
fn check(name: &str, text: &str) -> Vec<String> {
    let mut problems = check_file(name, text);
    let lines = scan::lines(text);
    for (idx, line) in lines.iter().enumerate() {
        let at = format!("{name}:{}", idx + 1);
        problems.extend(check_line(name, line).into_iter().map(|what| format!("{at}: {what}")));
    }
    if let Some(own) = room(name).filter(|own| *own != "bin") {
        problems.extend(
            check_layers(name, own, &lines)
                .into_iter()
                .map(|(idx, what)| format!("{name}:{}: {what}", idx + 1)),
        );
    }
    problems
}

fn check_file(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for part in name.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&part) {
            problems.push(format!("{name}: name it after what it holds, not {part}"));
        }
    }
    let n_lines = text.lines().count();
    let n_lines_max = if room(name) == Some("bin") { BINARY_LINES_MAX } else { FILE_LINES_MAX };
    if n_lines > n_lines_max {
        problems.push(format!("{name}: {n_lines} lines, at most {n_lines_max}: split it by sense"));
    }
    if name.ends_with("/mod.rs") && !text.starts_with("//!") {
        problems.push(format!("{name}: begin with what goes in, what comes out and what is not"));
    }
    problems
}

fn check_line(name: &str, line: &Line) -> Vec<String> {
    let mut problems = Vec::new();
    if line.width > LINE_WIDTH_MAX {
        problems.push(format!("{} characters, at most {LINE_WIDTH_MAX}", line.width));
    }
    for mark in UNFINISHED.iter().filter(|mark| line.comment.contains(**mark)) {
        problems.push(format!("{mark} marks unfinished work: finish it or write an issue"));
    }
    for (pattern, but_in, why) in NOWHERE {
        if pattern.is_in(&line.code) && !but_in.contains(&name) {
            problems.push(format!("{}: {why}", pattern.name()));
        }
    }
    let Some(room) = room(name) else { return problems };
    for (pattern, places, why) in PLACES {
        let allowed =
            places.iter().any(|place| *place == room || name.strip_prefix("src/") == Some(place));
        if !allowed && pattern.is_in(&line.code) {
            problems.push(format!("{} belongs to {places:?}: {why}", pattern.name()));
        }
    }
    problems
}

/// The room of a file of the library, or `bin`; none for its root and for files outside.
fn room(name: &str) -> Option<&str> {
    let (room, _) = name.strip_prefix("src/")?.split_once('/')?;
    Some(room)
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&room))
}

/// Where a room reaches for one that it may not know.
fn check_layers(name: &str, own: &str, lines: &[Line]) -> Vec<(usize, String)> {
    let Some(own_layer) = layer(own) else {
        return vec![(0, format!("the room {own} is not in LAYERS"))];
    };
    let code: String = lines.iter().map(|line| format!("{}\n", line.code)).collect();
    let mut problems = Vec::new();
    for (at, used) in root_paths(&code, depth(name)) {
        let idx = code[..at].matches('\n').count();
        match used {
            Used::Many => {
                let what = "name one room a path: `use crate::room::...`, one a line";
                problems.push((idx, what.to_owned()));
            }
            Used::Room(used) if used != own => match layer(used) {
                Some(used_layer) if used_layer >= own_layer => {
                    problems.push((idx, format!("{own} may not use {used}")));
                }
                _ => {}
            },
            Used::Room(_) => {}
        }
    }
    problems
}

/// How many `super` lead from the top of a file to the root of the library.
fn depth(name: &str) -> usize {
    let path = name.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').count()
}

/// What a path from the root of the library begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Used<'c> {
    /// One name.
    Room(&'c str),
    /// A group or everything.
    Many,
}

/// All paths of a file that begin at the root of the library, with their positions: by `crate`,
/// or by as many `super` as lead there.
fn root_paths(code: &str, depth: usize) -> Vec<(usize, Used<'_>)> {
    let from_crate = words(code, "crate").filter_map(|at| {
        let rest = segment_after(&code[at + "crate".len()..])?;
        Some((at, first_segment(rest)?))
    });
    let from_super = words(code, "super").filter_map(|at| {
        // Only where the chain begins; a chain is followed to its end.
        if code[..at].trim_end().ends_with("::") {
            return None;
        }
        let mut rest = &code[at..];
        let mut n_up = 0;
        while let Some(after) = rest.strip_prefix("super") {
            rest = segment_after(after)?;
            n_up += 1;
        }
        // From inside an inline module one `super` more is needed: then this is no room's name.
        let used = first_segment(rest)?;
        let reaches = n_up >= depth && matches!(used, Used::Room(room) if layer(room).is_some());
        reaches.then_some((at, used))
    });
    let mut paths: Vec<(usize, Used<'_>)> = from_crate.chain(from_super).collect();
    paths.sort_by_key(|(at, _)| *at);
    paths
}

fn segment_after(rest: &str) -> Option<&str> {
    Some(rest.trim_start().strip_prefix("::")?.trim_start())
}

fn first_segment(rest: &str) -> Option<Used<'_>> {
    if rest.starts_with(['{', '*']) {
        return Some(Used::Many);
    }
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    (end > 0).then(|| Used::Room(&rest[..end]))
}

/// Paths of documents that a text points to, as written: `docs/....md`, and targets of links that
/// lead to no other host.
fn documents(text: &str) -> Vec<&str> {
    let is_path = |c: char| is_word(c) || matches!(c, '-' | '/' | '.');
    let named = text.match_indices("docs/").filter_map(|(at, _)| {
        let end = text[at..].find(|c| !is_path(c)).map_or(text.len(), |n| at + n);
        let path = text[at..end].trim_end_matches('.');
        let begins = !text[..at].ends_with(is_path);
        (begins && path.ends_with(".md")).then_some(path)
    });
    let linked = text.match_indices("](").filter_map(|(at, open)| {
        let rest = &text[at + open.len()..];
        let target = rest[..rest.find(')')?].split('#').next()?;
        (!target.is_empty() && !target.contains(':')).then_some(target)
    });
    named.chain(linked).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files with an ending under a folder of the project, by path from its root.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_source_is_tidy() {
    let mut problems = Vec::new();
    let mut n_files = 0;
    for folder in ["src", "tests", "benches", "examples"] {
        for name in files(folder, "rs") {
            problems.extend(check(&name, &read(&name)));
            n_files += 1;
        }
    }
    assert!(n_files > LAYERS.len(), "only {n_files} files found");
    assert!(problems.is_empty(), "{} problems:\n{}\n", problems.len(), problems.join("\n"));
}

#[test]
fn the_crate_lists_its_rooms_in_the_order_of_the_layers() {
    let text = read("src/lib.rs");
    let listed: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let mut by_layer = listed.clone();
    by_layer.sort_by_key(|room| layer(room));
    assert_eq!(listed, by_layer);
    assert_eq!(listed.len(), LAYERS.iter().map(|row| row.len()).sum::<usize>(), "{listed:?}");
    assert!(listed.iter().all(|room| layer(room).is_some()), "{listed:?}");
}

#[test]
fn documents_that_are_pointed_to_exist() {
    let mut missing = Vec::new();
    let at_root = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let present = at_root.into_iter().filter(|name| root().join(name).is_file());
    let texts = present.map(str::to_owned).chain(files("docs", "md")).chain(files("src", "rs"));
    for name in texts {
        let text = read(&name);
        let is_source = name.ends_with(".rs");
        let folder = root().join(Path::new(&name).parent().unwrap());
        for path in documents(&text) {
            // In source `](` is a link to code, not to a file.
            if is_source && !path.starts_with("docs/") {
                continue;
            }
            if !root().join(path).is_file() && !folder.join(path).try_exists().unwrap() {
                missing.push(format!("{name}: {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "these documents do not exist:\n{}\n", missing.join("\n"));
}
