//! The whole path in the library: log -> bundle -> engine -> answers, and what damages it.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;
use tenure::bundle::{Bundle, BundleError, BundleSelector, aliases, set_alias};
use tenure::decision::Policy;
use tenure::domain::{AsOf, Currency, CustomerId, Day, Days, Zone};
use tenure::events::{Log, LogSpec, ReadSpec, Rules, Threshold};
use tenure::history::History;
use tenure::model::btyd::Prior;
use tenure::scoring::{Engine, ScoringError, self_test};
use tenure::train::{Extras, Promotion, TrainOutcome, TrainSpec, run};

const UNTIL: &str = "1997-09-30";
const SALT: &str = "a salt of this test";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

fn log_spec(until: &str) -> LogSpec {
    LogSpec {
        events: vec![data("cdnow_sample.csv.gz")],
        profiles: None,
        read: ReadSpec::default(),
        rules: Rules::default(),
        before: AsOf::end_of(day(until), &Zone::UTC),
    }
}

fn train_spec(name: &str) -> TrainSpec {
    TrainSpec {
        name: name.to_owned(),
        until: day(UNTIL),
        zone: Zone::UTC,
        churn: Days::try_new(91).unwrap(),
        value: Days::try_new(273).unwrap(),
        prior: Prior::default(),
        seed: 42,
        threads: 1,
        allow_small: false,
        assume_complete: false,
        covariates: Vec::new(),
        season_clock: false,
        currency: Currency::try_new("USD").unwrap(),
        policy: Policy::default_text().to_owned(),
        extras: Extras::default(),
    }
}

fn train(models: &Path, name: &str) -> TrainOutcome {
    let spec = train_spec(name);
    run(&spec, &log_spec(UNTIL), &Threshold::default(), models, &mut |_| {}).unwrap()
}

/// One trained folder for all tests that only read it.
static TRAINED: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let models = TempDir::new().unwrap();
    let folder = train(models.path(), "sample").folder;
    (models, folder)
});

/// A copy of the trained bundle, to be damaged.
fn copy() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join(TRAINED.1.file_name().unwrap());
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(&TRAINED.1).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    (dir, folder)
}

fn engine(policy: Option<&str>) -> Engine {
    let bundle = Bundle::load(&TRAINED.1).unwrap();
    Engine::try_new(bundle, policy.map(|text| Policy::parse(text).unwrap()), Some(SALT)).unwrap()
}

fn histories() -> Vec<(CustomerId, History)> {
    let log = Log::read(&log_spec(UNTIL), &mut |_| {}).unwrap();
    log.customers
        .into_iter()
        .map(|customer| {
            let mut history = History::default();
            for event in &customer.events {
                history.apply(event);
            }
            (customer.customer, history)
        })
        .collect()
}

fn as_of() -> AsOf {
    AsOf::end_of(day(UNTIL), &Zone::UTC)
}

#[test]
fn a_bundle_loads_and_passes_its_own_examples() {
    let bundle = Bundle::load(&TRAINED.1).unwrap();
    assert_eq!(bundle.examples().len(), 16);
    assert!(bundle.examples().iter().all(|example| example.churn_prob.is_some()));
    self_test(&bundle).unwrap();
    assert_eq!(TRAINED.1.file_name().unwrap().to_str().unwrap(), bundle.version);
    assert_eq!(bundle.version.len(), 12);
}

#[test]
fn b_2_the_same_log_settings_and_seed_give_the_same_version() {
    let models = TempDir::new().unwrap();
    let again = train(models.path(), "sample");
    assert_eq!(again.version, Bundle::load(&TRAINED.1).unwrap().version);
    let other = TrainSpec { seed: 43, ..train_spec("sample") };
    let log = log_spec(UNTIL);
    let other = run(&other, &log, &Threshold::default(), models.path(), &mut |_| {}).unwrap();
    assert_ne!(other.version, again.version);
}

