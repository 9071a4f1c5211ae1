//! Any bytes: no panic, every dropped row has a number, every row is counted once.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn check_any(format: FileFormat, bytes: &[u8]) {
    let Ok(taken) = take_text(&ReadSpec::default(), &Rules::default(), format, bytes) else {
        return;
    };
    let report = &taken.report;
    assert_eq!(
        report.rows,
        report.kept + report.dropped + report.duplicates + report.other_currency
    );
    assert_eq!(report.kept, taken.events.len() as u64);
    let n_lines = 1 + bytes.iter().filter(|&&byte| byte == b'\n' || byte == b'\r').count();
    assert!(taken.dropped.iter().all(|(row, _)| (1..=n_lines as u64).contains(row)));
    assert!(taken.dropped.is_sorted());
}

/// Pieces of files, good and bad, so that random joins come past the header.
const PIECES: [&str; 32] = [
    "a",
    "\"",
    "\"\"",
    ",",
    ";",
    "\n",
    "\r\n",
    "\t",
    "2026-01-01",
    "2026-01-01 10:00",
    "1.5",
    "-2",
    "1e308",
    "NaN",
    "\u{feff}",
    "é",
    "\0",
    "{",
    "}",
    "[",
    "]",
    ":",
    "\"customer\":\"a\"",
    "\"type\":\"purchase\"",
    "\"time\":\"2026-01-01\"",
    "\"amount\":1",
    "\"attributes\":{",
    "null",
    "a,2026-01-01,1\n",
    "a,2026-01-01,1,\"x\ny\"\n",
    "{\"customer\":\"a\",\"type\":\"nps\",\"time\":\"2026-01-01\",\"score\":3}\n",
    " ",
];

fn pieces() -> impl Strategy<Value = String> {
    vec(proptest::sample::select(PIECES.as_slice()), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..400)) {
        check_any(FileFormat::Csv, &bytes);
        check_any(FileFormat::Jsonl, &bytes);
    }

    #[test]
    fn any_rows_are_read_without_panic(text in pieces(), bytes in vec(any::<u8>(), 0..8)) {
        for header in ["customer,date,amount\n", "customer,date,amount,note\n", "customer;time;type;score\r\n"] {
            let csv = [header.as_bytes(), text.as_bytes(), &bytes, b"\n"].concat();
            check_any(FileFormat::Csv, &csv);
        }
        let jsonl = ["{\"customer\":1,\"time\":\"2026-01-01\",\"type\":\"nps\",\"score\":1}\n", &text].concat();
        check_any(FileFormat::Jsonl, jsonl.as_bytes());
        check_any(FileFormat::Jsonl, &[jsonl.as_bytes(), &bytes].concat());
    }

    #[test]
    fn what_a_file_says_survives_quoting(cells in vec("[ -~\\n]{1,20}", 1..20)) {
        let mut text = String::from("customer,date,amount,note\n");
        for cell in &cells {
            text.push_str(&format!("a,2026-01-01,1,\"{}\"\n", cell.replace('"', "\"\"")));
        }
        let taken = take_csv(&text).unwrap();
        prop_assert_eq!(taken.report.kept, cells.len() as u64);
    }
}
