//! The decision log's line is what its row writes, byte by byte, whatever was decided.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::collections::BTreeMap;
use std::path::Path;

use tenure::bundle::{Bundle, BundleSelector};
use tenure::decision::{Arm, Campaign, Policy, Tier};
use tenure::domain::{AsOf, CustomerId, Day, Timestamp, Zone};
use tenure::events::{Log, LogSpec, ReadSpec, Rules};
use tenure::history::History;
use tenure::scoring::{
    Answer, AssignmentV1, DecisionRowV1, EligibleV1, Engine, RECORD_VERSION, append_decision_line,
    decision_id, decision_line, history_digest,
};

/// The row of an answer, field by field.
fn row(
    engine: &Engine,
    arm: &str,
    answer: &Answer<'_>,
    (digest, decided_at): (u128, i64),
) -> DecisionRowV1 {
    let (decision, policy) = (&answer.decision, answer.decision.policy);
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let channel = decision.channels.first().filter(|_| decision.campaign.is_some());
    DecisionRowV1 {
        v: RECORD_VERSION,
        decision_id: decision_id(engine, answer, digest),
        customer: answer.customer.as_str().to_owned(),
        decided_at,
        as_of: answer.as_of.instant().micros(),
        facts_as_of: answer.facts_as_of.map(Timestamp::micros),
        feature_schema: engine.bundle().manifest.feature_schema.clone(),
        model: engine.model_version().to_owned(),
        arm: owned(Some(arm).filter(|arm| !arm.is_empty())),
        policy: policy.id.clone(),
        policy_version: policy.version.clone(),
        policy_hash: engine.policy_hash().to_owned(),
        segment: decision.segment.as_str().to_owned(),
        tier: owned(decision.tier.map(Tier::as_str)),
        churn_probability: answer.score.churn_prob,
        clv_mean: answer.score.clv.as_ref().map(|clv| clv.mean),
        eligible: decision
            .eligible
            .iter()
            .map(|one| EligibleV1 {
                campaign: one.campaign.id().to_owned(),
                propensity: one.propensity,
            })
            .collect(),
        chosen: decision.campaign_id().to_owned(),
        chosen_propensity: decision.propensity,
        variant: owned(decision.variant),
        channel: owned(channel.map(|channel| channel.as_str())),
        offer: owned(decision.campaign.map(|_| decision.offer.kind.as_str())),
        expected_value: decision.expected_value,
        explored: decision.flags.explored,
        holdout: decision.is_held_out(),
        would_be: owned(decision.would_be_campaign.map(Campaign::id)),
        suppression: owned(decision.suppression.map(|stop| stop.reason.as_str())),
        assignments: decision
            .assignments
            .iter()
            .map(|one| AssignmentV1 {
                experiment: one.experiment.name(),
                arm: Arm::as_str(one.arm).to_owned(),
                variant: owned(one.variant),
                bucket: one.bucket,
                propensity: one.propensity,
            })
            .collect(),
    }
}

/// The default policy by expected value, with versions of every campaign, exploration and large
/// control groups, under a name that has to be escaped.
fn policy() -> Policy {
    let text = Policy::default_text().replace("#| ", "").replace("#|\n", "\n");
    let edits = [
        ("clv_basis = \"revenue\"", "clv_basis = \"margin\"\nmargin_share = 0.4"),
        ("\"EUR\"", "\"USD\""),
        ("mode = \"priority\"", "mode = \"expected_value\""),
        ("explore_share = 0.0", "explore_share = 0.3"),
        ("global_control_share   = 0.05", "global_control_share = 0.2"),
        ("campaign_control_share = 0.10", "campaign_control_share = 0.4"),
        ("[[campaign]]\n", "[[campaign]]\nvariants = [\"short\", \"long\"]\n"),
    ];
    let edited = edits.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    Policy::parse(&edited).unwrap()
}

fn histories(as_of: AsOf) -> Vec<History> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (read, rules) = (ReadSpec::default(), Rules::default());
    let events = vec![root.join("data/complete_journey.csv.gz")];
    let spec = LogSpec { events, profiles: None, read, rules, before: as_of };
    let log = Log::read(&spec, &mut |_| {}).unwrap();
    let fold = |customer: &tenure::events::CustomerLog| {
        let mut history = History::default();
        for event in &customer.events {
            history.apply(event);
        }
        history
    };
    log.customers.iter().take(500).map(fold).collect()
}

#[test]
fn the_line_of_the_decision_log_is_what_its_row_writes() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let bundle = || Bundle::find(&models, &BundleSelector::parse("demo").unwrap()).unwrap();
    let engines = [None, Some(policy())]
        .map(|policy| Engine::try_new(bundle(), policy, Some("a salt of this test")).unwrap());
    let as_of = AsOf::end_of(Day::parse("2017-11-30").unwrap(), &Zone::UTC);
    let later = AsOf::end_of(Day::parse("2018-02-14").unwrap(), &Zone::UTC);
    let mut histories = histories(as_of);
    histories.push(History::default());
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut lines, mut wanted) = (Vec::new(), String::new());
    for (idx, history) in histories.iter().enumerate() {
        let name = ["c", "Zoë \"z\" ", "back\\slash", "/", "'", "日本"][idx % 6];
        let customer = CustomerId::try_new(&format!("{name}{idx}")).unwrap();
        let digest = history_digest(&history.to_bytes());
        for (engine, arm, at) in [
            (&engines[0], "", as_of),
            (&engines[0], "champion", later),
            (&engines[1], "new \"arm\"", as_of),
            (&engines[1], "", later),
        ] {
            let mut answer = engine.answer(&customer, history, at, false).unwrap();
            if idx % 50 == 0 {
                answer.score.churn_prob = Some(f64::NAN);
                answer.decision.expected_value = Some(f64::NEG_INFINITY);
            }
            let now = Timestamp::from_micros(1_700_000_000_000_000 + idx as i64);
            let row = row(engine, arm, &answer, (digest, now.micros()));
            let row_line = serde_json::to_string(&row).unwrap() + "\n";
            let line = decision_line((engine, arm), &answer, digest, now);
            assert_eq!(String::from_utf8(line).unwrap(), row_line);
            append_decision_line(&mut lines, (engine, arm), &answer, (digest, now));
            wanted += &row_line;
            let mut note = |what, is_so: bool| *seen.entry(what).or_default() += usize::from(is_so);
            note("a campaign", answer.decision.campaign.is_some());
            note("several", row.eligible.len() > 1);
            note("held out", row.holdout);
            note("explored", row.explored);
            note("a version", row.variant.is_some());
            note("places", row.assignments.len() > 1);
            note("versions", row.assignments.iter().any(|one| one.variant.is_some()));
            note("suppressed", row.suppression.is_some());
            note("expected", row.expected_value.is_some());
            note("nothing known", row.facts_as_of.is_none());
        }
    }
    assert_eq!(String::from_utf8(lines).unwrap(), wanted);
    assert!(seen.values().all(|n| *n > 0), "never tried: {seen:?}");
}
