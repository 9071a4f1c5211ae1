//! Versions beside the one that serves, the split of customers, shadows, and the way back, over a
//! real socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::path::Path;

use tenure::bundle::{CHAMPION, aliases, set_alias};
use tenure::decision::{Policy, unit_interval};
use tenure::scoring::DecisionRowV1;
use tenure::serve::pb;
use tenure::serve::pb::model_selector::Choice;
use tenure::serve::pb::score_outcome::Outcome;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::serve_client::{Clients, purchase, subject, three_customers, told};
use crate::serve_fixture::{Running, config, write_bundle_with_policy, write_shifted_bundle};
use crate::serve_reload::{get, sample, until, with_admin};

/// Files are taken in by calls alone, so that nothing happens between two steps of a test.
const STILL: (&str, &str) = ("reload_seconds", "0");
const TRAFFIC: &str = "models/demo/trafficPolicy";

pub(crate) fn name(version: &str) -> String {
    format!("models/demo/versions/{version}")
}

/// One more version, which nothing names: the same models with another policy.
pub(crate) fn another(models: &Path, policy: &str) -> String {
    let champion = aliases(models, "demo").unwrap().remove(CHAMPION).unwrap();
    let named = format!("policy_version = \"{policy}-");
    let text = Policy::default_text()
        .replacen("policy_version = \"", &named, 1)
        // It means something else, too.
        .replacen("after_order_days = 3", "after_order_days = 4", 1);
    let version = write_bundle_with_policy(models, &text);
    set_alias(models, "demo", CHAMPION, &champion).unwrap();
    assert_ne!(version, champion);
    version
}

pub(crate) fn arm(arm: &str, version: &str, weight: u32) -> pb::TrafficArm {
    pb::TrafficArm { arm: arm.to_owned(), model_version: name(version), weight, shadow: false }
}

pub(crate) fn shadow(name: &str, version: &str, weight: u32) -> pb::TrafficArm {
    pb::TrafficArm { shadow: true, ..arm(name, version, weight) }
}

impl Clients {
    pub(crate) async fn load(&mut self, version: &str) -> Result<pb::ModelVersion, Status> {
        let request = pb::LoadModelVersionRequest { name: name(version), validate_only: false };
        let answer = self.models.load_model_version(request).await?.into_inner();
        Ok(answer.model_version.unwrap())
    }

    async fn unload(&mut self, version: &str) -> Result<(), Status> {
        let request = pb::UnloadModelVersionRequest { name: name(version) };
        self.models.unload_model_version(request).await.map(|_| ())
    }

    pub(crate) async fn traffic(&mut self) -> pb::GetTrafficPolicyResponse {
        let request = pb::GetTrafficPolicyRequest { name: TRAFFIC.to_owned() };
        self.models.get_traffic_policy(request).await.unwrap().into_inner()
    }

    async fn policy(&mut self) -> pb::TrafficPolicy {
        self.traffic().await.traffic_policy.unwrap()
    }

    /// Sets arms with the etag in force.
    pub(crate) async fn set_arms(
        &mut self,
        arms: Vec<pb::TrafficArm>,
    ) -> Result<pb::TrafficPolicy, Status> {
        let policy = pb::TrafficPolicy { arms, ..self.policy().await };
        self.set(policy, false).await
    }

    async fn set(
        &mut self,
        policy: pb::TrafficPolicy,
        validate_only: bool,
    ) -> Result<pb::TrafficPolicy, Status> {
        let request =
            pb::UpdateTrafficPolicyRequest { traffic_policy: Some(policy), validate_only };
        let answer = self.models.update_traffic_policy(request).await?.into_inner();
        Ok(answer.traffic_policy.unwrap())
    }

    pub(crate) async fn roll_back(
        &mut self,
        revision: u64,
        etag: &str,
    ) -> Result<pb::TrafficPolicy, Status> {
        let (name, etag) = (TRAFFIC.to_owned(), etag.to_owned());
        let request = pb::RollBackTrafficPolicyRequest { name, revision, etag };
        let answer = self.models.roll_back_traffic_policy(request).await?.into_inner();
        Ok(answer.traffic_policy.unwrap())
    }

