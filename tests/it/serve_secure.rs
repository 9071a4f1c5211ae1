//! Who is let in: TLS, client certificates, keys, roles, quotas, and all of it changed without a
//! restart. The certificates are those of `tests/golden/tls`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use prost::Message;
use tenure::serve::pb;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use crate::serve_client::told;
use crate::serve_fixture::Running;

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls").join(name)
}

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).unwrap()
}

/// A client that trusts an authority, with a certificate or without.
pub(crate) async fn connect(
    server: &Running,
    trusted: &str,
    identity: Option<&str>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(pem(trusted)))
        .domain_name("localhost");
    if let Some(name) = identity {
        let (cert, key) = (pem(&format!("{name}.pem")), pem(&format!("{name}.key")));
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let address = format!("https://{}", server.address);
    Channel::from_shared(address).unwrap().tls_config(tls)?.connect().await
}

/// Full paths of all methods of ours.
fn methods() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
    let ours = set.file.iter().filter(|file| file.package() == "tenure.v1");
    ours.flat_map(|file| &file.service)
        .flat_map(|service| {
            let path = |rpc: &str| format!("/tenure.v1.{}/{rpc}", service.name());
            service.method.iter().map(move |rpc| path(rpc.name())).collect::<Vec<_>>()
        })
        .collect()
}

/// Calls a method with an empty message; whether it was let in. What it answers is another test's.
async fn try_call(channel: &Channel, path: &str, key: Option<&str>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(tokio_stream::once(()));
    request.set_timeout(Duration::from_secs(20));
    if let Some(key) = key {
        let bearer = MetadataValue::try_from(format!("Bearer {key}")).unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    let path = PathAndQuery::try_from(path).unwrap();
    match client.streaming(request, path, ProstCodec::<(), ()>::default()).await {
        Err(status)
            if [Code::Unauthenticated, Code::PermissionDenied, Code::Unavailable]
                .contains(&status.code()) =>
        {
            Err(status)
        }
        _ => Ok(()),
    }
}

/// Whether a call of a reader's gets its answer.
async fn is_answered(channel: Channel) -> bool {
    let mut client = pb::model_service_client::ModelServiceClient::new(channel);
    client.list_models(pb::ListModelsRequest::default()).await.is_ok()
}

/// The role that a method needs: said here once more, so that the server's table is not its own
/// judge.
fn needed(path: &str) -> &'static str {
    let (service, rpc) = path.strip_prefix("/tenure.v1.").unwrap().split_once('/').unwrap();
    match service {
        "ScoringService" => "score",
        "EventService" => "ingest",
        _ if ["Get", "List", "Watch"].iter().any(|verb| rpc.starts_with(verb)) => "score",
        _ => "admin",
    }
}

