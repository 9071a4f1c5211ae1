//! Every rule of the tidy test against a small offence that it must flag and a neighbour that it
//! must leave alone.

use super::check;
use super::documents;
use super::scan;

/// The problems of a file, without their places.
fn problems(name: &str, text: &str) -> Vec<String> {
    check(name, text)
}

fn flags(name: &str, text: &str, part: &str) {
    let found = problems(name, text);
    assert!(found.len() == 1 && found[0].contains(part), "{name} {text:?}: {found:?}");
}

fn passes(name: &str, text: &str) {
    assert_eq!(problems(name, text), Vec::<String>::new(), "{name} {text:?}");
}

#[test]
fn a_room_that_looks_up_is_flagged() {
    for (name, text) in [
        ("src/history/tiles.rs", "use crate::model::Score;"),
        ("src/history/tiles.rs", "fn f() { let x = crate::model::logit(0.5); }"),
        ("src/history/tiles.rs", "use crate::\n    model::{\n    Score,\n    Clv,\n};"),
        ("src/history/tests.rs", "use crate :: model :: Score;"),
        ("src/history/tiles.rs", "use super::super::model::Score;"),
        ("src/history/tests/late.rs", "use super::super::super::model::Score;"),
        ("src/history/mod.rs", "//! In, out.\nuse super::model::Score;"),
        ("src/history/tiles.rs", "macro_rules! m { () => { $crate::model::f() } }"),
        ("src/history/tiles.rs", "pub(in crate::model) fn f() {}"),
    ] {
        flags(name, text, "history may not use model");
    }
    flags("src/features/rfm.rs", "use crate::labels::label;", "features may not use labels");
    flags("src/train/fit.rs", "use crate::serve::run;", "train may not use serve");
    flags("src/config/raw.rs", "use crate::telemetry::init;", "config may not use telemetry");
    let two = problems("src/events/raw.rs", "use crate::model::A;\nuse crate::store::B;");
    assert_eq!(two.len(), 2);
    assert!(two[1].starts_with("src/events/raw.rs:2: "), "{two:?}");
}

#[test]
fn a_room_that_looks_down_or_at_itself_passes() {
    for (name, text) in [
        ("src/model/churn.rs", "use crate::history::History;"),
        ("src/model/churn.rs", "use crate::model::btyd::{\n    BgNbd,\n    MbgNbd,\n};"),
        ("src/model/churn.rs", "pub(crate) fn f() {}"),
        ("src/model/churn.rs", "// see crate::store for more\n"),
        ("src/model/churn.rs", "const A: &str = \"crate::store::x\";"),
        ("src/model/churn.rs", "use super::score::Score;"),
        ("src/serve/convert/score.rs", "use super::super::decision::f;"),
        ("src/model/churn.rs", "use other_crate::store::x;"),
        ("src/bin/serve.rs", "use tenure::serve::run;"),
        ("tests/it/grpc.rs", "use crate::serve_fixture::start;"),
    ] {
        passes(name, text);
    }
}

#[test]
fn several_rooms_in_one_path_are_flagged() {
    for text in ["use crate::{domain, model};", "use crate::\n{\n    domain,\n};", "use crate::*;"]
    {
        flags("src/scoring/mod.rs", &format!("//! In, out.\n{text}"), "name one room a path");
    }
}

#[test]
fn a_room_that_nobody_listed_is_flagged() {
    flags("src/extras/mod.rs", "//! In, out.", "not in LAYERS");
}

#[test]
fn long_files_and_lines_are_flagged() {
    passes("src/model/glm.rs", &"\n".repeat(600));
    flags("src/model/glm.rs", &"\n".repeat(601), "601 lines, at most 600");
    flags("tests/it/path.rs", &"\n".repeat(601), "601 lines, at most 600");
    passes("src/bin/train.rs", &"\n".repeat(60));
    flags("src/bin/train.rs", &"\n".repeat(61), "61 lines, at most 60");
    passes("src/model/glm.rs", &format!("// {}", "é".repeat(97)));
    flags("src/model/glm.rs", &format!("// {}", "e".repeat(98)), "101 characters, at most 100");
    flags("tests/it/path.rs", &format!("f({});", "x".repeat(98)), "102 characters");
    // A text that is read by people is not broken for the sake of a line.
    passes("src/model/error.rs", &format!("const A: &str = \"{}\";", "x".repeat(300)));
    flags("src/model/error.rs", &format!("f(\"\", {});", "x".repeat(100)), "108 characters");
}