    async fn versions(&mut self) -> BTreeMap<String, pb::ModelVersion> {
        let request =
            pb::ListModelVersionsRequest { parent: "models/demo".to_owned(), ..Default::default() };
        let listed = self.models.list_model_versions(request).await.unwrap().into_inner();
        listed.model_versions.into_iter().map(|one| (one.name.clone(), one)).collect()
    }

    async fn state(&mut self, version: &str) -> pb::ModelState {
        self.versions().await[&name(version)].state()
    }

    async fn named(&mut self, choice: Choice) -> Result<pb::Score, Status> {
        let request = pb::ScoreCustomerRequest {
            subject: Some(subject("regular")),
            model: Some(pb::ModelSelector { choice: Some(choice) }),
            ..Default::default()
        };
        Ok(self.scoring.score_customer(request).await?.into_inner().score.unwrap())
    }
}

/// The check that a refusal names.
fn failed_check(status: &Status) -> String {
    status.get_details_precondition_failure().unwrap().violations[0].r#type.clone()
}

fn refusal(status: &Status) -> (Code, String) {
    let (code, reason, _) = told(status);
    (code, reason)
}

/// Customers of whom one purchase comes with the request.
fn strangers(n: usize) -> Vec<pb::ScoreSubject> {
    (0..n)
        .map(|n| pb::ScoreSubject {
            events: vec![purchase("p", "", i64::try_from(n % 50).unwrap() + 1, 20.0)],
            inline_only: true,
            ..subject(&format!("customer-{n}"))
        })
        .collect()
}

fn scores(outcomes: Vec<Outcome>) -> Vec<pb::Score> {
    let score = |outcome| match outcome {
        Outcome::Score(score) => score,
        Outcome::Error(error) => panic!("{error:?}"),
    };
    outcomes.into_iter().map(score).collect()
}