#[test]
fn a_self_test_notices_one_changed_bit() {
    let mut bundle = Bundle::load(&TRAINED.1).unwrap();
    let tenure::bundle::BundleModels::Log { examples, .. } = &mut bundle.models else {
        panic!("a bundle of a log")
    };
    let prob = examples[3].churn_prob.unwrap();
    examples[3].churn_prob = Some(f64::from_bits(prob.to_bits() ^ 1));
    let error = self_test(&bundle).unwrap_err();
    assert!(matches!(error, ScoringError::SelfTest { row: 3, field: "churn_prob", .. }), "{error}");
}

#[test]
fn a_flipped_byte_in_any_file_is_named() {
    let names: Vec<String> = fs::read_dir(&TRAINED.1)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        let (_dir, folder) = copy();
        let path = folder.join(&name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x20;
        fs::write(&path, bytes).unwrap();
        let error = Bundle::load(&folder).unwrap_err();
        let manifest = name == "manifest.json";
        match error {
            BundleError::Digest { path, .. } if !manifest => assert!(path.ends_with(&name)),
            // A changed manifest is another version, or no manifest at all.
            BundleError::Version { .. } | BundleError::Json { .. } if manifest => {}
            BundleError::Missing { .. } | BundleError::BadName { .. } if manifest => {}
            other => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn an_incomplete_bundle_says_which_file_is_missing_or_cut() {
    let (_dir, folder) = copy();
    fs::remove_file(folder.join("models.json")).unwrap();
    let error = Bundle::load(&folder).unwrap_err().to_string();
    assert!(error.contains("models.json") && error.contains("missing"), "{error}");

    let (_dir, folder) = copy();
    let path = folder.join("forest_churn.json");
    let path = if path.is_file() { path } else { folder.join("models.json") };
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 3]).unwrap();
    assert!(matches!(Bundle::load(&folder).unwrap_err(), BundleError::Digest { .. }));

    let (_dir, folder) = copy();
    fs::remove_file(folder.join("manifest.json")).unwrap();
    assert!(matches!(Bundle::load(&folder).unwrap_err(), BundleError::Missing { .. }));
}

#[test]
fn a_newer_format_and_a_renamed_folder_are_refused() {
    let (_dir, folder) = copy();
    let path = folder.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 2");
    fs::write(&path, text).unwrap();
    assert!(matches!(Bundle::load(&folder).unwrap_err(), BundleError::Newer { found: 2, .. }));

    let (dir, folder) = copy();
    let renamed = dir.path().join("0123456789ab");
    fs::rename(folder, &renamed).unwrap();
    assert!(matches!(Bundle::load(&renamed).unwrap_err(), BundleError::Version { .. }));
}

#[test]
fn names_aliases_and_versions_are_found_or_listed() {
    let models = TRAINED.0.path();
    let find = |text: &str| Bundle::find(models, &BundleSelector::parse(text).unwrap());
    let version = find("sample").unwrap().version;
    assert_eq!(find("sample@champion").unwrap().version, version);
    assert_eq!(find(&format!("sample@{version}")).unwrap().version, version);
    let unknown = find("other").unwrap_err().to_string();
    assert!(unknown.contains("\"other\"") && unknown.contains("sample"), "{unknown}");
    let unknown = find("sample@canary").unwrap_err().to_string();
    assert!(unknown.contains("canary") && unknown.contains("@champion"), "{unknown}");
    for bad in ["../etc", "a/b", "", "sample@../x", ".hidden"] {
        assert!(matches!(BundleSelector::parse(bad), Err(BundleError::BadName { .. })), "{bad}");
    }
}

#[test]
fn a_second_bundle_is_compared_with_the_champion() {
    let models = TempDir::new().unwrap();
    let first = train(models.path(), "gate");
    assert!(first.promoted, "{}", first.promotion_reason);
    let again = train(models.path(), "gate");
    assert!(again.promoted && again.version == first.version);

    let spec = TrainSpec { seed: 7, ..train_spec("gate") };
    let log = log_spec(UNTIL);
    let second = run(&spec, &log, &Threshold::default(), models.path(), &mut |_| {}).unwrap();
    assert!(second.promotion_reason.contains("log loss"), "{}", second.promotion_reason);
    assert!(second.promotion_reason.contains("value Gini"), "{}", second.promotion_reason);
    assert_eq!(second.comparison["champion"], first.version);
    for side in ["new", "held"] {
        let numbers = &second.comparison[side];
        assert!(numbers["gini"].as_f64().unwrap() > 0.3, "{numbers}");
        assert!(numbers["total_ratio"].as_f64().unwrap() > 0.0, "{numbers}");
    }

    let other = TrainSpec { churn: Days::try_new(60).unwrap(), ..train_spec("gate") };
    let other = run(&other, &log, &Threshold::default(), models.path(), &mut |_| {}).unwrap();
    assert!(!other.promoted && other.promotion_reason.contains("another churn horizon"));
    let held = aliases(models.path(), "gate").unwrap();
    assert_eq!(held["challenger"], other.version);
    assert_ne!(held["champion"], other.version);
    set_alias(models.path(), "gate", "champion", &other.version).unwrap();
    assert!(set_alias(models.path(), "gate", "champion", "000000000000").is_err());
}

#[test]
fn every_answer_is_sound_and_the_same_twice() {
    let engine = engine(None);
    let mut campaigns = std::collections::BTreeSet::new();
    let mut red = 0;
    let customers = histories();
    for (customer, history) in &customers {
        let answer = engine.answer(customer, history, as_of(), false).unwrap();
        let again = engine.answer(customer, history, as_of(), false).unwrap();
        assert_eq!((&answer.score, &answer.decision), (&again.score, &again.decision));
        let prob = answer.score.churn_prob.unwrap();
        assert!((0.0..=1.0).contains(&prob), "D-1");
        let clv = answer.score.clv.as_ref().unwrap();
        assert!(
            clv.mean.is_finite() && clv.mean >= 0.0 && clv.p10 <= clv.p50 && clv.p50 <= clv.p90
        );
        assert!(clv.extrapolated, "273 days were never observed in full");
        let decision = &answer.decision;
        assert!(decision.campaign.is_some() != decision.suppression.is_some());
        assert!(decision.campaign.is_none() || !decision.channels.is_empty());
        assert!(!decision.is_held_out() || decision.campaign.is_none(), "D-2");
        campaigns.insert(decision.campaign_id().to_owned());
        red += usize::from(decision.model_tier == Some(tenure::decision::Tier::Red));
    }
    // G-1: many at once get the same bits, and one who cannot be answered stops nobody else.
    let many: Vec<_> = customers.iter().map(|(customer, history)| (customer, history)).collect();
    let together = engine.answer_many(&many, as_of(), false);
    assert_eq!(together.len(), customers.len());
    for ((customer, history), answer) in customers.iter().zip(&together) {
        let (alone, answer) =
            (engine.answer(customer, history, as_of(), false).unwrap(), answer.as_ref().unwrap());
        assert_eq!(&alone.customer, &answer.customer);
        assert_eq!(alone.score, answer.score);
        // A heartbeat without data holds NaN, which equals nothing.
        assert_eq!(format!("{:?}", alone.facts), format!("{:?}", answer.facts));
        assert_eq!(alone.decision, answer.decision);
    }
    let early = AsOf::end_of(day("1997-06-30"), &Zone::UTC);
    for ((customer, history), answer) in
        customers.iter().zip(engine.answer_many(&many, early, true))
    {
        match (engine.answer(customer, history, early, true), answer) {
            (Ok(alone), Ok(answer)) => assert_eq!(alone.decision, answer.decision),
            (Err(ScoringError::AsOfTooEarly { .. }), Err(ScoringError::AsOfTooEarly { .. })) => {}
            (alone, answer) => panic!("{customer}: {alone:?} {answer:?}"),
        }
    }
    assert!(campaigns.len() >= 5, "{campaigns:?}");
    assert!(red > 0 && red < customers.len() / 4, "{red} of {}", customers.len());
}

#[test]
fn f_1_a_history_past_the_instant_is_refused_and_earlier_ones_do_not_see_it() {
    let engine = engine(None);
    let (customer, history) = histories().into_iter().find(|(_, h)| h.totals().orders > 3).unwrap();
    let early = AsOf::end_of(day("1997-01-01"), &Zone::UTC);
    let error = engine.answer(&customer, &history, early, false).unwrap_err();
    assert!(matches!(error, ScoringError::AsOfTooEarly { .. }), "{error}");
}

#[test]
fn another_policy_changes_decisions_and_no_score() {
    let share = "global_control_share   = 0.05";
    assert!(Policy::default_text().contains(share), "the policy has the line");
    let loud = Policy::default_text().replace(share, "global_control_share = 1.0");
    let (plain, held) = (engine(None), engine(Some(&loud)));
    for (customer, history) in histories().iter().take(300) {
        let a = plain.answer(customer, history, as_of(), false).unwrap();
        let b = held.answer(customer, history, as_of(), false).unwrap();
        assert_eq!(a.score, b.score);
        assert!(b.decision.campaign.is_none(), "everybody is in the control group");
    }
}

#[test]
fn a_customer_of_whom_nothing_is_known_has_no_probability_and_no_campaign_for_buyers() {
    let engine = engine(None);
    let customer = CustomerId::try_new("nobody").unwrap();
    let answer = engine.answer(&customer, &History::default(), as_of(), false).unwrap();
    assert!(answer.score.churn_prob.is_none() && answer.score.clv.is_none());
    assert_eq!(answer.decision.segment, tenure::decision::Segment::Unknown);
    assert!(answer.decision.campaign.is_none() && answer.decision.suppression.is_some());
}

/// Trains on a log of (customer, day of 2026, amount) rows.
fn train_small(rows: &[(usize, u16, f64)], until: &str, churn: i64) -> (TempDir, TrainOutcome) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("log.csv");
    let first = day("2026-01-01");
    let mut text = "customer_id,date,amount\n".to_owned();
    for (customer, at, amount) in rows {
        text.push_str(&format!("c{customer},{},{amount}\n", first.plus(i32::from(*at))));
    }
    fs::write(&file, text).unwrap();
    let before = AsOf::end_of(day(until), &Zone::UTC);
    let log = LogSpec { events: vec![file], before, ..log_spec(UNTIL) };
    let spec = TrainSpec {
        until: day(until),
        churn: Days::try_new(churn).unwrap(),
        value: Days::try_new(180).unwrap(),
        // The rows end where they end: nobody buys every day.
        assume_complete: true,
        covariates: Vec::new(),
        season_clock: false,
        ..train_spec("small")
    };
    let outcome = run(&spec, &log, &Threshold::default(), dir.path(), &mut |_| {}).unwrap();
    (dir, outcome)
}

