//! The hash of a policy changes with every meaning and with nothing else: every value of the file
//! is changed in turn, and the file is written again in other ways.

use toml::Table;
use toml::Value;

use crate::decision::policy::Policy;
use crate::decision::test_fixtures::Dice;
use crate::decision::test_fixtures::by_value;
use crate::decision::test_fixtures::with_costs;

/// Keys that mean nothing to a decision, by the end of their path.
const SILENT: [&str; 3] = [".why", "policy_id", "policy_version"];
/// Keys of a mode that is not in force, and the form of the file.
const OTHER_MODE: [&str; 3] =
    ["risk.red_probability", "risk.amber_probability", "risk.red_if_worth"];

/// Names that some key takes.
const WORDS: [&str; 27] = [
    "email",
    "human",
    "paid_social",
    "push",
    "gift",
    "none",
    "venerate",
    "growth",
    "marketing",
    "upsell",
    "habit_reminder",
    "milestone",
    "service_recovery",
    "lead_capture",
    "fixed salt of ours",
    "ANOTHER_REASON",
    "USD",
    "venue",
    "retention",
    "reactivation",
    "credit",
    "priority",
    "top_category",
    "target_activity",
    "onboarding",
    "another",
    "cart_recovery",
];

fn hash(text: &str) -> Option<[u8; 32]> {
    Policy::parse(text).ok().map(|policy| policy.id().hash)
}

/// All values that are no tables and no lists, by path.
fn leaves(at: &str, value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            for (key, inner) in table {
                leaves(&format!("{at}.{key}"), inner, out);
            }
        }
        Value::Array(items) => {
            for (idx, inner) in items.iter().enumerate() {
                leaves(&format!("{at}.{idx}"), inner, out);
            }
        }
        _ => out.push(at.to_owned()),
    }
}

fn find<'v>(root: &'v mut Value, path: &str) -> &'v mut Value {
    path.split('.').skip(1).fold(root, |value, key| match value {
        Value::Table(table) => table.get_mut(key).unwrap(),
        Value::Array(items) => &mut items[key.parse::<usize>().unwrap()],
        _ => panic!("{path}"),
    })
}

/// Other values of the same kind, one of which the checker should take.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Boolean(flag) => vec![Value::Boolean(!flag)],
        Value::Integer(n) => vec![Value::Integer(n + 1), Value::Integer(n - 1)],
        Value::Float(x) => vec![Value::Float(x * 0.5 + 0.013), Value::Float(x + 0.001)],
        Value::String(text) => {
            let mut found = Vec::new();
            // Numbers within a condition.
            for digit in ["1", "2", "3", "5", "7", "30", "60"] {
                if let Some((at, _)) = text.rmatch_indices(char::is_numeric).next() {
                    found.push(format!("{}{digit}{}", &text[..at], &text[at + 1..]));
                }
            }
            for (from, to) in [
                (">=", "<="),
                ("<=", ">="),
                ("<", ">="),
                ("true", "false"),
                ("false", "true"),
                ("= ", "in lost|"),
                ("in ", "in at_risk|"),
                ("green", "amber"),
                ("current", "slipping"),
                ("lapsed", "slipping"),
                ("drop", "rise"),
                ("rise", "drop"),
                ("steady", "no_data"),
                ("slipping", "current"),
                ("no_data", "steady"),
                ("red", "amber"),
                ("amber", "red"),
                ("steady|", ""),
                ("|slipping", ""),
            ] {
                if text.contains(from) {
                    found.push(text.replacen(from, to, 1));
                }
            }
            found.extend(WORDS.map(str::to_owned));
            found.into_iter().filter(|other| other != text).map(Value::String).collect()
        }
        _ => Vec::new(),
    }
}

fn mutate_every_leaf(text: &str, silent_too: &str) {
    let root = Value::Table(text.parse::<Table>().unwrap());
    let original = hash(text).unwrap();
    let mut paths = Vec::new();
    leaves("", &root, &mut paths);
    assert!(paths.len() > 400, "{}", paths.len());
    let mut n_changed = 0;
    let mut stuck = Vec::new();
    for path in &paths {
        if path.contains("schema_version") || path.contains("activities") {
            continue;
        }
        let is_silent = SILENT.iter().any(|end| path.ends_with(end))
            || path.contains(silent_too)
            || OTHER_MODE.iter().any(|key| path[1..].starts_with(key) && !path.contains("_min"));
        let mut changed = root.clone();
        let was = find(&mut changed, path).clone();
        // Of several other values the first that makes a policy.
        let taken = others(&was).into_iter().find_map(|other| {
            *find(&mut changed, path) = other.clone();
            hash(&toml::to_string(&changed).unwrap()).map(|hash| (other, hash))
        });
        match taken {
            Some((_, found)) if is_silent => assert_eq!(found, original, "{path} means nothing"),
            Some((other, found)) => {
                assert_ne!(found, original, "{path}: {was:?} became {other:?}");
                n_changed += 1;
            }
            None => stuck.push(path.clone()),
        }
    }
    assert!(n_changed > 300, "only {n_changed} of {} could be changed", paths.len());
    // Ids of segments are a closed set without repetition; ids of campaigns stand in lists.
    stuck.retain(|path| {
        !path.ends_with(".id") && !path.contains(".0.when") && !path.ends_with("mode")
    });
    assert!(stuck.len() < 25, "no other value was taken for {stuck:#?}");
}

#[test]
fn every_value_of_the_file_is_in_the_hash_or_means_nothing() {
    mutate_every_leaf(Policy::default_text(), "expected_value_min");
}

#[test]
fn every_cost_is_in_the_hash() {
    let id = "id        = \"retention_offer\"";
    let own = "effect = 0.03\neffect_standard_error = 0.01\ncost = 0.1\naccept_prob = 0.5";
    let text = by_value().replacen(id, &format!("{id}\n{own}\noffer_cost = 4.0"), 1);
    mutate_every_leaf(&text, "(none)");
}

/// The same tables written with other orders, spaces and comments.
#[test]
fn another_way_of_writing_has_the_same_hash() {
    for text in [Policy::default_text().to_owned(), with_costs(), by_value()] {
        let original = hash(&text).unwrap();
        // Sorted keys, no comments, other quotes and spaces.
        let root: Table = text.parse().unwrap();
        assert_eq!(hash(&toml::to_string(&root).unwrap()), Some(original));
        assert_eq!(hash(&toml::to_string_pretty(&root).unwrap()), Some(original));
        let mut dice = Dice(77);
        for _ in 0..20 {
            let noisy: String = text
                .lines()
                .map(|line| {
                    let is_plain =
                        !line.contains('#') && !line.ends_with('[') && !line.ends_with(',');
                    let comment = if is_plain && dice.chance(30) { "  # a word" } else { "" };
                    let blank = if dice.chance(20) && !line.starts_with(' ') && is_plain {
                        "\n# another\n\n"
                    } else {
                        "\n"
                    };
                    format!("{line}{comment}{blank}")
                })
                .collect();
            assert_eq!(hash(&noisy), Some(original), "{noisy}");
        }
        assert_eq!(hash(&text.replace('\n', "\r\n")), Some(original));
        let mut shuffled = root;
        for key in ["campaign", "experiment"] {
            if let Some(Value::Array(items)) = shuffled.get_mut(key) {
                items.reverse();
            }
        }
        assert_eq!(hash(&toml::to_string(&shuffled).unwrap()), Some(original));
    }
}