/// All lines of a decision log.
fn logged(log: &Path) -> Vec<DecisionRowV1> {
    let files = std::fs::read_dir(log).unwrap().map(|file| file.unwrap().path());
    let text: String = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_loaded_beside_the_champion_named_and_let_go() {
    let server = Running::start(&[STILL]).await;
    let other = another(&server.config.models, "other");
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let by_name = Choice::Version(name(&other));
    let refused = clients.named(by_name.clone()).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::NotFound, "MODEL_NOT_SERVED".to_owned()));
    assert_eq!(clients.state(&server.version).await, pb::ModelState::Serving);
    assert_eq!(clients.state(&other).await, pb::ModelState::Available);
    let only_check = pb::LoadModelVersionRequest { name: name(&other), validate_only: true };
    clients.models.load_model_version(only_check).await.unwrap();
    assert_eq!(clients.state(&other).await, pb::ModelState::Available);
    let loaded = clients.load(&other).await.unwrap();
    assert_eq!(loaded, clients.load(&other).await.unwrap(), "loading twice is loading once");
    assert_eq!((loaded.state(), loaded.arms.len()), (pb::ModelState::Loaded, 0));
    let request = pb::GetModelVersionRequest { name: name(&other) };
    let got = clients.models.get_model_version(request).await.unwrap().into_inner();
    assert_eq!(got.model_version.as_ref(), Some(&loaded));
    assert_eq!(got.model_card, "# Model card\n");
    assert!(got.features.iter().any(|feature| feature == "orders"), "{:?}", got.features);

    // The one that is named answers by its own policy, the champion whoever names none.
    let named = clients.named(by_name.clone()).await.unwrap().provenance.unwrap();
    let policy = loaded.policy.clone().unwrap();
    assert_eq!((&named.model_version, &*named.arm), (&name(&other), ""));
    assert_eq!((&named.policy_hash, &named.policy_version), (&policy.hash, &policy.version));
    assert!(named.policy_version.starts_with("other-"));
    let plain = clients.score(subject("regular")).await.unwrap().provenance.unwrap();
    assert_eq!((&plain.model_version, &*plain.arm), (&name(&server.version), "champion"));
    assert_ne!(plain.policy_hash, named.policy_hash);

    let used = clients.unload(&server.version).await.unwrap_err();
    assert_eq!(refusal(&used), (Code::FailedPrecondition, "MODEL_VERSION_IN_USE".to_owned()));
    clients.unload(&other).await.unwrap();
    let again = clients.unload(&other).await.unwrap_err();
    assert_eq!(refusal(&again).1, "MODEL_VERSION_NOT_LOADED");
    assert_eq!(clients.named(by_name).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(clients.state(&other).await, pb::ModelState::Available);
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sound_is_refused_by_the_check_that_it_failed() {
    let server = Running::start(&[STILL, ("models_loaded_max", "2")]).await;
    let models = server.config.models.clone();
    let (broken, first, second) =
        (another(&models, "broken"), another(&models, "first"), another(&models, "second"));
    let file = models.join("demo").join(&broken).join("cuts.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen('1', "2", 1)).unwrap();
    let mut clients = Clients::new(&server).await;
    let refused = clients.load(&broken).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::FailedPrecondition, "MODEL_VERSION_REFUSED".to_owned()));
    assert_eq!(failed_check(&refused), "DIGEST");
    let listed = clients.versions().await.remove(&name(&broken)).unwrap();
    assert_eq!(listed.state(), pb::ModelState::Failed);
    assert!(listed.state_message.contains("DIGEST"), "{}", listed.state_message);
    // Mended, it is one like any other.
    std::fs::write(&file, text).unwrap();
    clients.load(&broken).await.unwrap();
    assert_eq!(clients.state(&broken).await, pb::ModelState::Loaded);
    clients.unload(&broken).await.unwrap();

    for (wrong, code) in [
        ("models/demo/versions/0123456789ab", Code::NotFound),
        ("models/demo/versions/champion", Code::NotFound),
        ("models/other/versions/0123456789ab", Code::InvalidArgument),
        ("models/demo/versions/../x", Code::InvalidArgument),
        ("demo", Code::InvalidArgument),
        ("", Code::InvalidArgument),
    ] {
        let request = pb::LoadModelVersionRequest { name: wrong.to_owned(), ..Default::default() };
        let refused = clients.models.load_model_version(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{wrong:?} {refused}");
        let request = pb::UnloadModelVersionRequest { name: wrong.to_owned() };
        assert!(clients.models.unload_model_version(request).await.is_err(), "{wrong:?}");
    }
    clients.load(&first).await.unwrap();
    let full = clients.load(&second).await.unwrap_err();
    assert_eq!(refusal(&full), (Code::ResourceExhausted, "MODELS_LOADED_MAX".to_owned()));
    clients.unload(&first).await.unwrap();
    clients.load(&second).await.unwrap();
    // Pages, and a model that is not there.
    let mut page = pb::ListModelVersionsRequest {
        parent: "models/demo".to_owned(),
        page_size: 3,
        ..Default::default()
    };
    let listed = clients.models.list_model_versions(page.clone()).await.unwrap().into_inner();
    assert_eq!(listed.model_versions.len(), 3);
    page.page_token = listed.next_page_token;
    let rest = clients.models.list_model_versions(page).await.unwrap().into_inner();
    assert_eq!((rest.model_versions.len(), &*rest.next_page_token), (1, ""));
    let nowhere =
        pb::ListModelVersionsRequest { parent: "models/nowhere".to_owned(), ..Default::default() };
    let refused = clients.models.list_model_versions(nowhere).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::NotFound, "MODEL_VERSION_UNKNOWN".to_owned()));
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_are_split_by_a_hash_that_anybody_can_work_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("decisions");
    let server = Running::start(&[STILL, ("decision_log", log.to_str().unwrap())]).await;
    let other = another(&server.config.models, "other");
    let mut clients = Clients::new(&server).await;
    clients.load(&other).await.unwrap();
    let arms = vec![arm("champion", &server.version, 7_000), arm("canary", &other, 3_000)];
    let policy = clients.set_arms(arms).await.unwrap();
    assert_eq!((policy.revision, policy.cause()), (2, pb::TrafficCause::Update));
    let rows = strangers(500);
    let salt = format!("traffic/{}", policy.salt);
    let belongs = |customer: &str, share: f64| unit_interval(&salt, customer) < share;
    let mut n_canary = 0;
    for score in scores(clients.batch(rows.clone()).await.unwrap()) {
        let of = score.provenance.unwrap();
        let expected = if belongs(&score.customer, 0.3) {
            n_canary += 1;
            ("canary", name(&other))
        } else {
            ("champion", name(&server.version))
        };
        assert_eq!((&*of.arm, of.model_version), expected);
        assert_eq!(of.policy_version.starts_with("other-"), of.arm == "canary");
    }
    assert!((100..200).contains(&n_canary), "{n_canary} of 500 at 30 %");
    // One by one and as a stream it is the same arm, and growing keeps those who are in it.
    let arms = vec![arm("champion", &server.version, 5_000), arm("canary", &other, 5_000)];
    clients.set_arms(arms).await.unwrap();
    let requests: Vec<_> = rows[..60]
        .iter()
        .map(|row| pb::ScoreStreamRequest { subject: Some(row.clone()), ..Default::default() })
        .collect();
    let requests = tokio_stream::iter(requests);
    let mut answers = clients.scoring.score_stream(requests).await.unwrap().into_inner();
    for row in &rows[..60] {
        let one = clients.score(row.clone()).await.unwrap();
        let streamed = answers.message().await.unwrap().unwrap().outcome.unwrap();
        let Some(Outcome::Score(streamed)) = streamed.outcome else { panic!("{streamed:?}") };
        assert_eq!(one, streamed);
        let of = one.provenance.unwrap();
        assert_eq!(of.arm == "canary", belongs(&row.customer, 0.5));
    }
    // The log says who decided in which arm.
    assert!(server.stop().await.complete);
    let rows = logged(&log);
    for row in &rows {
        let of_canary = row.arm.as_deref() == Some("canary");
        assert_eq!(row.model == name(&other), of_canary, "{row:?}");
        assert_eq!(row.policy_version.starts_with("other-"), of_canary);
    }
    assert_eq!(rows.len(), 500 + 60 + 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_changed_by_whoever_has_seen_it_and_is_taken_back_in_one_call() {
    let mut server = Running::start(&[STILL]).await;
    let models = server.config.models.clone();
    let (first, second) = (server.version.clone(), another(&models, "second"));
    let mut clients = Clients::new(&server).await;
    let champion = || aliases(&models, "demo").unwrap().remove(CHAMPION).unwrap();
    let start = clients.policy().await;
    assert_eq!((start.revision, start.cause()), (1, pb::TrafficCause::Start));
    assert_eq!(start.arms, [arm("champion", &first, 10_000)]);
    // Nothing loaded, nothing seen, nothing that adds up.
    let canary = vec![arm("champion", &first, 9_000), arm("canary", &second, 1_000)];
    let refused = clients.set_arms(canary.clone()).await.unwrap_err();
    assert_eq!(refusal(&refused).1, "MODEL_VERSION_NOT_LOADED");
    clients.load(&second).await.unwrap();
    let unseen = pb::TrafficPolicy { etag: "0".to_owned(), arms: canary.clone(), ..start.clone() };
    let refused = clients.set(unseen, false).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Aborted, "ETAG_MISMATCH".to_owned()));
    assert_eq!(refused.get_details_error_info().unwrap().metadata["etag"], start.etag);
    let wrong = pb::TrafficPolicy {
        arms: vec![arm("champion", &first, 9_000), arm("Canary", &second, 20_000)],
        ..start.clone()
    };
    let (code, _, fields) = told(&clients.set(wrong, false).await.unwrap_err());
    let expected =
        ["traffic_policy.arms[1].arm", "traffic_policy.arms[1].weight", "traffic_policy.arms"];
    assert_eq!((code, &*fields), (Code::InvalidArgument, &expected.map(str::to_owned)[..]));
    let (_, _, fields) = told(&clients.set(pb::TrafficPolicy::default(), false).await.unwrap_err());
    assert_eq!(fields, ["traffic_policy.name", "traffic_policy.etag"]);
    let policy = pb::TrafficPolicy { arms: canary.clone(), ..start.clone() };
    let only_check = clients.set(policy.clone(), true).await.unwrap();
    assert_eq!((only_check.revision, clients.policy().await.revision), (2, 1));

    let split = clients.set(policy.clone(), false).await.unwrap();
    let again = clients.set(policy, false).await.unwrap_err();
    assert_eq!(again.code(), Code::Aborted, "what was seen is no longer in force");
    assert_eq!(champion(), first);
    let used = clients.unload(&second).await.unwrap_err();
    assert_eq!(refusal(&used).1, "MODEL_VERSION_IN_USE");
    // Another champion: the alias moves with it, and back again.
    let won = clients.set_arms(vec![arm("champion", &second, 10_000)]).await.unwrap();
    assert_eq!((champion(), won.revision), (second.clone(), 3));
    let asked = Choice::Alias("models/demo/aliases/champion".to_owned());
    clients.ingest(three_customers()).await.unwrap();
    let of = clients.named(asked).await.unwrap().provenance.unwrap();
    assert_eq!(of.model_version, name(&second));
    let back = clients.roll_back(0, &won.etag).await.unwrap();
    assert_eq!((back.revision, back.of_revision, &back.arms), (4, 2, &split.arms));
    assert_eq!((back.cause(), champion()), (pb::TrafficCause::RollBack, first.clone()));
    let retried = clients.roll_back(0, &won.etag).await.unwrap_err();
    assert_eq!(retried.code(), Code::Aborted, "a retry goes back once");

    // A restart serves the same.
    assert!(ended(&mut server).await);
    let mut server = Running::start_with(server.config.clone()).await;
    let mut clients = Clients::new(&server).await;
    assert_eq!(clients.policy().await, back);
    assert_eq!(clients.state(&second).await, pb::ModelState::Serving);
    let earlier = clients.traffic().await.earlier_policies;
    assert_eq!(earlier.iter().map(|old| old.revision).collect::<Vec<_>>(), [3, 2, 1]);
    let forward = clients.roll_back(3, "").await.unwrap();
    assert_eq!((forward.revision, champion()), (5, second.clone()));
    for (revision, etag) in [(77, ""), (0, "0")] {
        assert!(clients.roll_back(revision, etag).await.is_err());
    }
    // An arm whose files are gone is the champion's at the next start.
    clients.roll_back(2, "").await.unwrap();
    assert!(ended(&mut server).await);
    std::fs::remove_dir_all(models.join("demo").join(&second)).unwrap();
    let server = Running::start_with(server.config.clone()).await;
    let left = Clients::new(&server).await.policy().await;
    assert_eq!((left.arms, left.revision), (vec![arm("champion", &first, 10_000)], 7));
    assert!(server.stop().await.complete);
}