fn answers_are_finite(folder: &Path, until: &str) {
    let engine = Engine::try_new(Bundle::load(folder).unwrap(), None, Some(SALT)).unwrap();
    let as_of = AsOf::end_of(day(until), &Zone::UTC);
    for example in engine.bundle().examples() {
        let history = History::from_bytes(&example.history_bytes().unwrap()).unwrap();
        let customer = CustomerId::try_new("c").unwrap();
        let answer = engine.answer(&customer, &history, as_of, false).unwrap();
        let prob = answer.score.churn_prob.unwrap();
        assert!((0.0..=1.0).contains(&prob));
        assert!(answer.score.clv.is_none_or(|clv| clv.mean.is_finite() && clv.mean >= 0.0));
    }
}

#[test]
fn a_log_where_everybody_buys_once_gets_grade_d_and_an_answer() {
    let rows: Vec<(usize, u16, f64)> = (0..800_usize)
        .map(|n| (n, u16::try_from(n % 60).unwrap(), 10.0 + n as f64 / 100.0))
        .collect();
    let (_dir, outcome) = train_small(&rows, "2026-03-01", 20);
    assert_eq!(outcome.grade.letter, "D", "{}", outcome.grade.reason);
    assert!(outcome.grade.reason.contains("customers who stayed"), "{}", outcome.grade.reason);
    answers_are_finite(&outcome.folder, "2026-03-01");
}

