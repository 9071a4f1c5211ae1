//! What callers notice while the champion changes each second: times of calls beside times
//! without a change, in turns, on one server with two versions.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tenure::bundle::{CHAMPION, aliases, versions};
use tenure::serve::pb;
use tenure::serve::pb::model_service_client::ModelServiceClient;
use tonic::transport::Channel;

use super::beside::{Side, median};
use super::{Base, kinds, prepare, programs, root, unary};

/// Turns of each kind, still and changing.
const ROUNDS: usize = 11;
/// Calls in flight.
const IN_FLIGHT: [usize; 3] = [1, 16, 64];
const EACH: Duration = Duration::from_secs(1);
const TRAFFIC: &str = "models/demo/trafficPolicy";

/// Prints the table.
pub(super) async fn run(base: Base, time: Duration) -> Result<()> {
    let work = root().join("target/rpc_bench");
    prepare(base, &work)?;
    let second = another(&work.join("models"))?;
    // What is not followed is not looked at: nothing but the calls below changes the champion.
    let side = Side::start((&work, "swaps"), &["--log", "error"], None).await?;
    let mut models = ModelServiceClient::new(side.channels[0].clone());
    let name = format!("models/demo/versions/{second}");
    let request = pb::LoadModelVersionRequest { name: name.clone(), validate_only: false };
    models.load_model_version(request).await?;
    let all = kinds(base)?;
    let kind = all.first().context("a kind of call")?;
    let (path, messages) = (kind.method.parse()?, std::sync::Arc::new(kind.messages.clone()));
    println!("| in flight | champion | calls/s | p50 us | p99 us | p99.9 us | longest us |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut changes = Vec::new();
    for n in IN_FLIGHT {
        let (mut still, mut changing) = (Vec::new(), Vec::new());
        unary(&side.channels, &path, &messages, (n, time / 4)).await?;
        for _ in 0..ROUNDS {
            still.push(unary(&side.channels, &path, &messages, (n, time)).await?.0);
            let changer = tokio::spawn(change(models.clone(), name.clone(), time));
            changing.push(unary(&side.channels, &path, &messages, (n, time)).await?.0);
            changes.extend(changer.await??);
        }
        let before = row((n, "stays"), &mut still, time)?;
        let after = row((n, "changes each second"), &mut changing, time)?;
        let pairs = after.iter().zip(before);
        let ratios: Vec<String> =
            pairs.map(|(after, before)| format!("{:.2}", after / before)).collect();
        println!("| {n} | ratio | | {} |", ratios.join(" | "));
    }
    changes.sort_by(f64::total_cmp);
    let longest = changes.last().context("no change")?;
    let middle = changes[changes.len() / 2];
    println!("\n{} changes, {middle:.1} ms at the median, {longest:.1} ms at most", changes.len());
    Ok(())
}

/// Prints a row: the medians of all turns of p50, p99, p99.9 and the longest, which it answers.
fn row((n, what): (usize, &str), turns: &mut [Vec<f64>], time: Duration) -> Result<[f64; 4]> {
    let mut n_calls = 0;
    for waited in turns.iter_mut() {
        ensure!(!waited.is_empty(), "no call was answered");
        waited.sort_by(f64::total_cmp);
        n_calls += waited.len();
    }
    let at = |per_thousand: usize| {
        median(turns.iter().map(|turn| turn[(turn.len() - 1) * per_thousand / 1_000]))
    };
    let found = [at(500)?, at(990)?, at(999)?, at(1_000)?];
    let [p50, p99, p999, most] = found;
    let rate = n_calls as f64 / time.as_secs_f64() / turns.len() as f64;
    println!("| {n} | {what} | {rate:.0} | {p50:.0} | {p99:.0} | {p999:.0} | {most:.0} |");
    Ok(found)
}

/// Changes the champion each second, there and back; milliseconds of each change.
async fn change(
    mut models: ModelServiceClient<Channel>,
    second: String,
    time: Duration,
) -> Result<Vec<f64>> {
    let (until, mut took) = (Instant::now() + time, Vec::new());
    // Ends with the version it began with.
    while Instant::now() + EACH < until || took.len() % 2 == 1 {
        tokio::time::sleep(EACH / 2).await;
        let begun = Instant::now();
        if took.len() % 2 == 0 {
            let request = pb::GetTrafficPolicyRequest { name: TRAFFIC.to_owned() };
            let found = models.get_traffic_policy(request).await?.into_inner();
            let now = found.traffic_policy.context("a traffic policy")?;
            let arm = pb::TrafficArm {
                arm: "champion".to_owned(),
                model_version: second.clone(),
                weight: 10_000,
                shadow: false,
            };
            let traffic_policy = Some(pb::TrafficPolicy { arms: vec![arm], ..now });
            let request = pb::UpdateTrafficPolicyRequest { traffic_policy, validate_only: false };
            models.update_traffic_policy(request).await?;
        } else {
            let name = TRAFFIC.to_owned();
            let request = pb::RollBackTrafficPolicyRequest { name, ..Default::default() };
            models.roll_back_traffic_policy(request).await?;
        }
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(EACH / 2).await;
    }
    Ok(took)
}

/// Trains the demo model with another seed; its version.
fn another(models: &Path) -> Result<String> {
    let trained = Command::new(programs()?.join("tenure-train"))
        .arg("--events")
        .arg(root().join("data/complete_journey.csv.gz"))
        .args(["--until", "2017-11-30", "--churn-horizon-days", "30", "--clv-horizon-days", "90"])
        .args(["--currency", "USD", "--name", "demo", "--promote", "if-not-worse", "--seed", "7"])
        .args(["--quiet", "--models"])
        .arg(models)
        .stdout(Stdio::null())
        .status()?;
    ensure!(trained.success(), "no second version could be trained");
    let first = aliases(&root().join("models"), "demo")?;
    let first = first.get(CHAMPION).context("the demo model has a champion")?;
    tenure::bundle::set_alias(models, "demo", CHAMPION, first)?;
    let mut all = versions(models, "demo")?.into_iter();
    all.find(|version| version != first).context("the same version came out")
}