#[test]
fn code_in_the_wrong_place_is_flagged() {
    for (room, text, part) in [
        ("store", "async fn f() {}", "async belongs to"),
        ("store", "let f = async move { 1 };", "async belongs to"),
        ("scoring", "let t = std::time::Instant::now();", "take the time as an argument"),
        ("domain", "let t = std::time::SystemTime::now();", "take the time as an argument"),
        ("train", "let t = std::time::Instant::now();", "take the time as an argument"),
        ("domain", "let t = jiff::Timestamp::now();", "Timestamp::now belongs to"),
        ("domain", "let t = jiff::Zoned::now();", "Zoned::now belongs to"),
        ("scoring", "fn f(x: pb::Score) {}", "pb belongs to"),
        ("batch", "use tonic::Status;", "tonic belongs to"),
        ("store", "use prost::Message;", "prost belongs to"),
        ("store", "tokio::spawn(f);", "tokio belongs to"),
        ("train", "use ::parquet::file::reader::FileReader;", "parquet belongs to"),
        ("bundle", "let db = sled::open(path);", "sled belongs to"),
        ("bundle", "use sled;", "sled belongs to"),
        ("train", "use hessboost::Model;", "hessboost belongs to"),
        ("train", "use linfa::Dataset;", "linfa belongs to"),
        ("events", "fn f() -> anyhow::Result<()> {}", "anyhow belongs to"),
    ] {
        flags(&format!("src/{room}/edge.rs"), text, part);
    }
}

#[test]
fn code_in_the_right_place_passes() {
    for (name, text) in [
        ("src/serve/mod.rs", "//! In, out.\npub async fn serve(x: pb::Score) { tonic::f() }"),
        ("src/serve/clock.rs", "let t = SystemTime::now();"),
        ("src/train/program.rs", "let t = Instant::now();"),
        ("src/bin/train.rs", "fn main() -> anyhow::Result<()> {}"),
        ("src/events/parquet.rs", "use ::parquet::basic::Type;"),
        ("src/store/sled.rs", "use ::sled::Db;"),
        ("src/store/mod.rs", "//! In, out.\nmod sled;"),
        ("src/scoring/mod.rs", "//! In, out.\nuse super::parquet::f;\nuse self::sled::g;"),
        ("src/model/glm.rs", "// async, Instant::now and pb::Score in words\n"),
        ("src/model/glm.rs", "let a = \"async\"; let b = r#\"pb::\"#; let is_async = 1;"),
        ("tests/it/grpc.rs", "async fn f(x: pb::Score) { tokio::spawn(g) }"),
    ] {
        passes(name, text);
    }
}

#[test]
fn code_that_belongs_nowhere_is_flagged() {
    for name in ["src/model/glm.rs", "src/serve/mod.rs", "tests/it/path.rs", "benches/fit.rs"] {
        for (text, part) in [
            ("unsafe { f() }", "unsafe"),
            ("a.partial_cmp(&b)", "total_cmp"),
            ("#[ignore]", "no test"),
            ("#[ignore = \"slow\"]", "no test"),
            ("// TODO: later", "TODO"),
            ("/* FIXME */", "FIXME"),
            ("/// HACK around it", "HACK"),
        ] {
            flags(name, &format!("//! In, out.\n{text}"), part);
        }
        passes(name, "//! In, out.\n#![deny(unsafe_code)]\nlet a = \"TODO\";");
    }
}

#[test]
fn names_that_say_nothing_are_flagged() {
    for name in ["src/model/utils.rs", "src/events/common/csv.rs", "tests/it/helpers.rs"] {
        flags(name, "", "name it after what it holds");
    }
    passes("src/model/utility.rs", "");
}

#[test]
fn a_room_without_a_first_word_is_flagged() {
    flags("src/model/mod.rs", "mod glm;", "begin with what goes in");
    flags("src/model/btyd/mod.rs", "", "begin with what goes in");
    passes("src/model/glm.rs", "fn f() {}");
}

#[test]
fn the_scanner_tells_code_from_comments_and_texts() {
    for (text, code, comment) in [
        ("a // b", "a ", "// b"),
        ("a /* b /* c */ d */ e", "a  e", "/* b /* c */ d */"),
        ("f(\"// no\", '\"', \"a\\\"b\") // c", "f(\"\", '', \"\") ", "// c"),
        ("f(r#\"a\"b\"#, br\"c\\\", b'x') /**/", "f(r#\"\"#, br\"\", b'') ", "/**/"),
        ("impl<'a> F<'a> { '\\'' } // c", "impl<'a> F<'a> { '' } ", "// c"),
        ("let r = var\"x\"; r", "let r = var\"\"; r", ""),
    ] {
        let lines = scan::lines(text);
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].code.as_str(), lines[0].comment.as_str()), (code, comment), "{text}");
    }
    let lines = scan::lines("\"a\nb // c\nd\" + 'e'\n/* f\ng */ h");
    let code: Vec<&str> = lines.iter().map(|line| line.code.as_str()).collect();
    assert_eq!(code, ["\"", "", "\" + ''", "", " h"]);
}

#[test]
fn documents_are_found_in_texts() {
    let text = "see docs/A.md, `docs/adr/001-b.md`. [c](C.md#part) [d](https://e.org/docs/F.md) \
                [g](#here) docs/dir and mydocs/H.md";
    assert_eq!(documents(text), ["docs/A.md", "docs/adr/001-b.md", "C.md"]);
}