#[test]
fn a_log_shorter_than_one_window_gets_grade_d_and_an_answer() {
    let rows: Vec<(usize, u16, f64)> =
        (0..900_usize).map(|n| (n / 2, u16::try_from((n * 7) % 40).unwrap(), 20.0)).collect();
    let (_dir, outcome) = train_small(&rows, "2026-02-09", 90);
    assert_eq!(outcome.grade.letter, "D");
    assert!(outcome.grade.reason.contains("days of history"), "{}", outcome.grade.reason);
    answers_are_finite(&outcome.folder, "2026-02-09");
}

#[test]
fn a_log_of_one_customer_and_free_orders_gets_an_answer() {
    let (_dir, outcome) = train_small(&[(1, 0, 0.0), (1, 9, 0.0)], "2026-01-10", 5);
    assert_eq!(outcome.grade.letter, "D");
    answers_are_finite(&outcome.folder, "2026-01-10");
}

#[test]
fn a_damaged_bundle_is_made_again_by_the_same_training() {
    let models = TempDir::new().unwrap();
    let first = train(models.path(), "again");
    fs::write(first.folder.join("models.json"), "{}").unwrap();
    assert!(Bundle::load(&first.folder).is_err());
    let second = train(models.path(), "again");
    assert_eq!(second.version, first.version);
    Bundle::load(&second.folder).unwrap();
    fs::remove_file(first.folder.join("manifest.json")).unwrap();
    train(models.path(), "again");
    Bundle::load(&first.folder).unwrap();
}

