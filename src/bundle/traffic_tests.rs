//! The rules of a traffic policy, and its file.

use std::fs;

use super::*;

fn arm(arm: &str, version: &str, weight: u16) -> TrafficArmV1 {
    TrafficArmV1 { arm: arm.to_owned(), version: version.to_owned(), weight, shadow: false }
}

fn shadow(name: &str, version: &str, weight: u16) -> TrafficArmV1 {
    TrafficArmV1 { shadow: true, ..arm(name, version, weight) }
}

fn shape(policy: &TrafficV1) -> Vec<(&str, &str, u16)> {
    policy.now.arms.iter().map(|arm| (&*arm.arm, &*arm.version, arm.weight)).collect()
}

/// A directory of a model with versions that consist of a manifest.
fn models(versions: &[&str], champion: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for version in versions {
        let folder = dir.path().join("demo").join(version);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("manifest.json"), "{}").unwrap();
    }
    set_alias(dir.path(), "demo", "champion", champion).unwrap();
    dir
}

#[test]
fn a_promotion_moves_the_champion_and_ends_the_arm_that_has_won() {
    let first = TrafficV1::first("s", "a", 1);
    assert_eq!(shape(&first), [("champion", "a", 10_000)]);
    let arms = vec![arm("champion", "a", 9_000), arm("canary", "b", 1_000), shadow("dark", "c", 5)];
    let split = first.updated("s", arms, 2);
    assert!(split.now.problems().is_empty());
    let other = split.promoted("d", 3);
    let expected = [("champion", "d", 9_000), ("canary", "b", 1_000), ("dark", "c", 5)];
    assert_eq!(shape(&other), expected);
    let won = split.promoted("b", 3);
    assert_eq!(shape(&won), [("champion", "b", 10_000), ("dark", "c", 5)]);
    assert_eq!(shape(&split.promoted("c", 3)).len(), 2, "nobody is their own shadow");
    let lost = split.without("b", 3);
    assert_eq!(shape(&lost), [("champion", "a", 10_000), ("dark", "c", 5)]);
    assert_eq!((lost.now.revision, lost.now.cause), (3, TrafficCause::ArmLost));
    assert!([&other, &won, &lost].iter().all(|policy| policy.now.problems().is_empty()));
}

#[test]
fn going_back_goes_back_a_step_each_time_and_never_forward() {
    let mut policy = TrafficV1::first("s", "a", 1);
    for version in ["b", "c"] {
        policy = policy.promoted(version, 2);
    }
    let back = policy.rolled_back(None, 3).unwrap();
    assert_eq!((back.now.champion(), back.now.revision), (Some("b"), 4));
    assert_eq!(back.now.of_revision, Some(2));
    let again = back.rolled_back(None, 4).unwrap();
    assert_eq!((again.now.champion(), again.now.revision), (Some("a"), 5));
    assert_eq!(again.rolled_back(None, 5), None);
    let forward = again.rolled_back(Some(3), 5).unwrap();
    assert_eq!((forward.now.champion(), forward.now.of_revision), (Some("c"), Some(3)));
    assert_eq!(again.rolled_back(Some(77), 5), None);
    // After a new change the step back is what was in force before it.
    let new = back.promoted("d", 6).rolled_back(None, 7).unwrap();
    assert_eq!((new.now.champion(), new.now.of_revision), (Some("b"), Some(2)));
    assert_eq!(new.rolled_back(None, 8).unwrap().now.champion(), Some("a"));
    for n in 0..100 {
        policy = policy.promoted(&format!("v{n}"), n);
    }
    assert_eq!(policy.before.len(), REVISIONS_KEPT);
}