async fn ended(server: &mut Running) -> bool {
    server.tell();
    server.ended().await.complete
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_the_alias_moves_the_champion_and_leaves_the_other_arms() {
    let server = Running::start(&[("reload_seconds", "1")]).await;
    let models = server.config.models.clone();
    let first = server.version.clone();
    let (second, third) = (another(&models, "second"), another(&models, "third"));
    let mut clients = Clients::new(&server).await;
    clients.load(&second).await.unwrap();
    let arms = vec![arm("champion", &first, 9_000), arm("canary", &second, 1_000)];
    let split = clients.set_arms(arms).await.unwrap();
    set_alias(&models, "demo", CHAMPION, &third).unwrap();
    until("the champion", async || clients.policy().await.arms[0].model_version == name(&third))
        .await;
    let moved = clients.policy().await;
    assert_eq!(moved.cause(), pb::TrafficCause::Alias);
    assert_eq!(moved.arms[1], split.arms[1]);
    // One call takes a promotion back, too; the one that was promoted waits to be promoted again.
    let back = clients.roll_back(0, "").await.unwrap();
    assert_eq!(back.arms, split.arms);
    assert_eq!(aliases(&models, "demo").unwrap()[CHAMPION], first);
    // A version that wins has all customers.
    set_alias(&models, "demo", CHAMPION, &second).unwrap();
    until("the end", async || clients.policy().await.arms.len() == 1).await;
    assert_eq!(clients.policy().await.arms, [arm("champion", &second, 10_000)]);
    // An alias of a version that is not sound does not keep anybody from putting things right.
    let broken = another(&models, "broken");
    std::fs::remove_file(models.join("demo").join(&broken).join("cuts.json")).unwrap();
    set_alias(&models, "demo", CHAMPION, &broken).unwrap();
    let back = clients.roll_back(0, "").await.unwrap();
    assert_eq!(back.arms, split.arms);
    assert_eq!(aliases(&models, "demo").unwrap()[CHAMPION], first);
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_on_the_same_models_follow_each_other() {
    let one = Running::start(&[("reload_seconds", "1")]).await;
    let dir = tempfile::tempdir().unwrap();
    let models = one.config.models.to_str().unwrap();
    let two = config(dir.path(), &[("models", models), ("reload_seconds", "1")]);
    let two = Running::start_with(two).await;
    let second = another(&one.config.models, "second");
    let (mut of_one, mut of_two) = (Clients::new(&one).await, Clients::new(&two).await);
    of_one.load(&second).await.unwrap();
    let arms = vec![arm("champion", &one.version, 9_000), arm("canary", &second, 1_000)];
    let set = of_one.set_arms(arms).await.unwrap();
    until("the other server", async || of_two.policy().await == set).await;
    // Whoever has not looked yet is told at once, and not only at the next look.
    let won = of_two.set_arms(vec![arm("champion", &second, 10_000)]).await.unwrap();
    let stale = of_one.roll_back(0, &set.etag).await.unwrap_err();
    assert_eq!(refusal(&stale), (Code::Aborted, "ETAG_MISMATCH".to_owned()));
    assert_eq!(of_one.policy().await, won);
    let back = of_one.roll_back(0, &won.etag).await.unwrap();
    until("the other server", async || of_two.policy().await == back).await;
    assert!(one.stop().await.complete && two.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_one_version_has_no_traffic_to_change() {
    let server = Running::start(&[STILL]).await;
    let dir = tempfile::tempdir().unwrap();
    let (models, pinned) =
        (server.config.models.to_str().unwrap(), format!("demo@{}", server.version));
    let pinned = config(dir.path(), &[("models", models), ("name", &pinned)]);
    let pinned = Running::start_with(pinned).await;
    let mut clients = Clients::new(&pinned).await;
    let arms = vec![arm("champion", &server.version, 10_000)];
    for refused in [clients.set_arms(arms).await, clients.roll_back(0, "").await] {
        let expected = (Code::FailedPrecondition, "VERSION_PINNED".to_owned());
        assert_eq!(refusal(&refused.unwrap_err()), expected);
    }
    assert!(pinned.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_compared_and_leaves_no_trace_in_what_was_decided() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("decisions");
    let settings = [STILL, ("decision_log", log.to_str().unwrap())];
    let (server, admin) = with_admin(&settings, |parts| parts).await;
    let dark = write_shifted_bundle(&server.config.models, 0.5);
    set_alias(&server.config.models, "demo", CHAMPION, &server.version).unwrap();
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    clients.load(&dark).await.unwrap();
    let arms = vec![arm("champion", &server.version, 10_000), shadow("dark", &dark, 10_000)];
    clients.set_arms(arms).await.unwrap();
    let rows = [strangers(200), ["regular", "once", "visitor"].map(subject).to_vec()].concat();
    let served = scores(clients.batch(rows.clone()).await.unwrap());
    assert!(served.iter().all(|one| one.provenance.as_ref().unwrap().arm == "champion"));
    let n_rows = u64::try_from(rows.len()).unwrap();
    until("the shadow", async || {
        let found = clients.traffic().await.shadow_agreements;
        found[0].compared_count + found[0].dropped_count == n_rows
    })
    .await;
    let found = clients.traffic().await.shadow_agreements.remove(0);
    assert_eq!((found.compared_count, found.failed_count, found.dropped_count), (n_rows, 0, 0));
    assert_eq!((found.model_version, found.served_version), (name(&dark), name(&server.version)));
    // What it says is what the version says when it is asked by name.
    let request = pb::BatchScoreCustomersRequest {
        subjects: rows,
        model: Some(pb::ModelSelector { choice: Some(Choice::Version(name(&dark))) }),
        ..Default::default()
    };
    let named = clients.scoring.batch_score_customers(request).await.unwrap().into_inner();
    let named = scores(named.outcomes.into_iter().map(|one| one.outcome.unwrap()).collect());
    let (mut churn, mut n_churn, mut same_tier) = (0.0, 0, 0);
    let mut tiers: BTreeMap<(i32, i32), u64> = BTreeMap::new();
    for (served, dark) in served.iter().zip(&named) {
        if let (Some(a), Some(b)) = (served.churn_probability, dark.churn_probability) {
            (churn, n_churn) = (churn + (b - a).abs(), n_churn + 1);
        }
        same_tier += u64::from(served.risk_tier == dark.risk_tier);
        *tiers.entry((served.risk_tier, dark.risk_tier)).or_insert(0) += 1;
    }
    assert!(churn > 1.0 && n_churn == n_rows - 1, "{churn} {n_churn}");
    assert_eq!(found.churn_count, n_churn);
    assert!((found.churn_absolute_difference_sum - churn).abs() < 1e-9);
    assert!((found.churn_difference_sum - churn).abs() < 1e-9, "it only says more churn");
    assert_eq!(found.same_tier_count, same_tier);
    let pairs = found.tier_pairs.iter().map(|pair| ((pair.served, pair.shadow), pair.count));
    assert_eq!(pairs.collect::<BTreeMap<_, _>>(), tiers);
    assert!(tiers.len() > 1, "the shift moves somebody: {tiers:?}");
    let page = get(admin, "/metrics").await.1;
    let labels = format!(
        "tenure_shadow_answers_total{{arm=\"dark\",model_version=\"{}\",outcome=\"compared\"}}",
        name(&dark)
    );
    assert_eq!(sample(&page, &labels), Some(203.0), "{page}");
    let sum = sample(&page, "tenure_shadow_churn_difference_total{arm=\"dark\"}").unwrap();
    assert!((sum - churn).abs() < 1e-6);
    let of_tiers: f64 = ["none", "green", "amber", "red"]
        .iter()
        .filter_map(|tier| sample(&page, &format!("tenure_scores_total{{tier=\"{tier}\"}}")))
        .sum();
    assert!((of_tiers - 406.0).abs() < 0.5, "answers given, and no others: {of_tiers}");
    assert_eq!(sample(&page, "tenure_traffic_revision"), Some(2.0));
    assert!(server.stop().await.complete);
    let rows = logged(&log);
    assert_eq!(rows.len(), 406);
    let in_arm = rows.iter().filter(|row| row.arm.as_deref() == Some("champion"));
    assert_eq!(in_arm.count(), 203);
    assert!(rows.iter().all(|row| row.arm.as_deref() != Some("dark")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_does_not_keep_up_drops_and_counts() {
    let server = Running::start(&[STILL, ("shadow_queue_max", "1")]).await;
    let dark = another(&server.config.models, "dark");
    let mut clients = Clients::new(&server).await;
    clients.load(&dark).await.unwrap();
    let arms = vec![arm("champion", &server.version, 10_000), shadow("dark", &dark, 5_000)];
    let policy = clients.set_arms(arms).await.unwrap();
    let rows = strangers(1_000);
    let salt = format!("shadow/{}", policy.salt);
    let drawn = rows.iter().filter(|row| unit_interval(&salt, &row.customer) < 0.5).count();
    clients.batch(rows).await.unwrap();
    let drawn = u64::try_from(drawn).unwrap();
    until("all drawn answers", async || {
        let found = clients.traffic().await.shadow_agreements.remove(0);
        found.compared_count + found.dropped_count == drawn
    })
    .await;
    let found = clients.traffic().await.shadow_agreements.remove(0);
    assert!(found.dropped_count > 0, "{found:?}");
    assert_eq!(found.compared_count, found.same_decision_count, "the same models agree");
    assert!(server.stop().await.complete);
}