#[test]
fn a_message_to_a_customer_does_not_make_them_unlike_all_others() {
    use tenure::events::{Event, RawEvent, RawValue};

    // Nobody in the training log was ever contacted.
    let engine = engine(None);
    let raw = RawEvent {
        customer: "c".into(),
        event_type: Some("contact".into()),
        time: RawValue::text("1997-09-01"),
        attributes: vec![
            ("campaign".into(), RawValue::text("spring")),
            ("channel".into(), RawValue::text("email")),
            ("stage".into(), RawValue::text("delivered")),
        ],
        ..RawEvent::default()
    };
    let contact = Event::try_from_raw(&raw, &Rules::default()).unwrap();
    let (customer, mut history) = histories().swap_remove(7);
    history.apply(&contact);
    let answer = engine.answer(&customer, &history, as_of(), false).unwrap();
    assert!(!answer.score.out_of_distribution);
}

#[test]
fn a_worse_grade_does_not_replace_the_champion() {
    let models = TempDir::new().unwrap();
    assert!(train(models.path(), "gate").promoted);
    // Too short to judge anything: grade D.
    let until = "1997-03-31";
    let spec = TrainSpec { until: day(until), ..train_spec("gate") };
    let log = log_spec(until);
    let poor = run(&spec, &log, &Threshold::default(), models.path(), &mut |_| {}).unwrap();
    assert_eq!(poor.grade.letter, "D");
    assert!(
        !poor.promoted && poor.promotion_reason.contains("grade D"),
        "{}",
        poor.promotion_reason
    );
    // Told to, it does; and the reason says what was against it.
    let extras = Extras { promotion: Promotion::Always, ..Extras::default() };
    let told = TrainSpec { extras, ..spec };
    let told = run(&told, &log, &Threshold::default(), models.path(), &mut |_| {}).unwrap();
    assert!(told.promoted, "{}", told.promotion_reason);
    assert_eq!(told.version, poor.version);
    assert!(
        told.promotion_reason.contains("(--promote always), although"),
        "{}",
        told.promotion_reason
    );
    assert_eq!(aliases(models.path(), "gate").unwrap()["champion"], poor.version);
}