#[test]
fn whatever_is_wrong_is_told_with_its_field() {
    let fields = |salt: &str, arms: Vec<TrafficArmV1>| -> Vec<(String, &'static str)> {
        let policy = TrafficV1::first("s", "a", 1).updated(salt, arms, 2);
        policy.now.problems().into_iter().map(|found| (found.field, found.reason)).collect()
    };
    let told = |field: &str, reason| vec![(field.to_owned(), reason)];
    assert!(fields("", vec![arm("champion", "a", 10_000)]).is_empty());
    assert_eq!(fields("a b", vec![arm("champion", "a", 10_000)]), told("salt", "SALT"));
    assert_eq!(fields("", vec![arm("champion", "a", 9_999)]), told("arms", "WEIGHT_SUM"));
    let no_champion = vec![arm("other", "a", 10_000)];
    assert_eq!(fields("", no_champion), told("arms", "CHAMPION_MISSING"));
    let two = vec![arm("champion", "a", 10_000), arm("B", "../b", 0)];
    let expected = [("arms[1].arm", "ARM_NAME"), ("arms[1].model_version", "MODEL_VERSION")];
    assert_eq!(fields("", two), expected.map(|(field, reason)| (field.to_owned(), reason)));
    let twice = vec![arm("champion", "a", 10_000), arm("x", "b", 0), arm("x", "c", 0)];
    assert_eq!(fields("", twice), told("arms[2].arm", "ARM_TWICE"));
    let own = vec![arm("champion", "a", 10_000), shadow("x", "a", 1)];
    assert_eq!(fields("", own), told("arms[1].model_version", "SHADOW_OF_ITSELF"));
    let idle = vec![arm("champion", "a", 10_000), shadow("x", "b", 0)];
    assert_eq!(fields("", idle), told("arms[1].weight", "WEIGHT"));
    let many = (0..9).map(|n| arm(if n == 0 { "champion" } else { "x" }, "a", 10_000));
    assert!(fields("", many.collect()).contains(&("arms".to_owned(), "ARM_COUNT")));
}

#[test]
fn the_file_and_the_alias_move_together() {
    let dir = models(&["a", "b"], "a");
    let read = || TrafficV1::read(dir.path(), "demo", "champion").unwrap();
    let alias = || aliases(dir.path(), "demo").unwrap().remove("champion").unwrap();
    assert_eq!(read(), None);
    let policy = TrafficV1::first("s", "a", 1).promoted("b", 2);
    policy.write(dir.path(), "demo", "champion").unwrap();
    let moving = TrafficV1 { moving_from: Some("a".to_owned()), ..policy.clone() };
    assert_eq!((read().unwrap(), &*alias()), (moving, "a"));
    TrafficV1::finish_move(dir.path(), "demo", "champion").unwrap();
    assert_eq!((read().unwrap(), &*alias()), (policy.clone(), "b"));
    let etag = policy.etag();
    assert_eq!((etag.len(), read().unwrap().etag()), (16, etag));
    // The champion stays: nothing moves.
    let arms = vec![arm("champion", "b", 9_000), arm("canary", "a", 1_000)];
    let split = policy.updated("s", arms, 3);
    split.write(dir.path(), "demo", "champion").unwrap();
    assert_eq!((read().unwrap(), &*alias()), (split, "b"));
    // A champion that is not there: the alias stays.
    policy.promoted("zz", 3).write(dir.path(), "demo", "champion").unwrap();
    TrafficV1::finish_move(dir.path(), "demo", "champion").unwrap();
    assert_eq!(alias(), "b");
    // A crash between file and alias, made good; and one after which somebody moved the alias.
    for (moved_to, expected) in [("b", "a"), ("c", "c")] {
        fs::create_dir_all(dir.path().join("demo/c")).unwrap();
        fs::write(dir.path().join("demo/c/manifest.json"), "{}").unwrap();
        set_alias(dir.path(), "demo", "champion", moved_to).unwrap();
        let next = policy.promoted("a", 4);
        let path = traffic_path(dir.path(), "demo", "champion");
        put(&path, &TrafficV1 { moving_from: Some("b".to_owned()), ..next.clone() }).unwrap();
        TrafficV1::finish_move(dir.path(), "demo", "champion").unwrap();
        assert_eq!((read().unwrap(), &*alias()), (next, expected));
    }
}

#[test]
fn a_damaged_or_newer_file_is_refused() {
    let dir = models(&["a"], "a");
    let path = traffic_path(dir.path(), "demo", "champion");
    TrafficV1::first("s", "a", 1).write(dir.path(), "demo", "champion").unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let newer = good.replace("\"format\": 1", "\"format\": 2, \"unheard\": 0");
    fs::write(&path, newer).unwrap();
    let refused = TrafficV1::read(dir.path(), "demo", "champion").unwrap_err();
    assert!(matches!(refused, BundleError::Newer { found: 2, known: 1, .. }), "{refused}");
    for bad in [
        "{".to_owned(),
        good.replace("\"format\": 1", "\"format\": 2"),
        good.replace("10000", "9999"),
        good.replace("\"champion\"", "\"other\""),
    ] {
        assert_ne!(bad, good);
        fs::write(&path, bad).unwrap();
        assert!(TrafficV1::read(dir.path(), "demo", "champion").is_err());
    }
}