/// Makes a key with `tenure-ops keys new` and answers it.
pub(crate) fn new_key(file: &Path, id: &str, more: &[&str]) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_tenure-ops"))
        .args(["keys", "new", "--json", "--id", id, "--keys"])
        .arg(file)
        .args(more)
        .env_clear()
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    said["key"].as_str().unwrap().to_owned()
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A server with TLS and whatever else.
pub(crate) async fn secure(more: &[(&str, &str)]) -> Running {
    let (cert, key) = (text(&golden("server.pem")), text(&golden("server.key")));
    let settings = [&[("tls_cert", &*cert), ("tls_key", &*key)][..], more].concat();
    Running::start(&settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_lets_in_exactly_the_keys_with_its_role() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    let keys = ["score", "ingest", "admin"]
        .map(|role| (role, new_key(&file, &format!("{role}-1"), &["--role", role])));
    let keys_file = text(&file);
    let plain = Running::start(&[("keys", &keys_file)]).await;
    let tls = secure(&[("keys", &keys_file)]).await;
    let authority = text(&golden("authority.pem"));
    let mutual = secure(&[("keys", &keys_file), ("tls_client_ca", &authority)]).await;
    let channels = [
        ("plain", plain.channel().await),
        ("TLS", connect(&tls, "authority.pem", None).await.unwrap()),
        ("mTLS", connect(&mutual, "authority.pem", Some("other")).await.unwrap()),
    ];
    for (way, channel) in &channels {
        for path in methods() {
            for (role, key) in &keys {
                let got = try_call(channel, &path, Some(key)).await.map_err(|s| s.code());
                let allowed = *role == "admin" || *role == needed(&path);
                let expected = if allowed { Ok(()) } else { Err(Code::PermissionDenied) };
                assert_eq!(got, expected, "{way} {path} {role}");
            }
            for key in [None, Some("tenure_score-1_00"), Some("")] {
                let status = try_call(channel, &path, key).await.unwrap_err();
                let (code, reason, _) = told(&status);
                let expected = if key.is_some() { "KEY_UNKNOWN" } else { "KEY_MISSING" };
                assert_eq!((code, &*reason), (Code::Unauthenticated, expected), "{way} {path}");
            }
        }
        // Balancers ask for health without a key; describing the services needs one.
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
        let asked = tonic_health::pb::HealthCheckRequest { service: String::new() };
        assert!(health.check(asked).await.is_ok(), "{way}");
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        assert!(try_call(channel, reflection, None).await.is_err(), "{way}");
        assert!(try_call(channel, reflection, Some(&keys[0].1)).await.is_ok(), "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_speak_for_their_owners() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    std::fs::write(&file, "[[certificate]]\nname = 'crm.test'\nroles = ['score']\n").unwrap();
    let (authority, keys_file) = (text(&golden("authority.pem")), text(&file));
    let named = secure(&[("keys", &keys_file), ("tls_client_ca", &authority)]).await;
    let unnamed = secure(&[("tls_client_ca", &authority)]).await;
    for path in methods() {
        let crm = connect(&named, "authority.pem", Some("crm")).await.unwrap();
        let got = try_call(&crm, &path, None).await.map_err(|s| s.code());
        let expected = if needed(&path) == "score" { Ok(()) } else { Err(Code::PermissionDenied) };
        assert_eq!(got, expected, "{path}");
        let other = connect(&named, "authority.pem", Some("other")).await.unwrap();
        let status = try_call(&other, &path, None).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{path}");
        // Without a file of keys a certificate of the authority is for scores and events.
        let anyone = connect(&unnamed, "authority.pem", Some("other")).await.unwrap();
        let got = try_call(&anyone, &path, None).await.map_err(|s| s.code());
        let expected = if needed(&path) == "admin" { Err(Code::PermissionDenied) } else { Ok(()) };
        assert_eq!(got, expected, "{path}");
    }
    // Without a certificate, with one of another authority, or without TLS nobody gets a word in.
    for identity in [None, Some("forger")] {
        let is_answered = match connect(&unnamed, "authority.pem", identity).await {
            Err(_) => false,
            Ok(channel) => is_answered(channel).await,
        };
        assert!(!is_answered, "{identity:?}");
    }
    let address = format!("http://{}", unnamed.address);
    assert!(!is_answered(Channel::from_shared(address).unwrap().connect_lazy()).await);
    let crm = connect(&unnamed, "authority.pem", Some("crm")).await.unwrap();
    assert!(is_answered(crm).await);
    // And a client that trusts another authority does not trust this server.
    assert!(connect(&named, "stranger.pem", Some("crm")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_for_a_key_and_says_when_to_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    let slow = new_key(&file, "slow", &["--role", "score", "--calls-per-second", "1"]);
    let fast = new_key(&file, "fast", &["--role", "score"]);
    let server = Running::start(&[("keys", &text(&file))]).await;
    let channel = server.channel().await;
    let call = |key: String| {
        let channel = channel.clone();
        async move {
            let mut client = pb::model_service_client::ModelServiceClient::with_interceptor(
                channel,
                move |mut request: Request<()>| {
                    let key = MetadataValue::try_from(&key).unwrap();
                    request.metadata_mut().insert("x-api-key", key);
                    Ok(request)
                },
            );
            client.list_models(pb::ListModelsRequest::default()).await
        }
    };
    let mut refused = Vec::new();
    for _ in 0..20 {
        if let Err(status) = call(slow.clone()).await {
            refused.push(status);
        }
        call(fast.clone()).await.unwrap();
    }
    assert!(refused.len() >= 10, "{} of 20 refused", refused.len());
    let (code, reason, _) = told(&refused[0]);
    assert_eq!((code, &*reason), (Code::ResourceExhausted, "QUOTA_USED"));
    let quota = refused[0].get_details_quota_failure().unwrap();
    assert!(quota.violations[0].subject.contains("slow"));
    assert!(refused[0].get_details_retry_info().unwrap().retry_delay.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_and_keys_change_without_a_restart_and_bad_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let put = |from: &str, to: &str| {
        std::fs::write(path("new"), pem(from)).unwrap();
        std::fs::rename(path("new"), path(to)).unwrap();
    };
    put("server.pem", "cert");
    put("server.key", "key");
    let first = new_key(&path("keys"), "first", &["--role", "score"]);
    let (cert, key, keys) = (text(&path("cert")), text(&path("key")), text(&path("keys")));
    let settings =
        [("tls_cert", &*cert), ("tls_key", &*key), ("keys", &*keys), ("reload_seconds", "1")];
    let server = Running::start(&settings).await;
    let list = "/tenure.v1.ModelService/ListModels";
    let open = connect(&server, "authority.pem", None).await.unwrap();
    assert!(try_call(&open, list, Some(&first)).await.is_ok());

    // A key that does not belong to the certificate, and a file of keys with an error.
    put("moved.pem", "cert");
    std::fs::write(path("keys"), "[[key]]\nid = 'first'\n").unwrap();
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(connect(&server, "authority.pem", None).await.is_ok());
        assert!(try_call(&open, list, Some(&first)).await.is_ok());
    }
    // The right key comes, and another caller in place of the first.
    put("moved.key", "key");
    std::fs::remove_file(path("keys")).unwrap();
    let second = new_key(&path("keys"), "second", &["--role", "score"]);
    until("the new certificate", async || connect(&server, "stranger.pem", None).await.is_ok())
        .await;
    until("the new key", async || try_call(&open, list, Some(&second)).await.is_ok()).await;
    assert!(try_call(&open, list, Some(&first)).await.is_err(), "the first key is gone");
    assert!(connect(&server, "authority.pem", None).await.is_err());
    // The connection that was open goes on.
    assert!(try_call(&open, list, Some(&second)).await.is_ok());
    assert!(server.stop().await.complete);
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1_200 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not come");
}
